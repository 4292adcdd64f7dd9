"""MSR-VTT by the layouts that users have and that are not among the real files here."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tvrkit.errors import DataError
from tvrkit.prepare.benchmarks import BENCHMARKS
from tvrkit.prepare.benchmarks.msrvtt_captions import CATEGORIES
from tvrkit.prepare.benchmarks.sources import AnnotationFiles
from tvrkit.protocols import coverage_of

NUMBERS = {"train": range(6513), "validate": range(6513, 7010), "test": range(7010, 10_000)}


def read(folder, split):
    return BENCHMARKS["msrvtt"].read(AnnotationFiles([folder]), split)


def video(number, split):
    return {
        "category": number % 20,
        "url": f"https://www.youtube.com/watch?v={number}",
        "video_id": f"video{number}",
        "start time": 137.72,
        "end time": 149.44,
        "split": split,
        "id": number,
    }


def whole(numbers=NUMBERS, captions=20, label=None):
    """MSRVTT_data.json: all videos, shuffled sentences, keys as in the real one."""
    videos = [video(n, label or split) for split, ns in numbers.items() for n in ns]
    sentences = [
        {"caption": f"caption {c} of {v['video_id']}", "video_id": v["video_id"], "sen_id": c * len(videos) + v["id"]}
        for c in range(captions)
        for v in videos
    ]
    return {"info": {"year": "2016"}, "videos": videos, "sentences": sentences}


@pytest.fixture(scope="module")
def all_of_it(tmp_path_factory):
    folder = tmp_path_factory.mktemp("msrvtt")
    (folder / "MSRVTT_data.json").write_text(json.dumps(whole()))
    rows = [f"ret{i},msr{n},video{n},the sentence of {n}" for i, n in enumerate(range(7020, 9020, 2))]
    (folder / "MSRVTT_JSFUSION_test.csv").write_text("\n".join(["key,vid_key,video_id,sentence", *rows]) + "\n")
    return folder


def test_full_from_the_whole_file_and_not_for_ever(all_of_it):
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(read, all_of_it, "full").result(timeout=300)  # about 1.5 s on a quiet core
    for split, videos in (("train", 6513), ("val", 497), ("test", 2990)):
        items = found.split(split)
        captions = sum(len(item.captions) for item in items)
        assert (len(items), captions) == (videos, 20 * videos)
        assert coverage_of(found.protocol, split, videos, captions).complete
    assert not found.problems and not found.notes
    assert found.split("val")[0].video_id == "video6513"
    assert found.items[0].captions[:2] == ("caption 0 of video0", "caption 1 of video0")
    assert [item.tags["category"] for item in found.items[:20]] == list(CATEGORIES)


@pytest.mark.parametrize(("split", "videos"), [("9k", 9000), ("7k", 7010)])
def test_pairs_from_the_whole_file(all_of_it, split, videos):
    found = read(all_of_it, split)
    train, test = found.split("train"), found.split("test")
    assert (len(train), {len(item.captions) for item in train}) == (videos, {20})
    assert [item.captions for item in test[:2]] == [("the sentence of 7020",), ("the sentence of 7022",)]
    assert test[0].tags == {"category": CATEGORIES[0]}
    assert not {item.video_id for item in train} & {item.video_id for item in test}
    assert coverage_of(found.protocol, "train", len(train), 20 * len(train)).complete
    assert found.notes == (found.notes[0],) and "There is no MSRVTT_train" in found.notes[0]


def test_a_copy_that_labels_every_video_train(tmp_path):
    numbers = {"train": [0], "validate": [6513], "test": [7010]}
    (tmp_path / "MSRVTT_v2.json").write_text(json.dumps(whole(numbers, 2, label="train")))
    found = read(tmp_path, "full")
    assert [(i.video_id, i.split) for i in found.items] == [
        ("video0", "train"),
        ("video6513", "val"),
        ("video7010", "test"),
    ]
    assert any("labels 2 videos with another split" in note for note in found.notes)


def test_the_official_two_files(tmp_path):
    for name, numbers in (
        ("train_val_videodatainfo.json", {"train": [3], "validate": [6600]}),
        ("test_videodatainfo.json", {"test": [9999]}),
    ):
        (tmp_path / name).write_text(json.dumps(whole(numbers, 20)))
    found = read(tmp_path, "full")
    assert [(i.video_id, i.split, len(i.captions)) for i in found.items] == [
        ("video3", "train", 20),
        ("video6600", "val", 20),
        ("video9999", "test", 20),
    ]
    assert [path.name for path in found.files] == ["train_val_videodatainfo.json", "test_videodatainfo.json"]


def test_frozen_in_times_file(tmp_path):
    value = {
        "images": [{"id": "video7010"}, {"id": "video1"}],
        "annotations": [{"image_id": "video7010", "caption": "one", "id": 0}, {"image_id": "video1", "caption": "two"}],
    }
    (tmp_path / "annotation").mkdir()
    (tmp_path / "annotation/MSR_VTT.json").write_text(json.dumps(value))
    assert [(i.video_id, i.split) for i in read(tmp_path, "full").items] == [("video1", "train"), ("video7010", "test")]


def test_the_hubs_lists(tmp_path):
    train = [{"video_id": "video1", "video": "video1.mp4", "caption": ["a", "b"], "source": "MSR-VTT", "category": 3}]
    test = [{"video_id": "video7020", "video": "video7020.mp4", "caption": "c", "source": "MSR-VTT", "category": 5}]
    (tmp_path / "msrvtt_train_9k.json").write_text(json.dumps(train))
    (tmp_path / "msrvtt_test_1k.json").write_text(json.dumps(test))
    found = read(tmp_path, "9k")
    assert [(i.video_id, i.split, i.captions) for i in found.items] == [
        ("video1", "train", ("a", "b")),
        ("video7020", "test", ("c",)),
    ]


def test_own_category_names(tmp_path):
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps(whole({"test": [7010]}, 1)))
    (tmp_path / "category.txt").write_text("".join(f"kind {n}\t{n}\n" for n in range(20)))
    assert read(tmp_path, "full").items[0].tags == {"category": "kind 10"}
    (tmp_path / "category.txt").write_text("kind 0\t0\n")
    assert read(tmp_path, "full").items[0].tags == {"category": CATEGORIES[10]}


def test_what_is_left_out_is_named(tmp_path):
    rows = [
        "video7020,a man sings",
        "video7020,again",
        "video12345,of no such video",
        "../../etc/passwd,out of the folder",
        "video7021, ",
        "video7022,one,cell too many",
        'video7023,"a, b"',
    ]
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text("\n".join(["video_id,sentence", *rows]))
    value = whole({"train": [0, 1], "test": [7020]}, 1)
    value["sentences"] += [{"caption": None, "video_id": "video1"}, {"video_id": 7}, "no object"]
    value["videos"].append(5)
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps(value))
    (tmp_path / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\nvideo1\nvideo2\nvideo7020\n")
    found = read(tmp_path, "9k")
    assert [(i.video_id, i.captions) for i in found.split("test")] == [
        ("video7020", ("a man sings",)),
        ("video7023", ("a, b",)),
    ]
    assert [i.video_id for i in found.split("train")] == ["video0", "video1"]
    wanted = [
        ("duplicate id", "MSRVTT_JSFUSION_test.csv, line 3", "video7020 stands in test"),
        ("bad row", "MSRVTT_JSFUSION_test.csv, line 4", "video12345"),
        ("bad row", "MSRVTT_JSFUSION_test.csv, line 5", "passwd"),
        ("empty caption", "MSRVTT_JSFUSION_test.csv, line 6", "video7021"),
        ("bad row", "MSRVTT_JSFUSION_test.csv, line 7", "3 cells under 2"),
        ("bad row", "MSRVTT_data.json: sentences, item 6", "no object"),
        ("bad row", "MSRVTT_data.json: videos, item 4", "no object"),
        ("no caption", "MSRVTT_data.json, video2", "video2"),
        ("two splits", "MSRVTT_data.json, video7020", "video7020 is in test already"),
    ]
    problems = [(p.kind, p.where, p.reason) for p in found.problems]
    for kind, where, words in wanted:
        assert any((k, w) == (kind, where) and words in reason for k, w, reason in problems), (kind, where, problems)


@pytest.mark.parametrize(
    ("names", "split", "words"),
    [
        ((), "9k", "MSRVTT_JSFUSION_test.csv or msrvtt_test_1k.json"),
        (("MSRVTT_JSFUSION_test.csv",), "9k", "no training captions"),
        ((), "full", "msrvtt_caption_test_2990x20.json or MSRVTT_data.json"),
    ],
)
def test_missing_files(tmp_path, names, split, words):
    for name in names:
        (tmp_path / name).write_text("video_id,sentence\nvideo7020,a man\n")
    with pytest.raises(DataError, match=words) as error:
        read(tmp_path, split)
    assert "--annotations" in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b"[]", "must hold an object"),
        (b'{"videos": [], "sentences": {}}', "must hold a list of objects"),
        (b'{"videos": [], "sentences": []}', "no test video"),
        (b'{"videos": [], "sentences": [{"caption": "a", "video_id": "video1"}]}', "no test video"),
        (b'{"videos": [', "no valid JSON"),
    ],
)
def test_damaged_files(tmp_path, content, words):
    (tmp_path / "MSRVTT_data.json").write_bytes(content)
    with pytest.raises(DataError, match=words) as error:
        read(tmp_path, "full")
    assert "\n" not in str(error.value)

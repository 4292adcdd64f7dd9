"""`prepare_benchmark`: real video files under the names of a small MSVD; what is left out, and what comes later."""

from __future__ import annotations

import json
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
from media import truncate
from small_msvd import put

from tvrkit.errors import ConfigError, DataError
from tvrkit.manifest import read_manifest
from tvrkit.prepare import probes
from tvrkit.prepare.benchmark import default_name
from tvrkit.prepare.benchmarks import BENCHMARKS
from tvrkit.prepare.material import BenchmarkOptions


def test_videos_and_lists_by_hand(prepare_named, clip, lists, tmp_path):
    videos = put(clip, tmp_path / "videos", "a_0_5.avi", "deep/er/b_1_9.MP4", "D_0_5.avi", "e_1_2.avi.mp4", "x.avi")
    (videos / "f_3_9.avi").write_bytes(b"no video")
    report, records, lines = prepare_named(videos=(videos,), annotations=(lists,))
    assert {video_id: record.split for video_id, record in records.items()} == {
        "a_0_5": "train",
        "b_1_9": "train",
        "d_0_5": "val",  # D_0_5: upper and lower case, where nothing else fits
        "e_1_2": "test",
    }
    assert records["a_0_5"].captions == ("a dog a_0_5", "a dog runs") and records["a_0_5"].key_words
    assert records["a_0_5"].duration_seconds == pytest.approx(1.0, abs=0.11)
    counts = {
        split: (c.listed, c.videos, c.missing, c.unreadable, c.captions, c.lost) for split, c in report.splits.items()
    }
    assert counts == {"train": (3, 2, 1, 0, 4, 2), "val": (1, 1, 0, 0, 2, 0), "test": (2, 1, 0, 1, 2, 2)}
    assert {split: count.expected for split, count in report.splits.items()} == {"train": 1200, "val": 100, "test": 670}
    assert not any(count.complete for count in report.splits.values())
    assert {(p.kind, p.where.split()[0]) for p in report.problems} == {
        ("missing file", "c_2_4"),
        ("unreadable clip", "f_3_9"),
    }
    assert any("x.avi" in note for note in report.notes)
    assert Counter(line["state"] for line in lines.values()) == {"present": 4, "missing": 1, "unreadable": 1}
    line = lines["a_0_5"]
    assert (line["split"], line["frames"], line["width"], line["height"], line["codec"]) == (
        "train",
        "10",
        "64",
        "48",
        "mpeg4",
    )
    assert (line["captions"], line["bytes"]) == ("2", str(clip.stat().st_size))
    assert "cannot be opened" in lines["f_3_9"]["reason"]
    written = json.loads((tmp_path / "data/msvd/report.json").read_text())
    assert {Path(file["path"]).name for file in written["annotations"]} == {
        "captions_msvd.json",
        "train_list.txt",
        "val_list.txt",
        "test_list.txt",
    }
    assert all(len(file["sha256"]) == 64 for file in written["annotations"])
    assert (written["protocol"], written["splits"]["test"]["lost"], written["versions"]["av"]) == (
        "msvd", 2, version("av"),
    )  # fmt: skip
    manifest = read_manifest(tmp_path / "data/msvd/manifest.jsonl")
    assert (manifest.protocol, manifest.preset) == ("msvd", "msvd-b32")


def test_strict_and_nothing_usable(prepare_named, clip, lists, tmp_path):
    videos = put(clip, tmp_path / "videos", "a_0_5.avi")
    with pytest.raises(DataError, match=r"--strict: 5 problems \(missing file 5\).*report\.json names them all"):
        prepare_named(videos=(videos,), annotations=(lists,), strict=True)
    assert not (tmp_path / "data/msvd/manifest.jsonl").exists()
    (videos / "a_0_5.avi").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"not one video can be used \(unreadable clip 1, missing file 5\)"):
        prepare_named(videos=(videos,), annotations=(lists,))
    other = put(clip, tmp_path / "other", "holiday.avi")
    with pytest.raises(DataError, match=r"none of the 1 video file \(holiday\.avi\) is called as MSVD's .*a_0_5"):
        prepare_named(videos=(other,), annotations=(lists,))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no video file in .*empty"):
        prepare_named(videos=(tmp_path / "empty",), annotations=(lists,))


def test_videos_that_come_later_complete_the_set(prepare_named, clip, lists, tmp_path, monkeypatch):
    videos = put(clip, tmp_path / "videos", "a_0_5.avi", "e_1_2.avi")
    assert prepare_named(videos=(videos,), annotations=(lists,))[0].new == 2
    decoded = []

    class Counting(probes.DecodePool):
        def imap(self, requests):
            requests = list(requests)
            decoded.extend(Path(request.path).name for request in requests)
            return super().imap(requests)

    monkeypatch.setattr(probes, "DecodePool", Counting)
    put(clip, videos, "b_1_9.avi", "f_3_9.avi")
    report, records, _ = prepare_named(videos=(videos,), annotations=(lists,))
    assert (report.new, report.kept, sorted(decoded)) == (2, 2, ["b_1_9.avi", "f_3_9.avi"])
    assert set(records) == {"a_0_5", "b_1_9", "e_1_2", "f_3_9"}
    assert report.splits["test"].lost == 0
    decoded.clear()
    report, _, _ = prepare_named(videos=(videos,), annotations=(lists,))
    assert (report.new, decoded) == (0, [])


def test_several_files_of_one_name(prepare_named, clip, lists, tmp_path):
    """The first that can be read: a torn copy at the top does not hide a whole one below."""
    videos = put(clip, tmp_path / "videos", "a_0_5.avi", "again/a_0_5.mkv", "b_1_9.avi", "again/b_1_9.avi")
    truncate(videos / "a_0_5.avi", 0.1)
    report, records, lines = prepare_named(videos=(videos,), annotations=(lists,))
    assert records["a_0_5"].path.endswith("again/a_0_5.mkv")
    assert records["b_1_9"].path == str(videos / "b_1_9.avi")
    assert any("Several files of one name" in note and "2 videos" in note for note in report.notes)
    assert lines["a_0_5"]["state"] == "present" and "unreadable clip" not in report.problem_counts()


def test_ids_that_differ_in_case_alone(prepare_named, clip, lists, tmp_path):
    """Ids of YouTube do: a file of another video's very name is not taken."""
    captions = {"aB_0_5": ["one"], "Ab_0_5": ["two"], "xY_0_5": ["three"]}
    (lists / "captions_msvd.json").write_text(json.dumps(captions))
    for split, video_id in zip(("train", "val", "test"), captions, strict=True):
        (lists / f"{split}_list.txt").write_text(video_id)
    videos = put(clip, tmp_path / "videos", "aB_0_5.avi", "xy_0_5.avi")
    _, records, _ = prepare_named(videos=(videos,), annotations=(lists,))
    assert {video_id: Path(record.path).name for video_id, record in records.items()} == {
        "aB_0_5": "aB_0_5.avi",
        "xY_0_5": "xy_0_5.avi",
    }


def test_no_annotations(prepare_named, clip, tmp_path):
    videos = put(clip, tmp_path / "videos", "a_0_5.avi")
    with pytest.raises(DataError, match=r"there is no captions_msvd\.json.*--annotations"):
        prepare_named(videos=(videos,), annotations=(videos,))
    with pytest.raises(
        DataError, match=r"LSMDC's videos have no public address: sign .*--from VIDEOS --annotations LISTS"
    ):
        prepare_named("lsmdc")
    for wrong in ({"videos": (tmp_path / "none",)}, {"annotations": (tmp_path / "none",)}):
        with pytest.raises(DataError, match="there is no folder"):
            BenchmarkOptions(**wrong)
    assert not (tmp_path / "data").exists()


def test_a_part_of_train_for_val(prepare_named, clip, tmp_path):
    """Drawn by name, so that more videos move none; what the protocol expects of train shrinks by it."""
    lists = tmp_path / "lists"
    lists.mkdir()
    ids = [f"V{number:04d}" for number in range(40)]
    head = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
    for split, its in (("train", ids), ("test", ["T0001"])):
        rows = "".join(f"{i},S,Kitchen,6,7,Yes,A person walks {i}.,dog,A person runs.,c001 0 1,1.0\n" for i in its)
        (lists / f"Charades_v1_{split}.csv").write_text(head + rows)
    videos = put(clip, tmp_path / "videos", "T0001.mp4", *(f"{i}.mp4" for i in ids[:20]))
    few, records, _ = prepare_named("charades", videos=(videos,), annotations=(lists,), val_fraction=0.25)
    put(clip, videos, *(f"{i}.mp4" for i in ids[20:]))
    report, more_records, _ = prepare_named("charades", videos=(videos,), annotations=(lists,), val_fraction=0.25)
    assert all(more_records[video_id].split == record.split for video_id, record in records.items())
    train, val = report.splits["train"], report.splits["val"]
    assert val.videos + train.videos == 40 and 3 <= val.videos <= 18
    assert (train.expected, val.expected) == (7985 - val.videos, val.videos)
    assert val.complete and not train.complete and few.splits["val"].expected == val.videos
    with pytest.raises(ConfigError, match="msvd has a val split of its own"):
        prepare_named(videos=(videos,), val_fraction=0.1)
    with pytest.raises(ConfigError, match="from 0 to 1|0 to 1"):
        BenchmarkOptions(val_fraction=1.0)


def test_splits_and_names(prepare_named, clip, lists, tmp_path):
    assert default_name(BENCHMARKS["msrvtt"], None) == default_name(BENCHMARKS["msrvtt"], "9k") == "msrvtt"
    assert default_name(BENCHMARKS["msrvtt"], "7k") == "msrvtt-7k"
    with pytest.raises(ConfigError, match="--split 8k: MSR-VTT has 9k, 7k, full"):
        prepare_named("msrvtt", split="8k")
    videos = put(clip, tmp_path / "videos", "a_0_5.avi")
    prepare_named(videos=(videos,), annotations=(lists,))
    with pytest.raises(DataError, match=r"holds another data set \(msvd\): choose another name with --name"):
        prepare_named("vatex", "msvd", videos=(videos,), annotations=(lists,))

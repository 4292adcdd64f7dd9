"""Every real annotation file, with its exact counts."""

from __future__ import annotations

import csv
import functools
import json
from collections import Counter
from pathlib import Path

import pytest

from tvrkit.errors import DataError
from tvrkit.prepare.benchmarks import BENCHMARKS
from tvrkit.prepare.benchmarks.sources import AnnotationFiles

# benchmark, --split, videos and captions of train, val and test.
COUNTS = [
    ("msrvtt", "9k", (9000, 9000), (0, 0), (1000, 1000)),
    ("msrvtt", "7k", (7010, 7010), (0, 0), (1000, 1000)),
    ("msrvtt", "full", (6513, 6513), (497, 9940), (2990, 59_800)),
    ("msvd", "official", (1200, 48_774), (100, 4290), (670, 27_763)),
    ("didemo", "official", (8362, 8362), (1065, 1065), (1004, 1004)),
    ("activitynet", "val_1", (10_009, 10_009), (0, 0), (4917, 4917)),
    ("lsmdc", "official", (0, 0), (0, 0), (1000, 1000)),
    ("vatex", "official", (0, 0), (0, 0), (1500, 15_000)),
]


@pytest.fixture(scope="module")
def real(shared):
    return shared / "annotations"


@functools.cache
def read(name, split, *folders):
    return BENCHMARKS[name].read(AnnotationFiles(folders), split)


def link(target: Path, *sources: Path) -> Path:
    """A folder with just these files."""
    target.mkdir(exist_ok=True)
    for source in sources:
        (target / source.name).symlink_to(source)
    return target


def counts(found):
    return [(len(found.split(s)), sum(len(i.captions) for i in found.split(s))) for s in ("train", "val", "test")]


@pytest.mark.parametrize(("name", "split", "train", "val", "test"), COUNTS)
def test_counts(real, name, split, train, val, test):
    # In the folder above all benchmarks train_list.txt is three files; the tests below read from each one's own.
    found = read(name, split, real)
    assert counts(found) == [train, val, test]
    assert found.protocol == BENCHMARKS[name].splits[split]
    assert {path.parent.name for path in found.files} == {name}
    assert not [note for note in found.notes if "places" in note]
    assert len({item.video_id for item in found.items}) == len(found.items)
    kinds = Counter(problem.kind for problem in found.problems)
    assert kinds == ({"no caption": 30} if name == "didemo" else {})  # of train, from the derived table


def test_msvd_is_1970_videos_with_80827_captions(real):
    found = read("msvd", "official", real / "msvd")
    assert len(found.items) == 1970
    assert sum(len(item.captions) for item in found.items) == 80_827
    first = found.split("train")[0]
    assert (first.video_id, first.names) == ("-4wsuPCjDBc_5_15", ("vid1",))


def test_msvd_pickle_with_numbers_is_the_same_data(real, tmp_path):
    names = (
        "raw-captions_mapped.pkl",
        "youtube_mapping.txt",
        *(f"{s}_list_mapping.txt" for s in ("train", "val", "test")),
    )
    numbered = read("msvd", "official", link(tmp_path / "numbered", *(real / "msvd" / name for name in names)))
    by_youtube = read("msvd", "official", real / "msvd")
    assert [(i.names[0], i.split, i.captions) for i in numbered.items] == [
        (i.video_id, i.split, i.captions) for i in by_youtube.items
    ]
    assert numbered.items[-1].video_id == "vid1970"


def test_msvd_split_follows_from_the_order_of_ids(real, tmp_path):
    without = read("msvd", "official", link(tmp_path / "a", real / "msvd/captions_msvd.json"))
    assert [(i.video_id, i.split) for i in without.items] == [
        (i.video_id, i.split) for i in read("msvd", "official", real / "msvd").items
    ]
    assert any("no lists" in note for note in without.notes)
    numbered = read("msvd", "official", link(tmp_path / "b", real / "msvd/raw-captions_mapped.pkl"))
    assert counts(numbered) == counts(without)


def test_1ka_has_the_lists_own_sentences_in_its_order(real):
    with (real / "msrvtt/MSRVTT_JSFUSION_test.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for split in ("9k", "7k"):
        found = read("msrvtt", split, real / "msrvtt")
        pairs = [(item.video_id, item.captions) for item in found.split("test")]
        assert pairs == [(row["video_id"], (" ".join(row["sentence"].split()),)) for row in rows]


def test_training_with_one_caption_a_video_is_said(real):
    for split in ("9k", "7k", "full"):
        assert any("1 caption a video instead of 20" in note for note in read("msrvtt", split, real / "msrvtt").notes)


def test_msrvtt_lists_follow_from_the_numbers(real, tmp_path):
    for split in ("9k", "7k"):
        names = ("MSRVTT_JSFUSION_test.csv", "unique_descs_ret_train.json")
        bare = read("msrvtt", split, link(tmp_path / split, *(real / "msrvtt" / name for name in names)))
        with_list = read("msrvtt", split, real / "msrvtt")
        assert {i.video_id for i in bare.split("train")} == {i.video_id for i in with_list.split("train")}


def test_official_parts_are_the_numbers_and_apart(real):
    found = read("msrvtt", "full", real / "msrvtt")
    numbers = {s: sorted(int(i.video_id[5:]) for i in found.split(s)) for s in ("train", "val", "test")}
    assert numbers == {"train": list(range(6513)), "val": list(range(6513, 7010)), "test": list(range(7010, 10_000))}


def test_didemo_paragraphs_are_those_of_the_derived_tables(real, tmp_path):
    """The tables hold what others made of the same originals; three validation videos are missing in them."""
    found = read("didemo", "official", real / "didemo")
    original = {item.video_id: item.captions for item in found.items}
    tables = [real / f"didemo/didemo_{split}_label.csv" for split in ("val", "test")]
    derived = read("didemo", "official", link(tmp_path / "tables", *tables))
    assert counts(derived) == [(0, 0), (1062, 1062), (1004, 1004)]
    assert all(original[item.video_id] == item.captions for item in derived.items)


def test_didemo_suffixes(real):
    found = read("didemo", "official", real / "didemo")
    by_id = {item.video_id: item for item in found.items}
    assert by_id["10052357@N03_7585070382_5762149bfc"].names == ("10052357@N03_7585070382_5762149bfc.",)
    assert by_id["10015567@N08_3655084291_d8b58466fa"].names == ("10015567@N08_3655084291_d8b58466fa.mov",)
    twice = [note for note in found.notes if "second suffix" in note]
    assert [("33 videos" in note, "89 descriptions" in note) for note in twice[:1]] == [(True, True)]
    assert ["29 videos" in note for note in twice[1:]] == [True]


def test_activitynet_paragraph_and_differences(real):
    found = read("activitynet", "val_1", real / "activitynet")
    value = json.loads((real / "activitynet/val_1.json").read_text(encoding="utf-8"))
    for item in found.split("test"):
        assert item.captions[0].split() == " ".join(value[item.video_id]["sentences"]).split()
        assert item.names == (item.video_id[2:],)
    assert any("131 videos" in note and "order" in note for note in found.notes)
    assert any(note.startswith("val_ids.json has 9 videos") for note in found.notes)
    with pytest.raises(DataError, match="val_2.json"):
        read("activitynet", "val_2", real / "activitynet")


def test_activitynet_val_2_has_its_own_file(real, tmp_path):
    folder = link(tmp_path / "a", real / "activitynet/train.json")
    (folder / "val_2.json").symlink_to(real / "activitynet/val_1.json")
    found = read("activitynet", "val_2", folder)
    assert (found.protocol, len(found.split("test"))) == ("activitynet-val2", 4917)


def test_lsmdc_films_are_tags(real):
    found = read("lsmdc", "official", real / "lsmdc")
    assert found.items[0].tags == {"source": "UGLY_TRUTH"}
    assert found.items[0].captions == ("SOMEONE stands below, hands on her hips.",)
    assert len({item.tags["source"] for item in found.items}) == 17


def test_vatex_has_ten_captions_a_clip(real):
    found = read("vatex", "official", real / "vatex")
    assert {len(item.captions) for item in found.items} == {10}


def test_all_real_files_are_read_by_some_reader(real):
    used = {
        path.name for name, split, *_ in COUNTS for path in read(name, split, real / name).files
    }  # mapped names of MSVD and the derived tables are read where the originals are missing, as tested above
    others = {"raw-captions_mapped.pkl", "didemo_val_label.csv", "didemo_test_label.csv"}
    others |= {f"{split}_list_mapping.txt" for split in ("train", "val", "test")}
    files = {path.name for path in real.rglob("*.*") if path.is_file() and path.parent != real}
    assert files - used - others == set()


def test_an_independent_copy_of_msrvtt_agrees(shared, real):
    """Captions that came another way: of each video they hold ours, or ours hold them."""
    ours = {item.video_id: set(item.captions) for item in read("msrvtt", "full", real / "msrvtt").items}
    rows = [
        json.loads(line) for line in (shared / "msrvtt-mini/captions.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(rows) == 4351
    for row in rows:
        theirs = {" ".join(caption.split()) for caption in row["captions"]}
        assert theirs <= ours[row["video_id"]] or theirs >= ours[row["video_id"]]


def test_12_sentences_of_1ka_are_not_among_the_20(real):
    twenty = {item.video_id: item.captions for item in read("msrvtt", "full", real / "msrvtt").items}
    pairs = read("msrvtt", "9k", real / "msrvtt").split("test")
    assert sum(item.captions[0] not in twenty[item.video_id] for item in pairs) == 12

"""The protocols' sizes against the real annotation files, and what is said of a set that is not whole."""

from __future__ import annotations

import csv
import json

import pytest

from tvrkit.manifest import read_manifest
from tvrkit.prepare.shapes_events import plan_clips
from tvrkit.protocols import PROTOCOLS, Coverage, Protocol, coverage_of


def lines(path):
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_names_are_those_of_manifests():
    assert list(PROTOCOLS) == [
        "msrvtt-1ka", "msrvtt-7k", "msrvtt-full", "msvd", "didemo", "activitynet", "activitynet-val2", "lsmdc", "vatex",
        "charades", "shapes", "folder",
    ]  # fmt: skip
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name and protocol.title and protocol.source
        assert protocol.queries.endswith(".") and protocol.source.endswith(".")


def test_msrvtt_sizes_are_those_of_the_files(shared):
    folder = shared / "annotations" / "msrvtt"
    test = rows(folder / "MSRVTT_JSFUSION_test.csv")
    assert (len({row["video_id"] for row in test}), len(test)) == (1000, 1000)
    for name, file in (("msrvtt-1ka", "MSRVTT_train.9k.csv"), ("msrvtt-7k", "MSRVTT_train.7k.csv")):
        train = {row["video_id"] for row in rows(folder / file)}
        assert PROTOCOLS[name].sizes["train"] == (len(train), 20 * len(train))
        assert PROTOCOLS[name].sizes["test"] == (1000, 1000)
        assert not train & {row["video_id"] for row in test}
    full = PROTOCOLS["msrvtt-full"].sizes
    whole = json.loads((folder / "msrvtt_caption_test_2990x20.json").read_text(encoding="utf-8"))
    assert full["test"] == (len(whole), sum(len(row["caption"]) for row in whole))
    val = json.loads((folder / "sgn_val_497x20.json").read_text(encoding="utf-8"))
    assert full["val"] == (len(val), sum(map(len, val.values())))
    assert [sum(size[i] for size in full.values()) for i in (0, 1)] == [10_000, 200_000]
    # The 7k list is the official training and validation videos together.
    assert PROTOCOLS["msrvtt-7k"].sizes["train"][0] == full["train"][0] + full["val"][0]


def test_msvd_sizes_are_those_of_the_files(shared):
    folder = shared / "annotations" / "msvd"
    captions = json.loads((folder / "captions_msvd.json").read_text(encoding="utf-8"))
    for split, size in PROTOCOLS["msvd"].sizes.items():
        videos = lines(folder / f"{split}_list.txt")
        assert size == (len(set(videos)), sum(len(captions[video]) for video in videos))
    assert [sum(size[i] for size in PROTOCOLS["msvd"].sizes.values()) for i in (0, 1)] == [1970, 80_827]


def test_paragraph_sizes_are_those_of_the_files(shared):
    for split, size in PROTOCOLS["didemo"].sizes.items():
        videos = set(lines(shared / "annotations" / "didemo" / f"{split}_list.txt"))
        assert size == (len(videos), len(videos))
    for split, file in (("train", "train.json"), ("test", "val_1.json")):
        videos = json.loads((shared / "annotations" / "activitynet" / file).read_text(encoding="utf-8"))
        assert PROTOCOLS["activitynet"].sizes[split] == (len(videos), len(videos))


def test_lsmdc_and_vatex_sizes_are_those_of_the_files(shared):
    clips = lines(shared / "annotations" / "lsmdc" / "LSMDC16_challenge_1000_publictect.csv")
    assert PROTOCOLS["lsmdc"].sizes["test"] == (len({line.split("\t")[0] for line in clips}), len(clips))
    vatex = json.loads((shared / "annotations" / "vatex" / "descs_ret_test.json").read_text(encoding="utf-8"))
    captions = sum(len(row["desc"]) for row in vatex)
    assert PROTOCOLS["vatex"].sizes["test"] == (len({row["video_id"] for row in vatex}), captions)


def test_shapes_sizes_are_those_of_the_recipe():
    clips = plan_clips(0, 1.0)
    for split, size in PROTOCOLS["shapes"].sizes.items():
        there = [clip for clip in clips if clip.split == split]
        assert size == (len(there), sum(len(clip.captions) for clip in there))
    assert {clip.split for clip in clips} == set(PROTOCOLS["shapes"].sizes)


def test_fewer_and_more_than_the_protocol_are_both_incomplete():
    whole = coverage_of("msrvtt-1ka", "test", 1000, 1000)
    assert whole.complete
    assert whole.words() == "1,000 of 1,000 videos and 1,000 of 1,000 captions of msrvtt-1ka"
    fewer = coverage_of("msrvtt-1ka", "test", 879, 879)
    assert not fewer.complete
    assert fewer.words() == "879 of 1,000 videos and 879 of 1,000 captions of msrvtt-1ka"
    # All 20 captions of the same videos are another test.
    more = coverage_of("msrvtt-1ka", "test", 1000, 20_000)
    assert not more.complete
    assert more.words() == "1,000 of 1,000 videos and 20,000 instead of 1,000 captions of msrvtt-1ka"
    assert not coverage_of("msvd", "test", 670, 27_762).complete


@pytest.mark.parametrize(
    ("protocol", "split"), [(None, "test"), ("mine", "test"), ("msvd", "other"), ("folder", "test")]
)
def test_where_nothing_is_expected_nothing_is_missing(protocol, split):
    coverage = coverage_of(protocol, split, 1, 12)
    assert coverage.complete
    assert coverage.words() == "1 video and 12 captions"
    assert coverage.to_dict()["expected_videos"] is None


def test_a_protocol_may_count_videos_alone(monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "films", Protocol("films", "Films", "any", "made up", {"test": (10, None)}))
    coverage = coverage_of("films", "test", 10, 40)
    assert coverage == Coverage("films", "test", 10, 40, 10, None)
    assert coverage.complete and coverage.words() == "10 of 10 videos and 40 captions of films"
    assert not coverage_of("films", "test", 9, 40).complete


def test_a_manifest_keeps_its_protocol(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"tvrkit_manifest": 1, "name": "x", "protocol": "msvd"}\n', encoding="utf-8")
    assert read_manifest(path).protocol in PROTOCOLS

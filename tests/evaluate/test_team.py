"""Several processes measure one model: all of them return what one process returns, to the last bit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from team import run_team
from tiny import HERE, make_data, tiny_config, write_clip

from tvrkit.core import build_model
from tvrkit.data import frame_request
from tvrkit.distributed import SOLO
from tvrkit.encode import encode_frames
from tvrkit.errors import TvrkitError
from tvrkit.evaluate import encode_split, evaluate, evaluate_hard, query_bank
from tvrkit.evaluate.scoring import TEXT_BATCH
from tvrkit.frames.reading import Reading
from tvrkit.manifest import Record, read_manifest
from tvrkit.store import FeatureStore


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_data(folder, train=4, val=0, test=7, hard=True)
    write_clip(folder)
    return folder


def world(folder):
    """The same in every process; the test split has more captions than go through the text tower together."""
    manifest = read_manifest(folder / "manifest.jsonl")
    torch.manual_seed(3)
    model = build_model(tiny_config(folder / "tiny_clip.json", folder / "manifest.jsonl").model)
    records = [
        replace(record, captions=tuple(f"{caption} or {i}" for caption in record.captions for i in range(90)))
        if record.split == "test"
        else record
        for record in manifest.records
    ]
    twice = replace(records[4], captions=(*records[4].captions, records[5].captions[0]))  # asked of two videos
    manifest = manifest.with_records([*records[:4], twice, *records[5:]])
    assert sum(len(record.captions) for record in manifest.split("test")) > 2 * TEXT_BATCH
    return manifest, model


def measures(team, folder):
    """Whatever can be measured."""
    manifest, model = world(folder)
    told = []
    test = evaluate(model, manifest, "test", reading=HERE, team=team, on_progress=lambda *n: told.append(n))
    encoded = encode_split(model, manifest, "test", reading=Reading(1), team=team)
    hard = encode_split(model, manifest, "hard", reading=HERE, team=team)
    bank = query_bank(model, manifest, test, size=6, encoded=encoded, reading=HERE, team=team)
    assert told[-1] == (7, 0)
    return {
        "numbers": test.to_dict(),
        "ranks": [x.tolist() for ranks in (test.t2v_ranks, test.v2t_ranks) for x in (ranks.above, ranks.equal)],
        "similarity": test.similarity,
        "frames": (encoded.rows, encoded.frame_features, encoded.frame_mask, encoded.duration_seconds),
        "seconds": encoded.pts_seconds.nan_to_num(-1.0),
        "hard": evaluate_hard(model, manifest, hard, team=team).to_dict(),
        "bank": (bank.texts, bank.videos),
    }


def failures(team, folder):
    """What is said where videos cannot be read, and what is measured without them; 3 of 4 fail in the first half."""
    manifest, model = world(folder)
    (folder / f"bad{team.rank}.mp4").write_bytes(b"nothing")
    whole = manifest.split("test")[0]
    bad = [Record(f"bad{i}", str(folder / "bad0.mp4"), ("a red square",), split="test") for i in range(2)]
    gone = Record("gone", str(folder / "gone.mp4"), ("a blue square",), split="test")
    manifest = manifest.with_records([*bad, gone, whole])
    with pytest.raises(TvrkitError) as error:
        evaluate(model, manifest, "test", reading=HERE, team=team)
    some = evaluate(model, manifest, "test", reading=HERE, team=team, allow_missing=True)
    none = encode_frames(model, [frame_request(manifest, r, 4) for r in bad], reading=HERE, team=team)
    nothing = encode_frames(model, [], reading=HERE, team=team)
    assert (len(none), len(none.failures), len(nothing)) == (0, 2, 0)
    return str(error.value), some.missing, some.similarity


def stores(team, folder, shared):
    """Stores in one folder, or in a folder of each process, spare the second time all decoding; `[computed, ...]`."""
    manifest, model = world(folder)
    requests = [frame_request(manifest, record, 4) for record in manifest.split("test")]
    place = folder / ("shared" if shared else f"own{team.rank}of{team.size}")
    computed, results = [], []
    with FeatureStore(place) as store:
        for asked in (requests[:3], requests, requests):  # some are there already; in shares of other sizes
            before = len(store)
            team.wait()
            results.append(encode_frames(model, asked, reading=HERE, store=store, team=team).frame_features)
            team.wait()
            computed.append(len(store) - before)
    return computed, results


def one_bad_store(team, folder):
    """The store of the second process cannot be written."""
    manifest, model = world(folder)
    requests = [frame_request(manifest, record, 4) for record in manifest.split("test")]
    place = folder / f"broken{team.rank}"
    with FeatureStore(place) as store:
        if team.rank == 1:
            shutil.rmtree(place)
        with pytest.raises(TvrkitError) as error:
            encode_frames(model, requests, reading=HERE, store=store, team=team)
    team.wait()  # nobody is left behind
    return str(error.value)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def all_of_it(team, folder: Path):
    parts = {"measures": measures(team, folder), "failures": failures(team, folder)}
    parts |= {"shared": stores(team, folder, True), "own": stores(team, folder, False)}
    if team.size > 1:
        parts["one bad store"] = one_bad_store(team, folder)
    return parts


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_every_process_returns_what_one_process_returns(folder, tmp_path, size):
    torch.set_num_threads(1)  # as in the team: a product over more threads may differ in its last bits
    there = [tmp_path / "alone", tmp_path / "team"]
    for place in there:
        shutil.copytree(folder, place)
    alone = all_of_it(SOLO, there[0])
    for answer in run_team(all_of_it, size, there[1]):
        assert same(answer["measures"], alone["measures"])
        words, missing, scores = answer["failures"]
        assert words == alone["failures"][0].replace("alone", "team") and missing == ("bad0", "bad1", "gone")
        assert same(scores, alone["failures"][2])
        assert answer["shared"][0] == alone["shared"][0] == [3, 4, 0]
        assert answer["own"][0][2] == 0
        assert same(answer["shared"][1], alone["shared"][1]) and same(answer["own"][1], alone["shared"][1])
        assert "broken1" in answer["one bad store"]

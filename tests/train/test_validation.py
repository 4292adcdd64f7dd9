"""A validation split chooses a checkpoint and is no published number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import make_data, tiny_config, write_clip

from tvrkit.core import build_model
from tvrkit.errors import DataError
from tvrkit.manifest import Record, read_manifest
from tvrkit.reporting import Silent
from tvrkit.train.validation import Validation


@pytest.fixture
def world(tmp_path):
    manifest = read_manifest(make_data(tmp_path, train=1, val=3, test=1))
    config = tiny_config(write_clip(tmp_path), tmp_path / "manifest.jsonl")
    torch.manual_seed(0)
    return manifest, config, build_model(config.model)


def test_a_part_of_a_protocols_validation_videos_may_choose(world):
    manifest, config, model = world
    part = replace(manifest, protocol="msvd")
    outcome = Validation(model, part, config, Silent(), cache=False)(model, step=7)
    assert outcome.score == outcome.metrics["t2v"]["MnR"]
    assert outcome.metrics["coverage"]["complete"] is False
    assert outcome.metrics["coverage"]["expected_videos"] == 100


@pytest.mark.parametrize("cache", [False, True])
def test_a_validation_video_that_cannot_be_read_is_an_error(world, tmp_path, cache):
    manifest, config, model = world
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    broken = manifest.with_records([Record("bad", str(tmp_path / "bad.mp4"), ("red",), split="val"), *manifest.records])
    with pytest.raises(DataError, match="'val' of squares cannot be used whole: .*bad.mp4.*prepare the data set again"):
        Validation(model, broken, config, Silent(), cache=cache)(model, step=0)

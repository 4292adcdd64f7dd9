from __future__ import annotations

import json

import pytest
from tiny import make_data, tiny_config, write_clip

from tvrkit.config import ConfigError
from tvrkit.core import build_model
from tvrkit.frames import pool
from tvrkit.manifest import read_manifest
from tvrkit.reporting import Silent
from tvrkit.train.loop import train
from tvrkit.train.validation import Validation


def losses(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.fixture
def asked(monkeypatch):
    """Paths of the videos that were decoded."""
    paths, real = [], pool.decode_here
    monkeypatch.setattr(
        pool, "decode_here", lambda request, *rest: (paths.append(request.path), real(request, *rest))[1]
    )
    return paths


@pytest.mark.slow
def test_training_on_kept_frames_is_the_same_and_decodes_each_video_once(tmp_path, asked):
    clip, manifest = write_clip(tmp_path), make_data(tmp_path / "data", train=6, val=2, test=0)
    plain = train(tiny_config(clip, manifest), tmp_path / "plain")
    config = tiny_config(clip, manifest, data={"cache_frames": True})
    first = train(config, tmp_path / "first")
    kept = list((tmp_path / "cache" / "pixels").rglob("*.frames"))
    assert len(kept) == 6 + 2
    asked.clear()
    second = train(config, tmp_path / "second")
    assert not asked
    assert losses(plain) == losses(first) == losses(second) and losses(plain)


@pytest.mark.parametrize(("kept", "decoded_again"), [(True, 0), (False, 3)])
def test_a_second_validation_decodes_nothing_where_frames_are_kept(tmp_path, asked, kept, decoded_again):
    manifest = make_data(tmp_path / "data", train=1, val=3, test=0)
    config = tiny_config(write_clip(tmp_path), manifest, data={"cache_frames": kept})
    model = build_model(config.model)
    validation = Validation(model, read_manifest(manifest), config, Silent(), cache=False)
    before = validation(model, step=1)
    assert len(asked) == 3
    assert validation(model, step=1).metrics == before.metrics
    assert len(asked) == 3 + decoded_again


def test_random_frames_cannot_be_kept(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.cache_frames .* data\.sampling=random"):
        tiny_config(tmp_path, tmp_path, data={"cache_frames": True, "sampling": "random"})

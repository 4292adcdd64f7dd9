from __future__ import annotations

import json

import pytest
from tiny import make_data, tiny_config, write_clip

from tvrkit.config import ConfigError
from tvrkit.train.loop import train


def losses(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.slow
def test_training_on_kept_frames_is_the_same_and_decodes_each_video_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TVRKIT_CACHE", str(tmp_path / "cache"))
    clip, manifest = write_clip(tmp_path), make_data(tmp_path / "data", train=6, val=2, test=0)
    plain = train(tiny_config(clip, manifest), tmp_path / "plain")
    config = tiny_config(clip, manifest, data={"cache_frames": True})
    first = train(config, tmp_path / "first")
    kept = list((tmp_path / "cache" / "pixels").rglob("*.frames"))
    assert len(kept) >= 6
    # The second run has nothing to decode of the training videos.
    asked = []
    from tvrkit.frames import pool

    real = pool.decode_here
    monkeypatch.setattr(
        pool, "decode_here", lambda request, *rest: (asked.append(request.path), real(request, *rest))[1]
    )
    second = train(config, tmp_path / "second")
    assert not [path for path in asked if "/train" in path]
    assert losses(plain) == losses(first) == losses(second) and losses(plain)


def test_random_frames_cannot_be_kept(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.cache_frames .* data\.sampling=random"):
        tiny_config(tmp_path, tmp_path, data={"cache_frames": True, "sampling": "random"})

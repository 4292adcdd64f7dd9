"""Whole runs with rates by part, layer-wise decay, parameters that stand still, and a warm start."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from team import run_team
from tiny import make_data, tiny_config, write_clip

from tvrkit.config import Config
from tvrkit.core import load_model
from tvrkit.distributed import Team
from tvrkit.errors import ConfigError, StoppedError
from tvrkit.reporting import Silent
from tvrkit.train.loop import train

SETTINGS = {
    "layer_decay": 0.5,
    "rates": {"temporal.*": 3e-3, "objective.*": 2e-3, "backbone.clip.text_projection": 0.0},
    "freeze_parameters": ["backbone.clip.visual.conv1.*", "*.resblocks.0.mlp.*"],
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    make_data(folder / "squares", train=12, val=4, test=0)
    write_clip(folder)
    return folder


def config_of(rendered: Path, **settings) -> Config:
    clip, manifest = rendered / "tiny_clip.json", rendered / "squares" / "manifest.jsonl"
    return tiny_config(clip, manifest, train={"epochs": 1, "save_every_steps": 2, **settings})


class Said(Silent):
    def __init__(self, stop_at: int = 0) -> None:
        self.said: list[str] = []
        self.left = stop_at

    def say(self, text):
        self.said.append(text)

    def advance(self, n=1):
        self.left -= n
        if n and self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def lines(run: Path) -> list[dict]:
    found = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in found if "loss" in line]


def numbers(run: Path) -> list[tuple[float, float]]:
    return [(line["loss"], line["gradient_norm"]) for line in lines(run)]


@pytest.fixture(scope="module")
def first(rendered, tmp_path_factory) -> Path:
    """A run to begin from."""
    return train(config_of(rendered, seed=3), tmp_path_factory.mktemp("first") / "run")


def test_a_warm_run_with_rates_by_part(rendered, first, tmp_path):
    config = config_of(rendered, init_from=str(first), **SETTINGS)
    report = Said()
    run = train(config, tmp_path / "run", report=report)
    begun, done = load_model(first), load_model(run / "checkpoints" / "last")
    total = len(begun.state_dict())
    assert f"Warm start from {first}: {total} of the model's {total} tensors taken over" in report.said
    still = ("visual.conv1.", ".resblocks.0.mlp.", "text_projection")
    for (name, before), after in zip(begun.state_dict().items(), done.state_dict().values(), strict=True):
        if before.is_floating_point() and "mask" not in name:
            assert torch.equal(before, after) == any(part in name for part in still), name
    # The peak of a linear rise over a part of the steps is the rate of each group.
    peak = max(line["lr"] for line in lines(run))
    line = next(line for line in lines(run) if line["lr"] == peak)
    assert line["lr"] == pytest.approx(1e-3) and line["clip_lr"] == pytest.approx(1e-3)
    assert line["clip_lr_lowest"] == pytest.approx(1e-3 / 4)  # one block, then the embeddings
    assert line["lr/temporal.*"] == pytest.approx(3e-3) and line["lr/backbone.clip.text_projection"] == 0

    with pytest.raises(StoppedError):
        train(config, tmp_path / "cut", report=Said(stop_at=2))
    # What it began from is asked for once.
    again = Said()
    train(config, tmp_path / "cut", resume=True, report=again)
    assert not any("Warm start" in text for text in again.said)
    assert numbers(tmp_path / "cut") == numbers(run)


@pytest.mark.parametrize("key", ["rates", "freeze_parameters"])
def test_a_pattern_of_nothing_leaves_no_run(rendered, tmp_path, key):
    value = {"temporl.*": 1e-3} if key == "rates" else ["temporl.*"]
    with pytest.raises(ConfigError, match=rf"train\.{key}: .*did you mean temporal\.\*\?"):
        train(config_of(rendered, **{key: value}), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def run_in(team: Team, config: Config, run: Path) -> None:
    train(config, run, team=team)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_do_the_same(rendered, first, tmp_path, parallel):
    config = config_of(rendered, init_from=str(first), parallel=parallel, **SETTINGS)
    run_team(run_in, 2, config, tmp_path / "two", timeout=300)
    train(config, tmp_path / "one")
    for ours, theirs in zip(numbers(tmp_path / "two"), numbers(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-5)
    a, b = (load_model(tmp_path / name / "checkpoints" / "last").state_dict() for name in ("two", "one"))
    for name, weight in b.items():
        assert (a[name] - weight).abs().max() <= 2e-5 * max(1.0, float(weight.abs().max())), name

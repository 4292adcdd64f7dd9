"""Early stopping and the moving average of the weights, over whole runs."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny import make_data, tiny_config, write_clip

from tvrkit.core import load_model
from tvrkit.reporting import Silent
from tvrkit.train.loop import train
from tvrkit.train.state import last_checkpoint, load_training_state, under


@pytest.fixture(scope="module")
def config_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    clip, manifest = write_clip(folder), make_data(folder / "data", train=12, val=4, test=0)
    return lambda **sections: tiny_config(clip, manifest, **sections)


class Words(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text):
        self.said.append(text)


def test_a_run_that_no_longer_gets_better_stops_and_stays_stopped(config_of, tmp_path):
    # Rates at which nothing moves: the first validation stays the best.
    config = config_of(train={"epochs": 9, "patience": 2, "lr": 1e-12, "clip_lr": 1e-12})
    report = Words()
    run = train(config, tmp_path / "run", report=report)
    assert [text for text in report.said if text.startswith("Stopped early")] == [
        "Stopped early after step 12: 2 validations in a row without a better t2v/MnR than"
        f" {best_of(run):.1f} at step 4 (train.patience)."
    ]
    assert load_training_state(last_checkpoint(run), "cpu")[1].step == 12  # of 36
    before = {path: path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()}
    report = Words()
    train(config, run, resume=True, report=report)
    assert report.said[0] == f"{run} is finished: there is nothing left to do."
    assert before == {path: path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()}


def best_of(run) -> float:
    return json.loads((run / "checkpoints" / "best" / "metrics.json").read_text())["t2v"]["MnR"]


def test_the_best_has_the_average_and_the_last_the_weights(config_of, tmp_path):
    # Without a validation split the latest is the best, so that both are of the same step.
    run = train(config_of(train={"ema": 0.9}, data={"val_split": "none"}), tmp_path / "run")
    last = last_checkpoint(run)
    averages = under(load_file(last / "training.safetensors"), "ema/")
    best, weights = load_model(run).state_dict(), load_model(last).state_dict()
    assert "backbone.clip.visual.conv1.weight" in averages
    of_model = {name: tensor for name, tensor in averages.items() if name in best}
    assert all(torch.equal(best[name], tensor) for name, tensor in of_model.items())
    assert not torch.equal(best["backbone.clip.visual.conv1.weight"], weights["backbone.clip.visual.conv1.weight"])
    plain = train(config_of(data={"val_split": "none"}), tmp_path / "plain")
    same = load_model(last_checkpoint(plain)).state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in weights)  # averaging changes no training

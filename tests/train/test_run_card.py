"""The card that real runs write."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
from tiny import make_data, tiny_config, write_clip

from tvrkit.errors import StoppedError, TrainingError
from tvrkit.reporting import Silent
from tvrkit.train.loop import train
from tvrkit.train.session import read_sessions


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return tiny_config(write_clip(folder), make_data(folder / "data", train=12, val=4, test=0), train={"trackers": []})


def changed(config, **train):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train))


class StopAt(Silent):
    """Sends a signal at a step."""

    def __init__(self, step):
        self.left = step

    def advance(self, n=1):
        self.left -= n
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_tells_how_it_went_over_its_sessions(config, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(config, run, report=StopAt(2))
    text = (run / "run.md").read_text()
    assert "Step 2 of 8 after " in text and "stopped when it was asked to." in text
    assert "Nothing has been validated." in text
    train(config, run, resume=True)
    text = (run / "run.md").read_text()
    first, second = read_sessions(run)
    assert (first["first_step"], first["step"], first["ended"]) == (0, 2, "stopped when it was asked to")
    assert (second["first_step"], second["step"], second["ended"]) == (2, 8, "finished")
    assert {"read", "towers", "backward", "optimiser", "validate", "save"} <= set(second["parts"])
    assert "Step 8 of 8 after " in text and ", in 2 sessions: finished." in text
    assert "| **8** (best) |" in text or "| **4** (best) |" in text
    before = text
    train(config, run, resume=True)
    assert (run / "run.md").read_text() == before


@pytest.mark.filterwarnings("ignore:overflow")
def test_an_error_stands_in_the_card(config, tmp_path):
    with pytest.raises(TrainingError) as caught:
        train(changed(config, lr=1e30, clip_lr=1e30, warmup=0.0), tmp_path / "run")
    text = (tmp_path / "run" / "run.md").read_text()
    assert "stopped by an error (" in text and str(caught.value).partition(" at step")[0] in text
    assert (tmp_path / "run" / "nonfinite.json").is_file()

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from tiny import make_data, tiny_config, write_clip

import tvrkit
from tvrkit.core import load_model
from tvrkit.errors import CheckpointError, ConfigError, DataError, StoppedError, TrainingError
from tvrkit.reporting import Silent
from tvrkit.train.loop import train
from tvrkit.train.state import last_checkpoint, load_training_state

CLOCK = {"clips_per_second", "seconds", "waiting_for_data"}
PARTS = {"neg_nce", "logit_scale", "partial_sentence", "partial_words", "partial_hidden_words"}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    make_data(folder / "data", train=12, val=4, test=0)
    write_clip(folder)
    return folder


@pytest.fixture
def world(rendered, tmp_path):
    """A copy of the data that the test may break, and a function that makes configs for it."""
    shutil.copytree(rendered / "data", tmp_path / "squares")
    manifest = tmp_path / "squares" / "manifest.jsonl"
    return lambda **sections: tiny_config(rendered / "tiny_clip.json", manifest, **sections)


class Report(Silent):
    """Remembers what was said, and does something at a step."""

    def __init__(self, at: int | None = None, do=None) -> None:
        self.said: list[str] = []
        self.at, self.do, self.steps = at, do, 0

    def say(self, text):
        self.said.append(text)

    warn = say

    def advance(self, n=1):
        self.steps += n
        if self.do is not None and self.steps == self.at:
            self.do()


def lines(run, key="loss"):
    return [line for line in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if key in line]


def losses(run):
    """Every number of every step that does not depend on the clock."""
    return [{k: v for k, v in line.items() if k not in CLOCK} for line in lines(run)]


def test_a_run_leaves_what_it_promises(world, tmp_path):
    report = Report()
    run = train(world(), tmp_path / "run", report=report)
    steps = lines(run)
    assert [line["step"] for line in steps] == list(range(1, 9))
    assert [line["epoch"] for line in steps] == [0] * 4 + [1] * 4
    assert PARTS | {"loss", "gradient_norm", "lr", "clip_lr", "clips_per_second"} <= set(steps[0])
    validations = lines(run, "validation")
    assert [line["step"] for line in validations] == [4, 8]
    info = json.loads((run / "run.json").read_text())
    assert (info["name"], info["dataset"], info["tvrkit"]) == ("run", "squares", tvrkit.__version__)
    assert (run / "config.yaml").is_file() and list((run / "tensorboard").iterdir())
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"best", "last"}
    assert not {"training.safetensors", "training.json"} & {p.name for p in (run / "checkpoints" / "best").iterdir()}
    assert "Training on squares: 12 videos, 24 captions, 8 steps on cpu" in report.said[0]
    assert not list(run.rglob("*.pt")) and not list(run.rglob("*.pkl"))


def test_the_best_by_validation_is_kept_and_says_so(world, tmp_path):
    run = train(world(train={"epochs": 4, "lr": 1e-2, "clip_lr": 1e-2}), tmp_path / "run")
    scores = {line["step"]: line["validation"]["t2v"]["MnR"] for line in lines(run, "validation")}
    best = min(scores, key=lambda step: (scores[step], step))
    metrics = json.loads((run / "checkpoints" / "best" / "metrics.json").read_text())
    assert metrics["step"] == best and metrics["t2v"]["MnR"] == scores[best]
    assert (metrics["split"], metrics["selected_by"], metrics["tvrkit"]) == ("val", "t2v/MnR", tvrkit.__version__)
    tensors = load_model(run).state_dict()
    last = load_model(run / "checkpoints" / "last").state_dict()
    same = all(torch.equal(tensors[name], last[name]) for name in tensors)
    assert same == (best == 4 * 4)


def test_without_a_validation_split_the_last_is_kept(world, tmp_path):
    report = Report()
    run = train(world(data={"val_split": "none"}), tmp_path / "run", report=report)
    assert any("has no split 'none'" in text and "the last is kept" in text for text in report.said)
    metrics = json.loads((run / "checkpoints" / "best" / "metrics.json").read_text())
    assert metrics["step"] == 8 and metrics["split"] is None and "last checkpoint" in metrics["selected_by"]


def test_the_test_split_never_chooses(world, tmp_path):
    with pytest.raises(ConfigError, match="data.val_split=test"):
        train(world(data={"val_split": "test"}), tmp_path / "run")
    with pytest.raises(ConfigError, match="data.train_split=test would train on the very videos"):
        world(data={"train_split": "test"})
    with pytest.raises(ConfigError, match="squares has no split 'vall': did you mean val"):
        train(world(data={"val_split": "vall"}), tmp_path / "run")
    with pytest.raises(ConfigError, match="train.select_by is t2v/ or v2t/"):
        train(world(train={"select_by": "t2v/R@2"}), tmp_path / "run")


@pytest.mark.parametrize("step", [2, 3, 4, 6])
def test_a_run_stopped_by_a_signal_goes_on_with_the_same_losses(world, tmp_path, step):
    config = world(data={"sampling": "random"})
    whole = train(config, tmp_path / "whole")
    report = Report(at=step, do=lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StoppedError, match=f"stopped and saved after step {step} of 8.*--resume") as stopped:
        train(config, tmp_path / "cut", report=report)
    assert stopped.value.exit_code == 0  # a scheduler asked
    assert len(losses(tmp_path / "cut")) == step
    torch.manual_seed(99)  # whatever happened in between
    train(config, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(whole)
    assert lines(tmp_path / "cut", "validation") == lines(whole, "validation")
    a, b = load_model(tmp_path / "cut").state_dict(), load_model(whole).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in b)


@pytest.mark.parametrize("step", [1, 5, 8])
def test_a_run_that_died_goes_on_from_its_last_checkpoint(world, tmp_path, step):
    config = world(train={"save_every_steps": 2})
    whole = train(config, tmp_path / "whole")

    class Crash(Exception):
        pass

    def crash():
        raise Crash

    with pytest.raises(Crash):
        train(config, tmp_path / "cut", report=Report(at=step, do=crash))
    if step == 1:
        with pytest.raises(CheckpointError, match="has no checkpoint to go on from"):
            train(config, tmp_path / "cut", resume=True)
        train(config, tmp_path / "cut")  # nothing was reached, so it may simply begin again
    else:
        train(config, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(whole)


def test_a_second_signal_stops_at_once(world, tmp_path):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StoppedError, match="at once") as stopped:
        train(world(), tmp_path / "run", report=Report(at=2, do=twice))
    assert stopped.value.exit_code == 130


def test_a_signal_before_the_first_step_leaves_no_run_and_keeps_the_cache(world, tmp_path):
    config = world(train={"freeze": "vision"})
    report = Report(at=12, do=lambda: os.kill(os.getpid(), signal.SIGTERM))  # all frames of train are computed
    with pytest.raises(StoppedError, match="stopped before the first step; frames computed so far stay in the cache"):
        train(config, tmp_path / "run", report=report)
    assert not (tmp_path / "run").exists()
    assert list((tmp_path / "cache" / "frames").iterdir())
    train(config, tmp_path / "run")


def test_resuming_what_is_finished_does_nothing(world, tmp_path):
    config = world()
    run = train(config, tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (run / "checkpoints").rglob("*") if p.is_file()}
    report = Report()
    train(config, run, resume=True, report=report)
    assert report.said[0] == f"{run} is finished: there is nothing left to do."
    assert before == {p: p.stat().st_mtime_ns for p in (run / "checkpoints").rglob("*") if p.is_file()}


def test_a_run_is_not_overwritten_nor_resumed_on_other_data(world, tmp_path):
    config = world(train={"epochs": 1})
    run = train(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="there is a run in .*--resume"):
        train(config, run)
    manifest = tmp_path / "squares" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace("a red square", "a crimson square"))
    with pytest.raises(DataError, match="the training data have changed"):
        train(config, run, resume=True)


def test_settings_that_were_changed_in_the_run_are_told(world, tmp_path):
    config = world(train={"epochs": 1})
    run = train(config, tmp_path / "run")
    untouched, changed = Report(), Report()
    train(config, run, resume=True, report=untouched)
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("epochs: 1", "epochs: 2"))
    train(config, run, resume=True, report=changed)
    assert not any("has been changed since" in text for text in untouched.said)
    assert any("config.yaml has been changed since the run was started" in text for text in changed.said)


def test_damaged_training_state_is_one_sentence(world, tmp_path):
    config = world(train={"epochs": 1})
    run = train(config, tmp_path / "run")
    folder = last_checkpoint(run)
    (folder / "training.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(CheckpointError, match="its training state is damaged"):
        load_training_state(folder, "cpu")


@pytest.mark.parametrize("freeze", ["vision", "backbone"])
def test_cached_and_uncached_runs_have_the_same_losses(world, tmp_path, freeze, monkeypatch):
    config = world(train={"freeze": freeze, "precision": "bf16"})
    uncached = train(config, tmp_path / "uncached", cache=False)
    assert not (tmp_path / "cache").exists()
    first = train(config, tmp_path / "first")
    assert list((tmp_path / "cache" / "frames").iterdir())
    monkeypatch.setattr("tvrkit.encode.frames.iter_encoded", None)  # nothing is decoded the second time
    second = train(config, tmp_path / "second")
    assert losses(first) == losses(second) == losses(uncached)
    assert lines(first, "validation") == lines(second, "validation")


def test_a_frozen_tower_does_not_move_and_the_rest_does(world, tmp_path):
    config = world(train={"freeze": "vision"})
    run = train(config, tmp_path / "run")
    from tvrkit.core import build_model

    torch.manual_seed(config.train.seed)
    before, after = build_model(config.model).state_dict(), load_model(run / "checkpoints" / "last").state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in moved if ".visual." in name]
    assert "backbone.clip.token_embedding.weight" in moved and "backbone.clip.logit_scale" in moved
    assert any(name.startswith("temporal.") for name in moved)
    assert any(name.startswith("interaction.") for name in moved)


def test_training_moves_everything_when_nothing_is_frozen(world, tmp_path):
    run = train(world(train={"epochs": 1}), tmp_path / "run")
    torch.manual_seed(0)
    from tvrkit.core import build_model

    before, after = build_model(world().model).state_dict(), load_model(run / "checkpoints" / "last").state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "backbone.clip.visual.conv1.weight" in moved


@pytest.mark.parametrize("cache", [True, False])
def test_an_unreadable_training_video_is_named_and_left_out(world, tmp_path, cache):
    (tmp_path / "squares" / "videos" / "train3.mp4").write_bytes(b"\x00" * 1000)
    report = Report()
    run = train(world(train={"freeze": "vision"}), tmp_path / "run", report=report, cache=cache)
    row = json.loads((run / "quarantine.jsonl").read_text())
    assert row["video_id"] == "train3" and row["reason"]
    assert sum("train3.mp4" in text for text in report.said) == 1
    assert any("1 training videos could not be read" in text for text in report.said)
    assert len(losses(run)) == 8


def test_too_many_unreadable_training_videos_stop_it(world, tmp_path):
    for name in ("train3", "train7"):
        (tmp_path / "squares" / "videos" / f"{name}.mp4").unlink()
    with pytest.raises(DataError, match=r"2 of 12 training videos cannot be read.*more than 10%"):
        train(world(), tmp_path / "run")


@pytest.mark.parametrize("freeze", ["vision", "none"])
def test_an_unreadable_validation_video_is_an_error(world, tmp_path, freeze):
    (tmp_path / "squares" / "videos" / "val1.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"val1\.mp4"):
        train(world(train={"freeze": freeze, "epochs": 1}), tmp_path / "run")
    if freeze == "none":  # nothing of the epoch is lost
        assert load_training_state(last_checkpoint(tmp_path / "run"), "cpu")[1].step == 4


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_no_number_stops_and_names_the_videos(world, tmp_path):
    config = world(train={"lr": 1e30, "clip_lr": 1e30, "save_every_steps": 1, "warmup": 0.0})
    with pytest.raises(TrainingError, match=r"is (nan|inf|-inf) at step \d, with the videos train\d+") as caught:
        train(config, tmp_path / "run")
    named = str(caught.value).partition("with the videos ")[2].partition(";")[0].split(", ")
    assert 1 < len(named) <= 6 and all(name.startswith("train") for name in named)
    step = int(str(caught.value).partition("at step ")[2].partition(",")[0])
    assert load_training_state(last_checkpoint(tmp_path / "run"), "cpu")[1].step == step - 1


@pytest.mark.parametrize("sampler", ["family", "neighbours"])
@pytest.mark.parametrize("captions", ["all", "one"])
def test_every_sampler_trains(world, tmp_path, sampler, captions):
    config = world(train={"sampler": sampler, "max_steps": 3}, data={"captions": captions})
    run = train(config, tmp_path / "run")
    assert len(losses(run)) == 3


@pytest.mark.slow
def test_the_losses_do_not_depend_on_the_number_of_workers(world, tmp_path):
    runs = [train(world(data={"workers": n, "sampling": "random"}), tmp_path / f"run{n}") for n in (0, 1, 3)]
    assert losses(runs[0]) == losses(runs[1]) == losses(runs[2])


def test_another_seed_gives_other_losses(world, tmp_path):
    runs = [train(world(train={"seed": s, "max_steps": 2}), tmp_path / f"run{s}") for s in (0, 1)]
    assert losses(runs[0]) != losses(runs[1])

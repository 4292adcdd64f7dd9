from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import pytest
import torch
from support import REPO, clean_environment
from tiny import tiny_config, write_clip

from tvrkit.core import build_model, load_model
from tvrkit.errors import CheckpointError
from tvrkit.train.state import (
    Progress,
    last_checkpoint,
    load_random_tensors,
    load_training_state,
    random_tensors,
    record_validation,
    save_last,
    under,
)

# Saves one checkpoint after the other; all parts of a checkpoint bear its number.
SAVER = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from tiny import tiny_config, write_clip
from tvrkit.core import build_model
from tvrkit.train.state import Progress, record_validation, save_last
run = Path({run!r})
run.mkdir(parents=True, exist_ok=True)
model = build_model(tiny_config(write_clip(run), run / "none").model)
(run / "run.json").write_text("{{}}")
for step in range({first}, 10**9):
    with torch.no_grad():
        model.backbone.logit_scale.fill_(float(step))
    progress = Progress(step=step)
    save_last(run, model, {{"mark": torch.full((300_000,), float(step))}}, progress, {{"step": step}})
    record_validation(run, progress, {{"step": step, "validated": True}}, best=step % 2 == 0)
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_kill_while_saving_leaves_whole_checkpoints(tmp_path):
    run, random_seconds = tmp_path / "run", random.Random(7)
    first = 0
    for _ in range(5):
        code = SAVER.format(tests=str(REPO / "tests"), run=str(run), first=first)
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=clean_environment(tmp_path), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(4):  # both kinds are there
            first = int(process.stdout.readline())
        time.sleep(random_seconds.uniform(0, 0.3))
        process.kill()
        process.wait()
        told = [first, *map(int, process.stdout.read().split())]
        process.stdout.close()
        tensors, progress = load_training_state(last_checkpoint(run), "cpu")
        assert progress.step in (told[-1], told[-1] + 1)
        last = load_model(last_checkpoint(run))
        assert last.backbone.logit_scale.item() == progress.step == tensors["mark"].unique().item()
        assert json.loads((last_checkpoint(run) / "metrics.json").read_text())["step"] == progress.step
        best = load_model(run).backbone.logit_scale.item()
        assert best % 2 == 0 and progress.step - 2 <= best <= progress.step
        first = progress.step + 1


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return build_model(tiny_config(write_clip(tmp_path), tmp_path / "none").model)


def test_what_is_saved_comes_back(model, tmp_path):
    progress = Progress(step=7, best=12.5, best_step=4, seconds=3.25)
    tensors = {"optimizer/a/step": torch.tensor(7.0), "optimizer/a/exp_avg": torch.randn(3, 4).t()} | random_tensors()
    save_last(tmp_path, model, tensors, progress, {"step": 7})
    back, numbers = load_training_state(last_checkpoint(tmp_path), "cpu")
    assert numbers == progress
    assert set(back) == set(tensors) and all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert set(under(back, "optimizer/")) == {"a/step", "a/exp_avg"}
    loaded = load_model(last_checkpoint(tmp_path)).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


def test_the_generator_goes_on(model):
    state = random_tensors()
    expected = torch.rand(5)
    torch.rand(100)
    load_random_tensors(state)
    assert torch.equal(torch.rand(5), expected)


def test_best_is_a_copy_that_training_cannot_go_on_from(model, tmp_path):
    progress = Progress(step=1)
    save_last(tmp_path, model, random_tensors(), progress, {"step": 1})
    record_validation(tmp_path, Progress(step=1, validated=True), {"step": 1, "score": 2.0}, best=True)
    save_last(tmp_path, model, random_tensors(), Progress(step=2), {"step": 2})
    record_validation(tmp_path, Progress(step=2, validated=True), {"step": 2, "score": 1.0}, best=False)
    best = tmp_path / "checkpoints" / "best"
    assert json.loads((best / "metrics.json").read_text()) == {"step": 1, "score": 2.0}
    assert not (best / "training.safetensors").exists() and not (best / "training.json").exists()
    assert load_training_state(last_checkpoint(tmp_path), "cpu")[1] == Progress(step=2, validated=True)
    with pytest.raises(CheckpointError, match="damaged"):
        load_training_state(best, "cpu")


def test_a_full_disk_leaves_the_checkpoint_before(model, tmp_path, monkeypatch):
    save_last(tmp_path, model, random_tensors(), Progress(step=1), {"step": 1})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tvrkit.train.state.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_last(tmp_path, model, random_tensors(), Progress(step=2), {"step": 2})
    assert load_training_state(last_checkpoint(tmp_path), "cpu")[1].step == 1
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["last"]


def test_a_run_without_a_checkpoint_says_how_to_begin(tmp_path):
    with pytest.raises(
        CheckpointError, match="has no checkpoint to go on from: start it again with `tvrkit train --out"
    ):
        last_checkpoint(tmp_path)

"""Whole runs by several processes: the same losses, validations and weights as by one, faults and stops included.

Tolerance: see `assert_same_run` (float32, AdamW).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import clean_environment
from team import run_team
from tiny import make_data, tiny_config, write_clip
from torch.optim.optimizer import register_optimizer_step_post_hook

from tvrkit.config import Config
from tvrkit.core import load_model
from tvrkit.distributed import SOLO, Team
from tvrkit.errors import StoppedError, TrainingError
from tvrkit.train.loop import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    make_data(folder / "squares", train=12, val=5, test=0)
    write_clip(folder)
    return folder


def config_of(rendered: Path, **sections: dict) -> Config:
    return tiny_config(rendered / "tiny_clip.json", rendered / "squares" / "manifest.jsonl", **sections)


def run_in(team: Team, config: Config, run: Path, resume: bool = False) -> None:
    train(config, run, team=team, resume=resume)


def losses(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: line[k] for k in ("step", "epoch", "loss", "gradient_norm")} for line in lines if "loss" in line]


def validations(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["validation"] for line in lines if "validation" in line]


def assert_same_run(found: Path, wanted: Path) -> None:
    """The first step to rounding; after it within what rounding, which Adam and the choices of a maximum enlarge, does.

    That every gradient is right to rounding is tests/train/test_gradients.py's.
    """
    assert [line["step"] for line in losses(found)] == [line["step"] for line in losses(wanted)]
    for ours, theirs in zip(losses(found), losses(wanted), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-5 if ours["step"] == 1 else 5e-3)
    a, b = (load_model(run / "checkpoints" / "last").state_dict() for run in (found, wanted))
    for name, weight in b.items():
        # Adam moves a weight by the rate (1e-3) a step, whatever its gradient: a tenth of one step on the average.
        assert (a[name] - weight).abs().float().mean() <= 1e-4, name


@pytest.fixture(scope="module")
def whole(rendered, tmp_path_factory) -> Path:
    return train(config_of(rendered, data={"sampling": "random"}), tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        (4, {"micro_batch": 1}),
        (2, {"parallel": "fsdp"}),
        (3, {"parallel": "fsdp", "micro_batch": 1, "gradient_checkpointing": True}),
    ],
)
def test_any_number_of_processes_trains_the_same_model(rendered, whole, tmp_path, size, settings):
    config = config_of(rendered, data={"sampling": "random"}, train=settings)
    run_team(run_in, size, config, tmp_path / "run", timeout=300)
    assert_same_run(tmp_path / "run", whole)
    for ours, theirs in zip(validations(tmp_path / "run"), validations(whole), strict=True):
        assert ours["t2v"]["queries"] == theirs["t2v"]["queries"] == 5


def test_features_computed_once_are_shared_out(rendered, tmp_path):
    config = config_of(rendered, train={"freeze": "vision"})
    run_team(run_in, 2, config, tmp_path / "two", timeout=300)
    train(config, tmp_path / "one")
    assert_same_run(tmp_path / "two", tmp_path / "one")
    ours, theirs = validations(tmp_path / "two"), validations(tmp_path / "one")
    assert ours[0]["t2v"]["R@5"] == theirs[0]["t2v"]["R@5"]


def test_checkpoints_move_between_one_process_ddp_and_fsdp(rendered, tmp_path):
    """An epoch by two processes, one by three in the other way, one by one; against three by one.

    Slowly, and by a loss without hard choices: those tip on the last bit sooner or later.
    """
    sections = {
        "model": {"nearest_frame": False, "interaction": "dot_product", "key_words": False},
        "loss": {"name": "info_nce", "partial_weight": 0.0},
    }
    slow = {"epochs": 3, "ema": 0.9, "lr": 1e-4, "clip_lr": 1e-4}
    run = tmp_path / "run"
    first, second, third = (
        config_of(rendered, **sections, train={**slow, "parallel": how}) for how in ("fsdp", "ddp", "fsdp")
    )
    run_team(run_until, 2, first, run, 3, False, timeout=300)
    run_team(run_until, 3, second, run, 4, True, timeout=300)
    train(third, run, resume=True)
    train(third, tmp_path / "alone")
    assert_same_run(run, tmp_path / "alone")


def run_until(team: Team, config: Config, run: Path, steps: int, resume: bool) -> None:
    """Stop by a signal to one process alone; all of them save and end at the same step."""
    if team.rank == team.size - 1:
        stop_after(steps)
    with pytest.raises(StoppedError, match="stopped and saved after step") as stopped:
        train(config, run, team=team, resume=resume)
    assert stopped.value.exit_code == 0


def stop_after(steps: int) -> None:
    """Send this process SIGTERM once it has done so many optimiser steps."""
    done = 0

    def count(optimizer, arguments, keywords):
        nonlocal done
        done += 1
        if done == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    register_optimizer_step_post_hook(count)


def test_a_video_that_only_one_process_meets_leaves_all_of_them(rendered, tmp_path):
    folder = tmp_path / "squares"
    manifest = make_data(folder, train=12, val=4, test=0)
    (folder / "videos" / "train3.mp4").write_bytes(b"\x00" * 1000)
    config = tiny_config(rendered / "tiny_clip.json", manifest)
    run_team(run_in, 2, config, tmp_path / "two", timeout=300)
    train(config, tmp_path / "one")
    assert_same_run(tmp_path / "two", tmp_path / "one")
    rows = [json.loads(line) for line in (tmp_path / "two" / "quarantine.jsonl").read_text().splitlines()]
    assert [row["video_id"] for row in rows] == ["train3"]


def fails(team: Team, config: Config, run: Path) -> str:
    with pytest.raises(TrainingError) as error:
        train(config, run, team=team)
    return str(error.value)


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_no_number_stops_all_processes_with_one_sentence(rendered, tmp_path):
    config = config_of(rendered, train={"lr": 1e30, "clip_lr": 1e30, "save_every_steps": 1, "warmup": 0.0})
    sentences = run_team(fails, 2, config, tmp_path / "run", timeout=300)
    assert sentences[0] == sentences[1] and str(tmp_path / "run" / "nonfinite.json") in sentences[0]
    assert "at step" in sentences[0] and "with the videos train" in sentences[0]
    assert len(json.loads((tmp_path / "run" / "nonfinite.json").read_text())["pairs"]) == 6


# Trains twice: in pieces of one pair, which loads, starts and compiles all that a step needs besides its tensors; then
# with so little address space beyond that that a whole batch of large frames does not fit, and a quarter of it does.
HUNGRY = """
import resource, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from tiny import tiny_config
from tvrkit.train.loop import train
from tvrkit.reporting import Silent
torch.set_num_threads(1)
class Report(Silent):
    def warn(self, text): print(text, flush=True)
    def advance(self, n=1):
        # After the start, so that the limit is about the steps alone.
        if n == 0:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + {room}, used + {room}))
def config(micro_batch):
    settings = {{"epochs": 1, "batch_size": 12, "micro_batch": micro_batch}}
    return tiny_config(Path({clip!r}), Path({manifest!r}), model={{"num_frames": 8}}, train=settings)
train(config(1), Path({warm!r}), report=Silent())
train(config(None), Path({run!r}), report=Report())
"""

# glibc keeps no freed tensor for later, nor room for threads: what is in use is what the tensors are.
PLAIN_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}


def test_out_of_memory_halves_the_micro_batch_and_changes_no_loss(tmp_path):
    """A real limit on the process's memory: a tower whose activations for 12 videos do not fit in it."""
    manifest = make_data(tmp_path / "squares", train=12, val=0, test=0)
    clip = write_clip(tmp_path)
    tree = json.loads(clip.read_text())
    tree["model_cfg"]["vision_cfg"] |= {"image_size": 256, "patch_size": 16, "width": 128, "layers": 4}
    clip.write_text(json.dumps(tree))
    script = HUNGRY.format(
        tests=str(Path(__file__).parents[1]),
        room=360 << 20,  # 12 pairs at a time need 660 MB, 6 of them 380, 3 of them 220, one 100
        clip=str(clip),
        manifest=str(manifest),
        warm=str(tmp_path / "warm"),
        run=str(tmp_path / "small"),
    )
    environment = clean_environment(tmp_path, **PLAIN_MALLOC)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Out of memory at step 1 with 12 pairs at a time: from now on 6, with the same loss" in done.stdout
    config = tiny_config(clip, manifest, model={"num_frames": 8}, train={"epochs": 1, "batch_size": 12})
    train(config, tmp_path / "large")
    assert_same_run(tmp_path / "small", tmp_path / "large")
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_one_process_by_itself_is_a_team(rendered, whole, tmp_path):
    train(config_of(rendered, data={"sampling": "random"}), tmp_path / "run", team=SOLO)
    assert losses(tmp_path / "run") == losses(whole)

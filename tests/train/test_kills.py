"""Runs whose processes are killed, at whatever they do, and go on as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support import clean_environment
from team import TeamError, run_team
from tiny import make_data, tiny_config, write_clip

from tvrkit.config import Config, config_from_dict, config_to_dict
from tvrkit.train.loop import train
from tvrkit.train.state import damage, last_checkpoint, load_training_state

pytestmark = pytest.mark.slow

STEPS = 12
CLOCK = ("clips_per_second", "seconds", "waiting_for_data")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    """12 steps in 3 epochs, with all that a resumed run has to find again."""
    folder = tmp_path_factory.mktemp("world")
    return tiny_config(
        write_clip(folder),
        make_data(folder / "data", train=12, val=4, test=0),
        data={"sampling": "random"},
        train={"epochs": 3, "ema": 0.9, "micro_batch": 2, "keep_last": 2, "save_every_steps": 3},
    )


def numbers(run: Path) -> list[dict]:
    """Every number of the log that does not depend on the clock; a line may be cut short while a run is killed."""
    lines = []
    for text in (run / "log.jsonl").read_text().splitlines() if (run / "log.jsonl").is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        lines.append({k: v for k, v in line.items() if k not in CLOCK})
    return lines


def steps_logged(run: Path) -> int:
    return max((line["step"] for line in numbers(run) if "loss" in line), default=0)


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """Weights of last and best, optimiser state and moving averages."""
    found = {}
    for path in sorted((run / "checkpoints").rglob("*.safetensors")):
        name = path.relative_to(run / "checkpoints")
        found |= {f"{name}:{key}": tensor for key, tensor in load_file(path).items()}
    return found


def part(team, tree: dict, run: Path, resume: bool, fatal: dict) -> None:
    """Train; the process of rank `fatal["rank"]` dies some moments after the log has `fatal["step"]` steps."""

    def watch() -> None:
        while steps_logged(run) < fatal["step"]:
            time.sleep(0.002)
        time.sleep(fatal["seconds"])
        os.kill(os.getpid(), signal.SIGKILL)

    if fatal and team.rank == fatal["rank"]:
        threading.Thread(target=watch, daemon=True).start()
    train(config_from_dict(tree), run, resume=resume, team=team)


def has_checkpoint(run: Path) -> bool:
    return any((run / "checkpoints").glob("last")) or any((run / "checkpoints").glob(".last.old"))


@pytest.mark.parametrize("size", [2])  # of one alone: tests/cli/test_train.py
def test_a_run_killed_again_and_again_is_the_run_that_was_not(config, tmp_path, size):
    tree, whole, cut = config_to_dict(config), tmp_path / "whole", tmp_path / "cut"
    run_team(part, size, tree, whole, False, {})
    assert [line["step"] for line in numbers(whole) if "loss" in line] == list(range(1, STEPS + 1))
    moments, kills, reached = random.Random(size), 0, 0
    for first in (2, 5, 8):
        fatal = {
            "rank": moments.randrange(size),
            "step": max(reached, first) + moments.randrange(2),
            "seconds": moments.uniform(0, 0.1),
        }
        resume = has_checkpoint(cut)
        try:
            run_team(part, size, tree, cut, resume, fatal)
        except (TeamError, RuntimeError) as error:  # what the others say when one is gone
            assert "died without a word" in str(error) or "onnection" in str(error), error
            kills += 1
        reached = load_training_state(last_checkpoint(cut), "cpu")[1].step if has_checkpoint(cut) else 0
        for folder in (cut / "checkpoints").glob("step-*"):
            assert damage(folder) is None
    assert kills == 3
    run_team(part, size, tree, cut, has_checkpoint(cut), {})
    assert numbers(cut) == numbers(whole)
    ours, theirs = tensors(cut), tensors(whole)
    assert {"last", "best", "step-00000009"} == {name.partition("/")[0] for name in theirs}
    assert any("ema/" in name for name in theirs) and any("optimizer/" in name for name in theirs)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_run_of_two_goes_on_alone(config, tmp_path):
    tree, alone, moved = config_to_dict(config), tmp_path / "alone", tmp_path / "moved"
    run_team(part, 1, tree, alone, False, {})
    with pytest.raises((TeamError, RuntimeError)):
        run_team(part, 2, tree, moved, False, {"rank": 1, "step": 7, "seconds": 0.0})
    assert 3 <= load_training_state(last_checkpoint(moved), "cpu")[1].step < STEPS
    run_team(part, 1, tree, moved, True, {})
    losses = [[line["loss"] for line in numbers(run) if "loss" in line] for run in (moved, alone)]
    assert len(losses[0]) == STEPS
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-3, atol=1e-4)


@pytest.fixture
def preset(config, tmp_path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(config_to_dict(config)))
    return path


def command(tmp_path: Path, *arguments: str | Path) -> subprocess.Popen:
    folders = {f"TVRKIT_{name.upper()}": str(tmp_path / name) for name in ("data", "runs", "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "tvrkit", "train", *map(str, arguments)],
        cwd=tmp_path,
        env=clean_environment(tmp_path, **folders),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_the_command_goes_on_after_a_signal(config, preset, tmp_path, sent, code):
    run = tmp_path / "run"
    long = ("--set", "train.epochs=400", "--gpus", "0")
    process = command(tmp_path, "--preset", preset, "--out", run, *long)
    deadline = time.monotonic() + 300
    while steps_logged(run) < 5 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(sent)
    _, words = process.communicate(timeout=300)
    assert process.returncode == code, words
    step = load_training_state(last_checkpoint(run), "cpu")[1].step
    assert step >= 3
    if sent == signal.SIGTERM:
        assert step == steps_logged(run) and f"saved after step {step} of 1600" in words.replace("\n", " ")
    # And on: until it is asked again, by the scheduler.
    process = command(tmp_path, "--resume", run, "--gpus", "0")
    while steps_logged(run) < step + 2 and time.monotonic() < deadline + 300 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=300)
    assert process.returncode == 0, words
    assert load_training_state(last_checkpoint(run), "cpu")[1].step == steps_logged(run) > step
    logged = [line["step"] for line in numbers(run) if "loss" in line]
    assert logged == list(range(1, len(logged) + 1))


# Trains on a small disk of its own that something else fills between two steps, and perhaps frees again.
ON_A_SMALL_DISK = """
import os, sys
from pathlib import Path
from tvrkit.config import load_config
from tvrkit.errors import TvrkitError
from tvrkit.reporting import Silent
from tvrkit.train.loop import train
disk, fills, frees = Path({disk!r}), {fills}, {frees}

class Other(Silent):
    steps = 0
    def advance(self, n=1):
        self.steps += n
        if self.steps == fills:
            with open(disk / "other", "wb", buffering=0) as file:
                try:
                    while file.write(b"0" * 4096): pass
                except OSError as error:
                    print("full:", error.strerror)
        if self.steps == frees:
            (disk / "other").unlink()
    def warn(self, text): print("warned:", text)
    def say(self, text): print("said:", text)

try:
    train(load_config({preset!r}), disk / "run", report=Other())
except TvrkitError as error:
    print("error:", error)
from tvrkit.train.state import last_checkpoint, load_training_state, damage
print("step:", load_training_state(last_checkpoint(disk / "run"), "cpu")[1].step)
print("damage:", [damage(path) for path in (disk / "run" / "checkpoints").glob("*") if path.name != "best"])
"""


@pytest.mark.parametrize("frees", [10, 99])
def test_a_full_disk_is_survived(preset, tmp_path, frees):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=64m tmpfs {disk} && exec {sys.executable} -c "$CODE"'
    try:
        subprocess.run(["unshare", "-rm", "sh", "-c", f"mount -t tmpfs tmpfs {disk}"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets nobody but its owner mount a disk")
    code = ON_A_SMALL_DISK.format(disk=str(disk), preset=str(preset), fills=5, frees=frees)
    env = clean_environment(tmp_path, CODE=code, TVRKIT_CACHE=str(tmp_path / "cache"))
    done = subprocess.run(["unshare", "-rm", "sh", "-c", mount], env=env, capture_output=True, text=True, timeout=600)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and "full: No space left on device" in lines, done.stderr
    warned = [line for line in lines if line.startswith("warned: the checkpoint of step")]
    assert warned == [
        f"warned: the checkpoint of step 6 could not be written to {disk}/run/checkpoints (No space left on device);"
        " the checkpoint of step 4 is whole: free some space there; training goes on meanwhile."
    ]
    if frees < STEPS:
        assert f"step: {STEPS}" in lines and not [line for line in lines if line.startswith("error")]
        assert "said: The checkpoint of step 12 could be written again." in lines
    else:
        (error,) = [line for line in lines if line.startswith("error")]
        assert "No space left on device" in error and "the checkpoint of step 4 is whole" in error
        assert f"`tvrkit train --resume {disk}/run` goes on from there" in error and "step: 4" in lines
    assert "damage: [None, None]" in lines

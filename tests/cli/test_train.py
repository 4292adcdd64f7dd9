from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support import clean_environment, run_tvrkit
from tiny import make_data, tiny_config, write_clip

from tvrkit.config import config_to_dict


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    """A folder with a prepared data set `squares`, and a preset small.yaml that fits it."""
    folder = tmp_path_factory.mktemp("rendered")
    manifest = make_data(folder / "data" / "squares", hard=True)
    config = tiny_config(write_clip(folder), manifest, data={"dataset": None, "sampling": "random"})
    tree = config_to_dict(config)
    tree["train"] = {key: value for key, value in tree["train"].items() if key != "betas"}
    (folder / "small.yaml").write_text(yaml.safe_dump(tree))
    return folder


@pytest.fixture
def world(rendered, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "squares").symlink_to(rendered / "data" / "squares")
    (tmp_path / "small.yaml").write_text((rendered / "small.yaml").read_text())
    return tmp_path


def losses(run: Path):
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    clock = {"clips_per_second", "seconds", "waiting_for_data"}
    return [{key: value for key, value in row.items() if key not in clock} for row in rows if "loss" in row]


def test_wrong_use_is_one_sentence(world):
    """Several faults in a row, each in the real command; none of them starts anything."""
    for arguments, code, words in (
        (("--preset", "tinny"), 2, "there is no preset 'tinny': did you mean tiny?"),
        (("--preset", "small.yaml", "--set", "train.lrr=1"), 2, "did you mean train.lr"),
        (("--preset", "small.yaml", "--gpus", "64"), 2, "--gpus 64: this machine has"),
        (("--resume",), 2, "there is no run in"),
        (("--resume", "--set", "train.lr=1"), 2, "--set cannot be changed with it"),
        (("--preset", "small.yaml", "--data", "nothing"), 1, "no prepared data set 'nothing'"),
        (("--preset", "small.yaml", "--pretrained", "gone.pt"), 2, "--pretrained gone.pt: there is no such file"),
    ):
        done = run_tvrkit("train", *arguments, cwd=world)
        assert done.code == code, done.stderr
        assert words in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr and not done.stdout
    assert not (world / "runs").exists()


@pytest.mark.slow
def test_training_resuming_and_the_bare_command(world):
    whole = run_tvrkit("train", "--preset", "small.yaml", "--gpus", "0", cwd=world)
    assert whole.code == 0, whole.stderr
    run = world / whole.stdout.strip()
    assert run.parent == world / "runs" and run.name.endswith("-squares-small")
    assert "Training on squares: 12 videos, 24 captions, 8 steps on cpu" in whole.stderr
    assert "t2v R@1" in whole.stderr and "8/8" in whole.stderr
    # A second data set: which, and how to choose.
    make_data(world / "data" / "circles", train=2, val=0, test=0)
    several = run_tvrkit("train", cwd=world)
    assert several.code == 1
    assert "2 data sets are prepared in data (circles, squares): choose one with `--data circles`" in several.stderr
    there = run_tvrkit("train", "--preset", "small.yaml", "--data", "squares", "--out", run, cwd=world)
    assert there.code == 2 and "--resume" in there.stderr
    again = run_tvrkit("train", "--resume", cwd=world)
    assert again.code == 0 and Path(again.stdout.strip()) == run.relative_to(world)


@pytest.mark.slow
def test_killed_at_any_step_it_goes_on_with_the_same_losses(world):
    whole = run_tvrkit("train", "--preset", "small.yaml", "--out", "whole", "--set", "train.epochs=6", cwd=world)
    assert whole.code == 0, whole.stderr
    at = random.Random(3)
    arguments = ["train", "--preset", "small.yaml", "--out", "cut", "--set", "train.epochs=6"]
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "tvrkit", *arguments],
            cwd=world,
            env=clean_environment(world),
            stderr=subprocess.PIPE,
        )
        _wait_for_steps(world / "cut", 4 + at.randrange(3) + len(_rows(world / "cut")), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        arguments = ["train", "--resume", "cut"]
    rest = run_tvrkit(*arguments, cwd=world)
    assert rest.code == 0, rest.stderr
    assert losses(world / "cut") == losses(world / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGUSR1, 0)])
def test_a_signal_saves_and_says_so(world, number, code):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tvrkit",
            "train",
            "--preset",
            "small.yaml",
            "--out",
            "cut",
            "--set",
            "train.epochs=200",
        ],
        cwd=world,
        env=clean_environment(world),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_for_steps(world / "cut", 2, process)
    os.killpg(process.pid, number)  # a terminal's Ctrl-C reaches every process of the group
    _, words = process.communicate(timeout=300)
    assert process.returncode == code, words
    assert "stopped and saved after step" in words and "`tvrkit train --resume cut` goes on" in words.replace("\n", " ")
    assert "Traceback" not in words


def _rows(run: Path) -> list[str]:
    return (run / "log.jsonl").read_text().splitlines() if (run / "log.jsonl").is_file() else []


def _wait_for_steps(run: Path, steps: int, process: subprocess.Popen) -> None:
    """Until the log has that many lines, and a checkpoint is there to go on from."""
    end = time.monotonic() + 300
    while len(_rows(run)) < steps or not (run / "checkpoints" / "last").is_dir():
        assert time.monotonic() < end and process.poll() is None, process.communicate()[1]
        time.sleep(0.01)

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from support import clean_environment, run_tvrkit
from tiny import make_data, tiny_config, write_clip

from tvrkit.config import config_to_dict


@pytest.fixture
def world(tmp_path):
    make_data(tmp_path / "data" / "squares", train=8, val=4, test=0)
    keys = {"max_steps": 4, "save_every_steps": 1, "trackers": [], "epochs": 1}
    config = tiny_config(write_clip(tmp_path), tmp_path, data={"dataset": "squares"}, train=keys)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config_to_dict(config)))
    (tmp_path / "sweep.yaml").write_text(
        "base: small.yaml\nsettings: {loss.partial_margin: [0.1, 0.6], loss.partial_weight: [0.5, 0]}\n"
    )
    return tmp_path


def test_cases_are_listed_and_wrong_use_is_one_sentence(world):
    listed = run_tvrkit("sweep", "sweep.yaml", "--dry-run", "--device", "cpu", cwd=world)
    assert listed.code == 0, listed.stderr
    words = " ".join(listed.stdout.split())
    assert "sweep: 4 cases with 1 seeds in runs/sweep" in words and "0.1, 0.5 (base) 0 0 1" in words
    assert "4 runs are left, about" in words and max(map(len, listed.stdout.splitlines())) <= 80
    for arguments, code, sentence in (
        (("sweep", "gone"), 2, "there is no sweep 'gone'"),
        (("sweep", "sweep.yaml", "--set", "train.lrr=1"), 2, "did you mean train.lr?"),
        (("sweep", "sweep.yaml", "--data", "gone"), 1, "no prepared data set 'gone'"),
    ):
        done = run_tvrkit(*arguments, cwd=world)
        assert done.code == code and sentence in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not (world / "runs").exists()


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_and_ends_as_one_that_was_not(world):
    whole = run_tvrkit("sweep", "sweep.yaml", "--out", "whole", cwd=world, timeout=600)
    assert whole.code == 0, whole.stderr
    assert "0.6, 0.0" in whole.stdout and max(map(len, whole.stdout.splitlines())) <= 80

    command = [sys.executable, "-m", "tvrkit", "sweep", "sweep.yaml", "--out", "killed"]
    runs = [run["runs"][0]["run"] for run in json.loads((world / "whole" / "results.json").read_text())["cases"]]
    # In the middle of the second run and, asked politely, of the third; a run may end before it hears of that.
    for run, how in ((runs[1], signal.SIGKILL), (runs[2], signal.SIGINT)):
        with subprocess.Popen(
            command, cwd=world, env=clean_environment(world), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as process:
            started = time.monotonic()
            while not (world / "killed" / run / "checkpoints" / "last").exists() and process.poll() is None:
                assert time.monotonic() - started < 300
                time.sleep(0.02)
            os.kill(process.pid, how)
            _, words = process.communicate(timeout=300)
        assert process.returncode in ((-signal.SIGKILL,) if how == signal.SIGKILL else (130, 0)), words
        assert b"Traceback" not in words
    again = run_tvrkit("sweep", "sweep.yaml", "--out", "killed", cwd=world, timeout=600)
    assert again.code == 0, again.stderr
    metrics = [
        [
            run["metrics"]
            for case in json.loads((world / out / "results.json").read_text())["cases"]
            for run in case["runs"]
        ]
        for out in ("whole", "killed")
    ]
    assert metrics[0] == metrics[1] and None not in metrics[0]
    assert again.stdout == whole.stdout


@pytest.mark.slow
def test_a_failing_case_is_told_and_the_rest_go_on(world):
    (world / "bad.yaml").write_text(
        "base: small.yaml\ncases: [{model.pretrained: gone.pt}, {loss.negative_weight: 2}]\n"
    )
    done = run_tvrkit("sweep", "bad.yaml", cwd=world, timeout=600)
    assert done.code == 1 and "1 of 3 runs failed" in " ".join(done.stderr.split())
    assert "gone.pt" in done.stderr and "0 of 1" in done.stdout and "Traceback" not in done.stderr
    assert (world / "runs" / "bad" / "results.csv").read_text().count("\n") == 4

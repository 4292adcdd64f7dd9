"""`tvrkit eval` by several processes: its own workers, and torchrun's."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner
from support import clean_environment, run_tvrkit

from tvrkit.cli.eval import command
from tvrkit.errors import ConfigError

MORE = ("--query-bank", "6", "--dual-softmax")


@pytest.fixture(scope="module")
def alone(trained, tmp_path_factory):
    """A copy of the data set and its run, and what one process says of it."""
    folder = tmp_path_factory.mktemp("several") / "world"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("cache"))
    done = run_tvrkit("eval", "--json", *MORE, cwd=folder, env={"TVRKIT_CACHE": str(folder / "alone")})
    assert done.code == 0, done.stderr
    return folder, done


@pytest.mark.slow
def test_its_own_workers_share_the_work_and_one_of_them_speaks(alone):
    folder, one = alone
    arguments = ("--json", *MORE, "--processes", "2", "--device", "cpu", "--save-similarity", "scores.npy")
    two = run_tvrkit("eval", *arguments, cwd=folder)
    assert two.code == 0, two.stderr
    assert two.stdout == one.stdout and (folder / "scores.npy").is_file()
    assert two.stderr.count("Model: ") == 1 and two.stderr.count("Frames of test, trained") == 1
    bad = run_tvrkit("eval", "--gpus", "0", "--processes", "3", "--split", "tset", cwd=folder)
    assert bad.code == 1 and bad.stdout == ""
    assert bad.stderr.strip().startswith("Error: data set 'squares' has no split 'tset'")
    assert len(bad.stderr.strip().splitlines()) <= 2


@pytest.mark.slow
def test_torchrun_does_the_same(alone):
    folder, one = alone
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "tvrkit"]
    done = subprocess.run(
        [*torchrun, "eval", "--json", *MORE, "--device", "cpu"],
        cwd=folder,
        env=clean_environment(folder, TVRKIT_CACHE=str(folder / "torchrun")),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(one.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "cuda", "--processes", "2"), "--device cuda says where one process computes"),
        (("--device", "cpu", "--gpus", "1"), "--device cpu says where one process computes"),
        (("--gpus", "999"), "--gpus 999: this machine has"),
    ],
)
def test_options_that_contradict_each_other_or_the_machine(arguments, message):
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, ConfigError) and str(result.exception).startswith(message)

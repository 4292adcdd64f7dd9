"""`tvrkit train` in several real processes: its own launcher, torchrun, Slurm's variables, and one that dies."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support import REPO, clean_environment, run_tvrkit
from tiny import make_data, tiny_config, write_clip

from tvrkit.config import config_to_dict

TWO = ("--gpus", "0", "--processes", "2")
CLUSTER = REPO / "examples" / "cluster"

# One step goes wrong on one rank, as a fault of one machine's memory, disk or driver would. Python runs this file
# (sitecustomize.py) in every process before all else.
FAULTY = """
import os, sys

if os.environ.get("FAULT") and {"RANK", "SLURM_PROCID"} & {*os.environ} and "tvrkit" in sys.orig_argv:
    from tvrkit.errors import DataError
    from tvrkit.train.training import Training

    where, what = os.environ["FAULT"].split(":")
    agree = Training.agree

    def agree_or_fail(self, *arguments):
        if self.progress.step == 3 and where in ("all", str(self.team.rank)):
            if what == "error":
                raise DataError("this disk is gone: look at it.")
            os._exit(7)
        return agree(self, *arguments)

    Training.agree = agree_or_fail
"""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    config = tiny_config(write_clip(folder), make_data(folder / "data" / "squares"), data={"dataset": None})
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


@pytest.fixture
def faulty(world):
    """`run("1:error")`: training in two processes, of which rank 1 fails; its exit code and words."""
    (world / "sitecustomize.py").write_text(FAULTY)

    def run(fault: str, *arguments: str, command: list[str] | None = None) -> tuple[int, str]:
        with running(world, "--preset", "small.yaml", *arguments, "--out", "cut", command=command, FAULT=fault) as it:
            _, words = it.communicate(timeout=300)
        wait_until(lambda: not processes_of(world))
        return it.returncode, " ".join(words.split())

    return run


def environment(world: Path, **extra: str) -> dict[str, str]:
    found = clean_environment(world, **extra)
    return found | {"PYTHONPATH": f"{world}{os.pathsep}{found['PYTHONPATH']}"}


def torchrun(processes: int, *options: str) -> list[str]:
    options = options or ("--standalone",)
    return [sys.executable, "-m", "torch.distributed.run", *options, "--nproc-per-node", str(processes)]


def errors(said: str) -> int:
    """Sentences of ours; names of exceptions end with the same word."""
    return len(re.findall(r"\bError:", said))


def free_port() -> int:
    """One that nobody listens on, and that no system gives to whoever asks for any."""
    while True:
        port = random.SystemRandom().randrange(5_000, 10_000)
        with contextlib.suppress(OSError), socket.socket() as found:
            found.bind(("127.0.0.1", port))
            return port


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def validated(run: Path) -> list[int]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "validation" in row]


@contextlib.contextmanager
def running(world: Path, *arguments: str, command: list[str] | None = None, **extra: str):
    """A started `tvrkit train`, killed at the end if it still runs."""
    process = subprocess.Popen(
        [*(command or [sys.executable, "-m", "tvrkit"]), "train", *arguments],
        cwd=world, env=environment(world, **extra), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for_checkpoint(run: Path, process: subprocess.Popen) -> None:
    wait_until(lambda: (run / "checkpoints" / "last").is_dir(), process)


def wait_until(true, process: subprocess.Popen | None = None) -> None:
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def processes_of(world: Path) -> dict[int, str]:
    """Every process that lives in the test's folder: launcher, workers, decoders."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if Path(os.readlink(entry / "cwd")) == world and (words := (entry / "cmdline").read_bytes()):
                found[int(entry.name)] = words.replace(b"\0", b" ").decode()
    return found


def workers_of(process: subprocess.Popen) -> list[int]:
    return [
        int(line.split()[0])
        for line in subprocess.run(
            ["ps", "-eo", "pid=,ppid=", "--sort=pid"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        if int(line.split()[1]) == process.pid
    ]


@pytest.mark.slow
def test_two_processes_train_what_one_does(world):
    """Own launcher, torchrun, and tasks as Slurm starts them: one run each, with the losses of one process."""
    alone = run_tvrkit("train", "--preset", "small.yaml", "--gpus", "0", "--out", "alone", cwd=world)
    assert alone.code == 0, alone.stderr
    own = run_tvrkit("train", "--preset", "small.yaml", *TWO, cwd=world)
    assert own.code == 0, own.stderr
    assert "8 steps on 2 processes, cpu" in " ".join(own.stderr.split())
    assert own.stderr.count("Training on squares") == own.stderr.count("Trained 8 steps") == 1
    assert not re.search("warning|torch/|rank", own.stderr, re.IGNORECASE)
    run = world / own.stdout.strip()  # one line: one folder, agreed on
    assert run.parent == world / "runs" and [*run.parent.iterdir()] == [run]
    with running(
        world, "--preset", "small.yaml", "--gpus", "0", "--out", "by-torchrun", command=[*torchrun(2), "-m", "tvrkit"]
    ) as process:
        out, words = process.communicate(timeout=300)
    assert (process.returncode, out.split()) == (0, ["by-torchrun"]), words
    for path in (run, world / "by-torchrun"):
        assert losses(path) == pytest.approx(losses(world / "alone"), rel=2e-4)
        assert validated(path) == validated(world / "alone") == [4, 8]


@pytest.mark.slow
def test_the_cluster_scripts(world):
    """torchrun.sh on two machines (two agents here); slurm.sh with a srun that starts two tasks as Slurm does."""
    commands = world / "bin"
    commands.mkdir()
    for name, text in {
        "tvrkit": f'exec "{sys.executable}" -m tvrkit "$@"',
        "torchrun": f'exec "{sys.executable}" -m torch.distributed.run "$@"',
        "scontrol": 'echo "scontrol $*" >> scontrol.txt',
        # Tasks of a step, in sessions of their own, to which srun hands its signals on.
        "srun": """while case $1 in -*) true;; *) false;; esac; do shift; done
            export SLURM_STEP_NODELIST='here[1-1]' SLURM_STEP_NUM_TASKS=2 SLURM_STEP_ID=0 SLURM_STEP_NUM_NODES=1
            SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
            SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
            trap 'kill -USR1 $first $second' USR1
            wait $first; code=$?
            while kill -0 $first 2>/dev/null; do wait $first; code=$?; done
            wait $second || code=$?
            exit $code""",
    }.items():
        (commands / name).write_text(f"#!/bin/bash\n{text}\n")
        (commands / name).chmod(0o755)
    shared = environment(world) | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    train = ["--preset", "small.yaml", "--gpus", "0"]

    nodes = shared | {"HEAD": "localhost", "NODES": "2", "PROCESSES": "1", "PORT": str(free_port())}
    machines = [
        subprocess.Popen(
            [CLUSTER / "torchrun.sh", *train, "--out", "two-machines"],
            cwd=world, env=nodes, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    told = [machine.communicate(timeout=300) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    assert [out.split() for out, _ in told if out] == [["two-machines"]]
    assert len(losses(world / "two-machines")) == 8

    (world / "job" / "checkpoints" / ".last.x.tmp").mkdir(parents=True)  # of a job that ended while it wrote its first
    job = shared | {"SLURM_JOB_ID": str(free_port()), "GPUS": "0", "RUN": "job", "SLURM_NTASKS": "2"}
    with subprocess.Popen(
        [CLUSTER / "slurm.sh", "--preset", "small.yaml", "--set", "train.epochs=2000"],
        cwd=world, env=job, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        wait_for_checkpoint(world / "job", process)
        process.send_signal(signal.SIGUSR1)  # as --signal=B:USR1@120 does
        _, words = process.communicate(timeout=300)
    assert process.returncode == 0, words
    assert words.count("stopped and saved after step") == 1
    assert (world / "scontrol.txt").read_text() == f"scontrol requeue {job['SLURM_JOB_ID']}\n"
    # Queued again, it goes on where it was, and ends.
    steps = len(losses(world / "job"))
    (world / "job" / "config.yaml").write_text(
        re.sub(r"epochs: 2000", f"epochs: {steps // 4 + 2}", (world / "job" / "config.yaml").read_text())
    )
    again = subprocess.run([CLUSTER / "slurm.sh"], cwd=world, env=job, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "going on after step" in " ".join(again.stderr.split())
    assert len(losses(world / "job")) == 4 * (steps // 4 + 2)
    assert (world / "scontrol.txt").read_text().count("requeue") == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc")
def test_a_worker_that_is_killed_ends_all(world):
    with running(
        world, "--preset", "small.yaml", *TWO, "--out", "cut", "--set", "train.epochs=2000", "--set", "data.workers=1"
    ) as process:
        wait_for_checkpoint(world / "cut", process)
        assert len(processes_of(world)) >= 5  # the launcher, two workers, a decoder each
        os.kill(workers_of(process)[1], signal.SIGKILL)
        out, words = process.communicate(timeout=300)
    assert (process.returncode, out) == (137, "")
    said = " ".join(words.split())
    assert re.search(r"Error: rank [01] of 2 was killed \(SIGKILL\), perhaps for want of memory; `tvrkit train", said)
    assert errors(said) == 1 and "Traceback" not in said and "elastic" not in said
    wait_until(lambda: not processes_of(world))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("1:error", 1, "Error: rank 1 of 2: this disk is gone: look at it."),
        ("all:error", 1, "Error: this disk is gone: look at it."),
        ("1:exit", 7, "Error: rank 1 of 2 ended with exit code 7 without a word; `tvrkit train --resume cut` goes on"),
    ],
)
def test_an_error_is_said_once(faulty, fault, code, words):
    got, said = faulty(fault, *TWO)
    assert (got, said.count(words), errors(said)) == (code, 1, 1), said
    assert not re.search("Traceback|elastic|Connection|c10d", said)


@pytest.mark.slow
def test_under_torchrun_our_error_comes_before_torchruns(faulty):
    code, said = faulty("1:error", "--gpus", "0", command=[*torchrun(2), "-m", "tvrkit"])
    assert code == 1
    # torchrun ends with a list of its own, which quotes ours.
    ours = said.partition("torch/distributed/")[0]
    assert (
        "saving after" not in said
        and ours.count("Error: rank 1 of 2: this disk is gone: look at it.") == 1
        and errors(ours) == 1
    ), said
    assert "traceback : rank 1 of 2: this disk is gone" in said


@pytest.mark.slow
def test_tasks_of_slurm_name_the_one_that_is_gone(world):
    """Without a launcher that sees how they end; rank 1, so that the store is still there."""
    (world / "sitecustomize.py").write_text(FAULTY)
    slurm = {"SLURM_JOB_ID": str(free_port()), "SLURM_STEP_NODELIST": "here", "SLURM_STEP_NUM_NODES": "1"}
    slurm |= {"SLURM_NTASKS": "2", "FAULT": "1:exit"}
    arguments = ("--preset", "small.yaml", "--gpus", "0", "--out", "cut")
    with (
        running(world, *arguments, **slurm, SLURM_PROCID="0", SLURM_LOCALID="0") as first,
        running(world, *arguments, **slurm, SLURM_PROCID="1", SLURM_LOCALID="1") as second,
    ):
        said = " ".join(first.communicate(timeout=300)[1].split())
        second.communicate(timeout=300)
    assert (first.returncode, second.returncode) == (1, 7), said
    assert said.count("Error: rank 1 of 2 ended without a word or cannot be reached") == errors(said) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_reaches_the_workers_once_and_saves(world, number, code):
    with running(world, "--preset", "small.yaml", *TWO, "--out", "cut", "--set", "train.epochs=2000") as process:
        wait_for_checkpoint(world / "cut", process)
        os.killpg(process.pid, number)  # a terminal's Ctrl-C reaches every process of its group
        out, words = process.communicate(timeout=300)
    said = " ".join(words.split())
    assert (process.returncode, out) == (code, ""), words
    assert said.count("stopped and saved after step") == said.count(f"{number.name}: saving") == 1
    assert "`tvrkit train --resume cut` goes on." in said
    assert "Error" not in said and "Traceback" not in said and "rank" not in said


@pytest.mark.slow
def test_torchrun_hands_a_schedulers_request_on_and_no_video_looks_broken(world):
    """It signals whole process groups: those that read videos get it too."""
    arguments = ("--preset", "small.yaml", "--gpus", "0", "--out", "cut", "--set", "train.epochs=2000")
    with running(world, *arguments, "--set", "data.workers=1", command=[*torchrun(2), "-m", "tvrkit"]) as process:
        wait_for_checkpoint(world / "cut", process)
        process.send_signal(signal.SIGTERM)
        _, words = process.communicate(timeout=300)
    said = " ".join(words.split())
    assert said.count("stopped and saved after step") == 1 and "could not be read" not in said, said
    unreadable = world / "cut" / "quarantine.jsonl"
    assert not unreadable.exists() or not unreadable.read_text()


@pytest.mark.slow
def test_workers_whose_launcher_is_killed_save_and_end(world):
    with running(world, "--preset", "small.yaml", *TWO, "--out", "cut", "--set", "train.epochs=2000") as process:
        wait_for_checkpoint(world / "cut", process)
        process.kill()
        _, words = process.communicate(timeout=300)  # until the last worker has closed it
    assert "stopped and saved after step" in words


@pytest.mark.slow
def test_wrong_use_of_several_is_one_sentence(world):
    for arguments, variables, code, words in (
        (("--gpus", "64"), {}, 2, "--gpus 64: this machine has"),
        (("--gpus", "0", "--processes", "2", "--set", "train.lrr=1"), {}, 2, "did you mean train.lr?"),
        (("--gpus", "0"), {"RANK": "3", "WORLD_SIZE": "2"}, 2, "start it with torchrun or srun"),
    ):
        done = run_tvrkit("train", "--preset", "small.yaml", *arguments, cwd=world, env=variables)
        assert done.code == code, done.stderr
        said = " ".join(done.stderr.split())
        assert words in said and errors(said) == 1 and not done.stdout
    assert not (world / "runs").exists()

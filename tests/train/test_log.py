from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support import clean_environment

from tvrkit.config import config_from_dict
from tvrkit.distributed import Team
from tvrkit.reporting import Silent
from tvrkit.train.log import RunLog, read_log

NO_TRACKERS = config_from_dict({"train": {"trackers": []}})


class Said(Silent):
    def __init__(self):
        self.words = []

    def say(self, text):
        self.words.append(text)


def test_lines_after_the_step_that_is_gone_back_to_are_taken_out(tmp_path):
    with RunLog(tmp_path, 0, Silent()) as log:
        for step in range(1, 6):
            log.write(step, {"loss": step / 3, "validation": {"t2v": {"R@1": 50.0}}})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "los')  # a kill in the middle of a line
    with RunLog(tmp_path, 3, Silent()) as log:
        log.write(4, {"loss": 9.0})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["loss"] == 1 / 3 and lines[-1]["loss"] == 9.0


def test_tensorboard_gets_the_same_numbers(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with RunLog(tmp_path, 0, Silent()) as log:
        log.write(1, {"loss": 0.5, "validation": {"t2v": {"R@1": 50.0}, "split": "val"}})
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "validation/t2v/R@1"}
    assert [event.value for event in events.Scalars("loss")] == [0.5]


def test_without_tensorboard_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said = Said()
    with RunLog(tmp_path, 0, said) as log:
        log.write(1, {"loss": 0.5})
    assert said.words == ['No TensorBoard log: `pip install "tvrkit[tensorboard]"` brings it.']
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def test_a_log_that_stays_as_it_is_is_not_written_again(tmp_path):
    with RunLog(tmp_path, 0, Silent(), NO_TRACKERS) as log:
        log.write(1, {"loss": 0.5})
    before = (tmp_path / "log.jsonl").stat()
    with RunLog(tmp_path, 1, Silent(), NO_TRACKERS):
        pass
    after = (tmp_path / "log.jsonl").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_only_the_leader_of_a_team_writes(tmp_path):
    with RunLog(tmp_path / "run", 0, Silent(), NO_TRACKERS, Team(rank=1, size=2)) as log:
        log.write(1, {"loss": 0.5})
    assert not (tmp_path / "run").exists()


FULL = """
import resource, signal, sys
from pathlib import Path
from tvrkit.config import config_from_dict
from tvrkit.train.log import RunLog
from tvrkit.cli import output

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # no file may grow beyond 100 bytes, as on a disk that is full
with RunLog(Path("run"), 0, output, config_from_dict({"train": {"trackers": []}})) as log:
    for step in range(1, 9):
        if step == 7:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.write(step, {"loss": 0.5, "word": "0123456789"})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_costs_lines_and_one_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Warning: run/log.jsonl cannot be written (")
    # A line has 49 bytes: two fit, a part of the third does, and after it come those that were written with room again.
    assert [line["step"] for line in read_log(tmp_path / "run")] == [1, 2, 7, 8]
    with RunLog(tmp_path / "run", 8, Silent(), NO_TRACKERS):
        pass
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()] == [
        1,
        2,
        7,
        8,
    ]

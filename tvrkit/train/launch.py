"""Several processes of one tvrkit command on this machine, by torch's elastic launcher.

The workers are `python -m tvrkit …` in sessions of their own; each says for itself what is wrong with it. This process
starts them, hands signals on, each once, and says what a worker that was killed could not say.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tvrkit.distributed.place import WORKERS
from tvrkit.errors import TeamError
from tvrkit.reporting import Reporter
from tvrkit.train.signals import SAVE, asked, saving_words

# Once a worker has failed, the others have nothing to save: they end by SIGTERM, and stuck ones by SIGKILL after this.
_ENDING_SECONDS = 10
# Stopped at once, workers end by themselves; those stuck in a collective do not.
_AT_ONCE_SECONDS = 10.0
_LOOK_SECONDS = 0.1


def launch(
    arguments: Sequence[str],
    processes: int,
    report: Reporter,
    after: str = "",
    words_of: Callable[[int], str] = saving_words,
) -> int:
    """Run `tvrkit ARGUMENTS` in several processes that form one team, until all have ended.

    Args:
        arguments: of the command line; each process finds its place in the environment.
        processes: how many, > 1.
        report: who is told of signals.
        after: what a user may do once a worker has been killed; a clause, as "`tvrkit train --resume x` goes on".
        words_of: what is said when a signal has come.

    Returns:
        0: all ended well.

    Raises:
        TeamError: one failed. The text is empty where the worker has said why itself.
    """
    with tempfile.TemporaryDirectory(prefix="tvrkit-") as folder:
        pids = Path(folder) / "workers"
        pids.mkdir()
        team = _Workers(arguments, processes, Path(folder), pids)
        with _Forward(pids, report, words_of) as signals, _environment(pids, processes), _quiet():
            team.start()
            while team.is_alive():
                team.join(_LOOK_SECONDS)
                signals.deliver()
    if isinstance(team.error, ChildFailedError):
        raise signals.named(_first(team.error.failures, processes, after))
    if team.error is not None:
        raise team.error
    return 0


class _Workers(threading.Thread):
    """The elastic agent. In a thread, for it would take signals for itself, and end workers that should save."""

    def __init__(self, arguments: Sequence[str], processes: int, folder: Path, pids: Path) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self._arguments = ["-m", "tvrkit", *arguments]
        self._config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            role="tvrkit",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            monitor_interval=_LOOK_SECONDS,
            logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
            **_where_known(shutdown_timeout=_ENDING_SECONDS),
        )

    def run(self) -> None:
        """Until all have ended, or one has failed and the others are ended."""
        try:
            elastic_launch(self._config, sys.executable)(*self._arguments)
        except BaseException as error:
            self.error = error


class _Forward:
    """Hands signals on to the workers, each worker each signal once, as soon as it is there to receive it."""

    def __init__(self, pids: Path, report: Reporter, words_of: Callable[[int], str]) -> None:
        self._pids = pids
        self._words_of = words_of
        self._report = report
        self._received: list[int] = []
        self._delivered: dict[int, int] = {}
        self._second: float | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Forward:
        if threading.current_thread() is threading.main_thread():
            for number in asked():
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)
        if len(self._received) == 1:
            self._report.say(self._words_of(number))
        elif self._second is None:
            self._second = time.monotonic()

    def deliver(self) -> None:
        """Send what has come since."""
        for pid in self._workers():
            for number in self._received[self._delivered.get(pid, 0) :]:
                _kill(pid, number if number == signal.SIGINT else SAVE)
            self._delivered[pid] = len(self._received)
            if self._second is not None and time.monotonic() > self._second + _AT_ONCE_SECONDS:
                _kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def named(self, error: TeamError) -> TeamError:
        """The same, with the exit code of the signal that came here where workers ended by what they were sent."""
        if self._received and error.exit_code == 128 + SAVE:
            return TeamError(str(error), 128 + self._received[0])
        return error

    def _workers(self) -> list[int]:
        return [int(path.read_text()) for path in self._pids.iterdir() if path.suffix != ".new"]


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _first(failures: dict[int, ProcessFailure], processes: int, after: str) -> TeamError:
    """The failure that the others follow from."""
    told = {rank: _told(failure) for rank, failure in failures.items()}
    own = [rank for rank, error in told.items() if error is not None and not error["lost"]]
    # The agent ends the others by SIGTERM, which no worker ends with otherwise.
    dead = [rank for rank, failure in failures.items() if told[rank] is None and failure.exitcode != -signal.SIGTERM]
    if own:  # it has said so itself
        return TeamError("", failures[min(own)].exitcode)
    if not dead:
        return TeamError(f"the {processes} processes lost each other{after and f'; {after}'}.", 1)
    rank, code = dead[0], failures[dead[0]].exitcode
    how = f"ended with exit code {code} without a word"
    if code < 0:
        how = f"was killed ({_name(-code)})"
        how += ", perhaps for want of memory" if -code == getattr(signal, "SIGKILL", 9) else ""
    return TeamError(f"rank {rank} of {processes} {how}{after and f'; {after}'}.", code if code > 0 else 128 - code)


def _told(failure: ProcessFailure) -> dict[str, Any] | None:
    """What a worker left in its error file."""
    try:
        told = json.loads(Path(failure.error_file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # The folder may be gone; the launcher has read the file before.
        told = failure.error_file_data
    return told if isinstance(told, dict) and "lost" in told else None


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _where_known(**options: Any) -> dict[str, Any]:
    """Those options that this torch's LaunchConfig has."""
    known = {field.name for field in dataclasses.fields(LaunchConfig)}
    return {name: value for name, value in options.items() if name in known}


@contextlib.contextmanager
def _environment(pids: Path, processes: int) -> Iterator[None]:
    """What the workers inherit."""
    changes = {WORKERS: str(pids)}
    if "OMP_NUM_THREADS" not in os.environ:
        changes["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // processes))
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the launcher's log, which tells of each failure in thirty lines."""
    before = logging.root.manager.disable
    if not os.environ.get("TVRKIT_TRACEBACK"):
        logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)

"""Real processes that form a team: `run_team(function, 3, ...)` calls `function(team, ...)` in each of three.

`function` is at the top of its module, which may be the test's own: children import it as pytest did. They inherit the
environment, and with it the test's own folders of data, runs and caches.
"""

from __future__ import annotations

import contextlib
import datetime
import multiprocessing
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tvrkit.distributed import Team

_GRACE_SECONDS = 5.0  # for the others, once one has failed


class TeamError(AssertionError):
    """A process died, did not end in time, or raised what cannot travel; the text has its traceback."""


def run_team(function: Callable[..., Any], size: int, *args: Any, timeout: float = 300.0) -> list[Any]:
    """Call `function(team, *args)` in `size` fresh processes that talk over gloo.

    Returns:
        What each returned, in the order of ranks.

    Raises:
        Exception: what the first process to fail raised, with its rank and traceback as a note (Python 3.11).
        TeamError: a process died without a word, or all took longer than `timeout` seconds.
    """
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ended:
        ears: dict[Connection, int] = {}
        for rank in range(size):
            ear, mouth = spawn.Pipe(duplex=False)
            process = spawn.Process(
                target=_member, args=(mouth, function, rank, size, Path(folder) / "store", timeout, args)
            )
            process.start()
            mouth.close()
            ended.callback(_end, process)
            ended.callback(ear.close)
            ears[ear] = rank
        answers = dict(_answers(ears, timeout))
        missing = sorted(set(range(size)) - set(answers))
    failed = [(rank, value) for rank, (good, value) in answers.items() if not good]  # in the order in which they came
    for rank, value in sorted(failed, key=_echoes):
        raise _with_note(value, rank)
    if missing:
        raise TeamError(f"ranks {missing} did not end within {timeout:g} s")
    return [answers[rank][1] for rank in range(size)]


def _answers(ears: dict[Connection, int], timeout: float) -> Iterator[tuple[int, tuple[bool, Any]]]:
    deadline = time.monotonic() + timeout
    waiting = dict(ears)
    while waiting and (ready := wait(list(waiting), max(0.0, deadline - time.monotonic()))):
        for ear in ready:
            rank = waiting.pop(ear)
            try:
                good, value = pickle.loads(ear.recv_bytes())
            except EOFError:
                good, value = False, TeamError(f"rank {rank} died without a word")
            if not good:
                deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
            yield rank, (good, value)


def _member(
    mouth: Connection,
    function: Callable[..., Any],
    rank: int,
    size: int,
    store: Path,
    timeout: float,
    args: tuple[Any, ...],
) -> None:
    """What each process runs."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=store.as_uri(),
            rank=rank,
            world_size=size,
            timeout=datetime.timedelta(seconds=timeout),
        )
        answer = pickle.dumps((True, function(Team(rank, size), *args)))
    except BaseException as error:
        answer = _told(error)
    mouth.send_bytes(answer)
    mouth.close()
    if dist.is_initialized():
        dist.destroy_process_group()


def _told(error: BaseException) -> bytes:
    text = traceback.format_exc()
    try:
        answer = pickle.dumps((False, (error, text)))
        pickle.loads(answer)
    except Exception:  # its own constructor does not take its arguments back, or it holds what cannot travel
        answer = pickle.dumps((False, (TeamError(f"{type(error).__name__}: {error}"), text)))
    return answer


def _echoes(failed: tuple[int, Any]) -> bool:
    """Whether this is what a process sees when another is gone."""
    error = failed[1][0] if isinstance(failed[1], tuple) else None
    return isinstance(error, RuntimeError) and ("gloo" in str(error) or "Connection" in str(error))


def _with_note(value: Any, rank: int) -> BaseException:
    error, text = value if isinstance(value, tuple) else (value, "")
    if hasattr(error, "add_note"):
        error.add_note(f"in rank {rank}:\n{text}")
    return error


def _end(process: BaseProcess) -> None:
    process.join(_GRACE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()

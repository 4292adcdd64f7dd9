"""Rendering many clips in several processes; which process renders a clip changes nothing in it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tvrkit.errors import DataError
from tvrkit.prepare.shapes_events import Meaning
from tvrkit.prepare.shapes_render import write_clip

Job = tuple[Path, Meaning, str]  # where to, what, video id

# A process needs about half a second to start, in which this one renders this many clips.
WORTH_A_PROCESS = 64


def render_all(jobs: Sequence[Job], seed: int, workers: int, advance: Callable[[int], None]) -> None:
    """Write the clip of every job; `advance` is called with the number of clips that were finished since.

    Raises:
        DataError: a clip cannot be written (disk full, say), or a process died. What was finished stays.
    """
    workers = min(workers, len(jobs) // WORTH_A_PROCESS)
    if workers < 2:
        for path, meaning, video_id in jobs:
            _check(_write(path, meaning, seed, video_id))
            advance(1)
        return
    # Not fork: whoever calls may have threads, and a progress bar is one.
    context = multiprocessing.get_context("spawn")
    processes, connections = [], []
    try:
        for worker in range(workers):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(jobs[worker::workers], seed, there), daemon=True)
            process.start()
            there.close()  # so that the death of the process is the end of the pipe
            processes.append(process)
            connections.append(here)
        _listen(connections, len(jobs), advance)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _listen(connections: list[Connection], total: int, advance: Callable[[int], None]) -> None:
    done, alive = 0, list(connections)
    while alive:
        for connection in wait(alive):
            assert isinstance(connection, Connection)
            try:
                _check(connection.recv())
            except EOFError:
                alive.remove(connection)
                continue
            done += 1
            advance(1)
    if done < total:
        raise DataError(
            f"a rendering process died with {total - done} of {total} clips left (was it killed, or memory full?):"
            " run the same command again; it goes on from there."
        )


def _work(jobs: Sequence[Job], seed: int, results: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    parent = multiprocessing.parent_process()
    for path, meaning, video_id in jobs:
        if parent is not None and not parent.is_alive():
            return
        try:
            results.send(_write(path, meaning, seed, video_id))
        except BrokenPipeError:
            return


def _write(path: Path, meaning: Meaning, seed: int, video_id: str) -> str | None:
    """Write one clip; a failure comes back as words, which every process can send."""
    try:
        write_clip(path, meaning, seed, video_id)
    except OSError as error:
        return f"cannot write {path}: {error.strerror or error}"
    return None


def _check(failure: str | None) -> None:
    if failure is not None:
        raise DataError(f"{failure}; make room or choose another folder, and run the same command again.")

"""Bringing an index up to date before the user's eyes: what is found, how far it is, what cannot be read."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING

from tvrkit.cli import output
from tvrkit.frames.reading import Reading

if TYPE_CHECKING:
    from tvrkit.cli.opening import Opened
    from tvrkit.index.update import OnProgress, Plan, Shard
    from tvrkit.index.video_index import VideoIndex

FAILURES_SHOWN = 10
_SHOWN_AFTER_SECONDS = 2.0  # looking at files is usually over before a bar could be read


def update_index(
    opened: Opened,
    places: Sequence[str],
    *,
    reading: Reading,
    retry_failed: bool = False,
    rebuild: bool = False,
    emptied: bool = False,
    engine: str = "local",
    only: Shard | None = None,
    beside: VideoIndex | None = None,
    planned_as: Callable[[Plan], None] | None = None,
) -> Plan:
    """Bring the index up to date with what lies at some places, and say what cannot be read.

    Args:
        opened: its index is updated, and its engine asked for anew.
        places: folders, files, addresses.
        reading: by how many processes and with what videos are read.
        retry_failed: try again what could not be read.
        rebuild: encode all videos there anew.
        emptied: whether a place may be gone or have lost all its videos.
        engine: `local`, or `ray`.
        only: the i-th of n parts of the paths.
        beside: another index; what that has is not encoded.
        planned_as: told what is there before anything is encoded.

    Raises:
        DataError: a place is not there, or holds no video.
        StoreError: the index cannot be written; what was encoded stays.
    """
    from tvrkit.index.update import plan

    index = opened.index
    assert index is not None
    with _ended_by_sigterm():
        with _late_bar("Looking at new files") as hashed:
            planned = plan(index, places, only=only, emptied=emptied, on_progress=hashed)
        if planned_as is not None:
            planned_as(planned)
        if rebuild or retry_failed:
            contents = list(dict.fromkeys(row.identity for row in planned.files.values() if row.identity))
            index.forget(contents, failures_only=not rebuild)
            first = {row.identity: row for row in reversed(list(planned.files.values()))}
            planned = replace(planned, todo={identity: first[identity] for identity in index.missing(contents)})
        if beside is not None:
            todo = planned.todo
            planned = replace(planned, todo={identity: todo[identity] for identity in beside.missing(todo)})
        failed = _encode(opened, planned, reading, engine)
    opened.reload()
    reasons = index.failures()
    failures = {
        path: row.reason or reasons[row.identity]
        for path, row in planned.files.items()
        if row.reason or row.identity in reasons
    }
    _tell_failures(failures, len(planned.files), in_full=bool(failed or planned.unreadable))
    return planned


def _encode(opened: Opened, planned: Plan, reading: Reading, engine: str) -> int:
    """Encode what is to be done; returns how many of it failed."""
    total = len(planned.todo)
    if not total:
        return 0
    done = failed = 0
    try:
        with output.progress("Encoding videos", total) as bar:

            def advance(now_done: int, now_failed: int) -> None:
                nonlocal done, failed
                bar.advance(now_done - done)
                done, failed = now_done, now_failed
                if failed:
                    bar.note(f"{failed} failed")

            _run(opened, planned, reading, engine, advance)
    except (KeyboardInterrupt, SystemExit):
        output.say(f"{done} of {total} videos are done and kept; the same command goes on from there.")
        raise
    return failed


def _run(opened: Opened, planned: Plan, reading: Reading, engine: str, on_progress: OnProgress) -> None:
    assert opened.index is not None
    if engine == "ray":
        from tvrkit.index.ray_engine import encode_on_ray

        todo = [(identity, row.path) for identity, row in planned.todo.items()]
        encode_on_ray(opened.index, todo, reading=reading, on_progress=on_progress)
        return
    from tvrkit.index.update import encode

    encode(opened.index, opened.model, planned, reading=reading, on_progress=on_progress)


def _tell_failures(failures: Mapping[str, str], total: int, *, in_full: bool) -> None:
    if not failures:
        return
    if not in_full:
        output.say(f"{len(failures)} of {total} videos could not be read before (--retry-failed tries again).")
        return
    output.warn(f"{len(failures)} of {total} videos cannot be read, and have no part in any answer:")
    for path, reason in list(failures.items())[:FAILURES_SHOWN]:
        output.say(f"  {one_line(path)}: {reason}")
    if len(failures) > FAILURES_SHOWN:
        output.say(f"  and {len(failures) - FAILURES_SHOWN} more (`tvrkit index --status` lists them)")


def one_line(path: str) -> str:
    """A path that cannot break a line."""
    return path.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


@contextmanager
def _late_bar(description: str) -> Iterator[OnProgress]:
    """A bar for what may be over at once."""
    begun = time.monotonic()
    with ExitStack() as stack:
        bar: output.Progress | None = None
        shown = 0

        def advance(done: int, total: int) -> None:
            nonlocal bar, shown
            if bar is None and time.monotonic() - begun > _SHOWN_AFTER_SECONDS:
                bar = stack.enter_context(output.progress(description, total))
            if bar is not None:
                bar.advance(done - shown)
                shown = done

        yield advance


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds, as Ctrl-C does, so that what is encoded is kept and no reader is left behind."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

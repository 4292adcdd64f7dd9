"""Work in a few threads that Ctrl-C need not wait for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_WAKE_SECONDS = 0.2


def in_threads(items: Sequence[_In], work: Callable[[_In], _Out], threads: int) -> list[_Out]:
    """`work` of each item, in the items' order; the first exception is raised here, at once.

    The threads are daemons: Python does not wait at its end for one that sits in a dead connection, as it does for
    those of `concurrent.futures`.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, _Out | None, BaseException | None]] = queue.SimpleQueue()
    for i in range(len(items)):
        todo.put(i)

    def run() -> None:
        while True:
            try:
                i = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((i, work(items[i]), None))
            except BaseException as error:
                done.put((i, None, error))
                return

    for _ in range(max(1, min(threads, len(items)))):
        threading.Thread(target=run, daemon=True).start()
    results: dict[int, _Out] = {}
    while len(results) < len(items):
        try:
            i, result, error = done.get(timeout=_WAKE_SECONDS)  # a wait without end hears no Ctrl-C on Windows
        except queue.Empty:
            continue
        if error is not None:
            raise error
        results[i] = result  # type: ignore[assignment]
    return [results[i] for i in range(len(items))]

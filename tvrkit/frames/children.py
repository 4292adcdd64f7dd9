"""Several processes that read videos, each looked after by a thread of this one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tvrkit.frames.child import Child

Answer = TypeVar("Answer")


class Children:
    """Runs jobs on child processes. A process starts with its first job and is kept until `close`.

    Args:
        workers: how many processes, >= 1.
        pickled_transform: what they are to do with each picture.
    """

    def __init__(self, workers: int, pickled_transform: bytes | None = None) -> None:
        self._pickled = pickled_transform
        self._threads = ThreadPoolExecutor(workers, "tvrkit-decode")
        self._of_thread = threading.local()
        self._children: list[Child] = []
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Process ids of those that have started."""
        return [child.pid for child in self._children if child.pid is not None]

    def submit(self, job: Callable[[Child], Answer]) -> Future[Answer]:
        """Call `job` with a child, as soon as one is free."""
        return self._threads.submit(self._run, job)

    def close(self) -> None:
        """Kill the processes, finished or not."""
        self._closed = True
        for child in list(self._children):
            child.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in self._children:
            child.close()

    def _run(self, job: Callable[[Child], Answer]) -> Answer:
        child: Child | None = getattr(self._of_thread, "child", None)
        if child is None:
            child = self._of_thread.child = Child(self._pickled)
            self._children.append(child)
        if self._closed:  # after the append: close() has seen this child, or this line sees that it was called
            child.stop()
        return job(child)

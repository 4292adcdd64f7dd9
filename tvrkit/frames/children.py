"""Several processes that read videos, each looked after by a thread of this one."""

from __future__ import annotations

import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from tvrkit.errors import ConfigError
from tvrkit.frames.child import Child
from tvrkit.frames.preprocess import Transform
from tvrkit.frames.stream import Stream

Answer = TypeVar("Answer")


class Children:
    """Runs jobs on child processes. A process starts with its first job and is kept until `close`.

    Args:
        workers: how many processes, >= 1.
        pickled_transform: what they are to do with each picture.
    """

    def __init__(self, workers: int, pickled_transform: bytes | None = None) -> None:
        self._pickled = pickled_transform
        self._workers = workers
        self._threads = ThreadPoolExecutor(workers, "tvrkit-decode")
        self._of_thread = threading.local()
        self._children: list[Child] = []
        self._streams: set[Stream[Any]] = set()
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Process ids of those that have started."""
        return [child.pid for child in self._children if child.pid is not None]

    def submit(self, job: Callable[[Child], Answer]) -> Future[Answer]:
        """Call `job` with a child, as soon as one is free."""
        return self._threads.submit(self._run, job)

    def imap(
        self, jobs: Iterable[Callable[[Child], Iterable[Answer]]], prefetch: int | None = None
    ) -> Iterator[Answer]:
        """All answers of all jobs, those of one job together and the jobs in their order.

        Args:
            jobs: each is called with a child that is its own until its last answer was made.
            prefetch: how many jobs may be ahead of the one whose answers are taken; 4 a process if not given. Of a
                job no more than two answers wait.
        """
        waiting: deque[Stream[Answer]] = deque()
        prefetch = prefetch or 4 * self._workers
        try:
            for job in jobs:
                waiting.append(self._stream(job))
                if len(waiting) > prefetch:
                    yield from self._taken(waiting.popleft())
            while waiting:
                yield from self._taken(waiting.popleft())
        finally:
            for stream in waiting:
                self._forget(stream)

    def close(self) -> None:
        """Kill the processes, finished or not."""
        self._closed = True
        for stream in list(self._streams):
            stream.abandon()
        for child in list(self._children):
            child.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in self._children:
            child.close()

    def _stream(self, job: Callable[[Child], Iterable[Answer]]) -> Stream[Answer]:
        stream: Stream[Answer] = Stream()
        self._streams.add(stream)
        if self._closed:  # after the add: close() has seen this stream, or this line sees that it was called
            raise ConfigError("this pool was closed.")
        self.submit(lambda child: None if stream.abandoned else stream.fill(job(child)))
        return stream

    def _taken(self, stream: Stream[Answer]) -> Iterator[Answer]:
        try:
            yield from stream
        finally:
            self._forget(stream)

    def _forget(self, stream: Stream[Answer]) -> None:
        stream.abandon()
        self._streams.discard(stream)

    def _run(self, job: Callable[[Child], Answer]) -> Answer:
        child: Child | None = getattr(self._of_thread, "child", None)
        if child is None:
            child = self._of_thread.child = Child(self._pickled)
            self._children.append(child)
        if self._closed:  # after the append: close() has seen this child, or this line sees that it was called
            child.stop()
        return job(child)


def pickled(transform: Transform | None) -> bytes | None:
    """A transform as it travels to other processes.

    Raises:
        ConfigError: it cannot.
    """
    if transform is None:
        return None
    try:
        data = pickle.dumps(transform)
    except Exception as error:
        raise ConfigError(
            f"the transform cannot be sent to worker processes ({error}): use workers=0, or one that can be pickled."
        ) from None
    if b"__main__" in data:
        raise ConfigError(
            "the transform is defined in the script itself, where worker processes cannot find it:"
            " put it into a module, or use workers=0."
        )
    return data

"""What one thread makes and another takes: in order, and never much ahead."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

# One is taken, one is ready, one is being made.
_MOST_READY = 2


class Stream(Generic[Answer]):
    """A short queue with an end; an exception of the maker's is raised where its answer would have come."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._ready: deque[Answer] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._wanted = True

    @property
    def abandoned(self) -> bool:
        """Whether nobody wants answers any more."""
        return not self._wanted

    def fill(self, answers: Iterable[Answer]) -> None:
        """Make the answers, waiting for room; give up when nobody wants them any more."""
        try:
            for answer in answers:
                if not self._put(answer):
                    return
        except BaseException as error:
            self._error = error
        finally:
            with self._change:
                self._ended = True
                self._change.notify_all()

    def __iter__(self) -> Iterator[Answer]:
        try:
            while True:
                with self._change:
                    self._change.wait_for(lambda: self._ready or self._ended or not self._wanted)
                    if not self._wanted:
                        raise CancelledError
                    if not self._ready:
                        break
                    answer = self._ready.popleft()
                    self._change.notify_all()
                yield answer
        finally:
            self.abandon()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Say that no more is wanted."""
        with self._change:
            self._wanted = False
            self._ready.clear()
            self._change.notify_all()

    def _put(self, answer: Answer) -> bool:
        with self._change:
            self._change.wait_for(lambda: len(self._ready) < _MOST_READY or not self._wanted)
            if self._wanted:
                self._ready.append(answer)
                self._change.notify_all()
            return self._wanted

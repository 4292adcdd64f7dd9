"""The one thread that touches the model and the index; searches that wait together are answered together."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from tvrkit.errors import TvrkitError
from tvrkit.index.ask import Ask
from tvrkit.index.hits import Answer
from tvrkit.serve.refusal import busy

T = TypeVar("T")
D = TypeVar("D", bound="Desk")

MOST_WAITING = 64
MOST_TOGETHER = 16
LONGEST_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_PAUSE_FOR_A_LOOK = 10  # times as long as the look took

log = logging.getLogger("tvrkit.serve")


class Desk(Protocol):
    """What answers, in the worker's thread only; see `state.State`."""

    def search_many(self, asks: Sequence[Ask]) -> list[Answer]:
        """An answer for each question."""
        ...

    def look(self) -> None:
        """Take the index as it is now."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@dataclass(frozen=True)
class _Job:
    future: Future[Any]
    ask: Ask | None = None
    call: Callable[[Any], Any] | None = None


class Worker(Generic[D]):
    """Runs a desk in a thread of its own: an index belongs to one thread, and a model is no faster with several.

    Args:
        open_desk: called in the thread, first.
        batching: whether questions that wait at the same time are answered in one call.
        watch: told how many questions were answered together, and how many jobs wait.
    """

    def __init__(
        self,
        open_desk: Callable[[], D],
        *,
        batching: bool = True,
        watch: Callable[[int, int], None] = lambda together, waiting: None,
    ) -> None:
        self._open_desk = open_desk
        self._most_together = MOST_TOGETHER if batching else 1
        self._watch = watch
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MOST_WAITING)
        self._opened: Future[D] = Future()
        self._look_at = 0.0  # monotonic time
        self._thread = threading.Thread(target=self._run, name="tvrkit-model", daemon=True)

    def start(self) -> D:
        """Start the thread and wait until the desk is open.

        Raises:
            TvrkitError: what `open_desk` raised.
        """
        self._thread.start()
        return self._opened.result()

    @property
    def alive(self) -> bool:
        """Whether questions are still answered."""
        return self._thread.is_alive()

    def stop(self, seconds: float = 5.0) -> None:
        """Answer what waits, then end; a job that takes longer than that is left behind."""
        try:
            self._jobs.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    async def search(self, ask: Ask) -> Answer:
        """The answer to a question.

        Raises:
            Refusal: 503, too many wait, or it took too long.
            TvrkitError: what the search raised.
        """
        answer: Answer = await self._submit(_Job(Future(), ask=ask))
        return answer

    async def call(self, function: Callable[[D], T]) -> T:
        """What `function` makes of the desk, in its thread; raises as `search`."""
        result: T = await self._submit(_Job(Future(), call=function))
        return result

    async def _submit(self, job: _Job) -> Any:
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise busy() from None
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.future), LONGEST_SECONDS)
        except asyncio.TimeoutError:
            raise busy(f"no answer within {LONGEST_SECONDS:g} s: try again later.") from None

    def _run(self) -> None:
        try:
            desk = self._open_desk()
        except BaseException as error:
            self._opened.set_exception(error)
            return
        self._opened.set_result(desk)
        try:
            self._serve(desk)
        finally:
            desk.close()

    def _serve(self, desk: D) -> None:
        while True:
            jobs, ended = self._take()
            if time.monotonic() >= self._look_at:
                self._look(desk)
            live = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            asked = [job for job in live if job.ask is not None]
            if asked:
                self._watch(len(asked), self._jobs.qsize())
                _answer(desk, asked)
            for job in live:
                if job.call is not None:
                    _settle(job, lambda call=job.call: call(desk))  # type: ignore[misc]
            if ended:
                return

    def _look(self, desk: D) -> None:
        started = time.monotonic()
        try:
            desk.look()
        except Exception as error:
            log.error(
                f"the index cannot be looked at ({type(error).__name__}: {error}); the one before is still served."
            )
        ended = time.monotonic()
        # While a large index grows, most of the time belongs to the questions.
        self._look_at = ended + max(_LOOK_SECONDS, _PAUSE_FOR_A_LOOK * (ended - started))

    def _take(self) -> tuple[list[_Job], bool]:
        """Jobs that wait now, up to so many; and whether the end was asked for."""
        jobs: list[_Job] = []
        try:
            job = self._jobs.get(timeout=_LOOK_SECONDS)
            while job is not None:
                jobs.append(job)
                if len(jobs) == self._most_together:
                    return jobs, False
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True


def _answer(desk: Desk, jobs: Sequence[_Job]) -> None:
    asks = [job.ask for job in jobs if job.ask is not None]
    try:
        answers = desk.search_many(asks)
    except Exception as error:
        if len(jobs) == 1 or not isinstance(error, TvrkitError):
            for job in jobs:
                job.future.set_exception(error)
            return
        for job in jobs:  # one question's trouble is not the others'
            _answer(desk, [job])
        return
    for job, answer in zip(jobs, answers, strict=True):
        job.future.set_result(answer)


def _settle(job: _Job, work: Callable[[], Any]) -> None:
    try:
        job.future.set_result(work())
    except Exception as error:
        job.future.set_exception(error)

"""Threads for work that is slow and not the model's, with an end to how much may wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tvrkit.serve.refusal import busy

T = TypeVar("T")


class Gate:
    """Runs functions in a few threads.

    Args:
        name: of the threads.
        at_once: how many run.
        most_waiting: how many may wait; more are refused.
    """

    def __init__(self, name: str, at_once: int, most_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(at_once, f"tvrkit-{name}")
        self._most = at_once + most_waiting
        self._inside = 0

    async def run(self, function: Callable[[], T]) -> T:
        """What `function` gives, in a thread; to be called by the event loop's thread only.

        Raises:
            Refusal: 503, too many wait.
        """
        if self._inside >= self._most:
            raise busy()
        self._inside += 1
        future = self._threads.submit(function)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave) if not loop.is_closed() else None)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """What waits is not run any more; what runs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _leave(self) -> None:
        self._inside -= 1

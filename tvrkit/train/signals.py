"""Ctrl-C and SIGTERM while training: the step under way is finished and saved; asked twice, it stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from tvrkit.errors import StoppedError
from tvrkit.reporting import Reporter


class StopSignals:
    """A context manager whose `received` is the first signal that came, or None.

    Until `finish_steps` is set a signal stops at once, with StoppedError: there is nothing to save yet.
    """

    def __init__(self, report: Reporter) -> None:
        self.received: int | None = None
        self.finish_steps = False
        self._report = report
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Python lets only the main thread set handlers; a training run in another thread is its owner's to stop.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        code = 128 + number
        if not self.finish_steps:
            raise StoppedError("stopped before the first step; frames computed so far stay in the cache.", code)
        if self.received is not None:
            raise StoppedError("stopped at once; `--resume` goes on from the last checkpoint.", code)
        self.received = number
        self._report.say(f"{signal.Signals(number).name}: saving after this step; once more stops at once.")

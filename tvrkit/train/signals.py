"""Signals that ask training to stop: the step under way is finished and saved; asked twice, it stops at once.

Ctrl-C (SIGINT) is a person, who sees exit code 130. SIGTERM and SIGUSR1 are a scheduler that takes the machine away:
what it asks for is done once the run is saved, so the exit code is 0.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from tvrkit.distributed.place import launched, place
from tvrkit.errors import StoppedError
from tvrkit.reporting import Reporter

SAVE = getattr(signal, "SIGUSR1", signal.SIGTERM)
"""What asks a worker of tvrkit's own launcher to save and end; Windows has no SIGUSR1."""

NOTHING_SAVED = "stopped before the first step; frames computed so far stay in the cache."


def asked() -> tuple[int, ...]:
    """The signals that ask for a stop."""
    # The launcher's agent ends workers by SIGTERM when one has failed: there is nothing to wait for then.
    return tuple({signal.SIGINT, SAVE} if launched() else {signal.SIGINT, signal.SIGTERM, SAVE})


def saved_code(number: int) -> int:
    """The exit code of a run that was stopped by signal `number` and is saved."""
    return 128 + number if number == signal.SIGINT else 0


def saving_words(number: int) -> str:
    """What a user sees when signal `number` has come."""
    return f"{signal.Signals(number).name}: saving after this step; once more stops at once."


class StopSignals:
    """A context manager whose `received` is the first signal that came, or None.

    Until `finish_steps` is set a signal stops at once, with StoppedError: there is nothing to save yet.
    """

    def __init__(self, report: Reporter, nothing_saved: str = NOTHING_SAVED) -> None:
        self.received: int | None = None
        self.finish_steps = False
        self._report = report
        self._nothing_saved = nothing_saved
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Python lets only the main thread set handlers; a training run in another thread is its owner's to stop.
        if threading.current_thread() is threading.main_thread():
            for number in asked():
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        code = 128 + number
        if not self.finish_steps:
            raise StoppedError(self._nothing_saved, code)
        if self.received is not None:
            raise StoppedError("stopped at once; `--resume` goes on from the last checkpoint.", code)
        self.received = number
        # Of several, the launcher says so; torchrun ends those that are left by the same signal when one has failed.
        if place().size == 1:
            self._report.say(saving_words(number))

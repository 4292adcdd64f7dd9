"""Where a run's time goes, at the price of reading a clock."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

ON_DEVICE = ("towers", "head", "backward", "optimiser")
"""Parts that a GPU works on after they have been asked for; `read`, `validate` and `save` are over when they return."""
READ, OTHER = "read", "other"


class Clock:
    """Time spent, and clips a second since it was last asked."""

    def __init__(self, before: float = 0.0) -> None:
        """`before`: seconds already spent in earlier parts of the run."""
        self._start, self._clips = time.monotonic() - before, 0
        self._asked = time.monotonic()

    def count(self, clips: int) -> None:
        """`clips` more went through."""
        self._clips += clips

    def seconds(self) -> float:
        """Since the run began, without the time between its parts."""
        return time.monotonic() - self._start

    def clips_per_second(self) -> float:
        """Since the last call."""
        now = time.monotonic()
        speed = self._clips / max(now - self._asked, 1e-9)
        self._clips, self._asked = 0, now
        return speed


class StepTimes:
    """Seconds by part of a step; the parts exclude each other, and one begun inside another interrupts it.

    A GPU works on what it was asked for while the process goes on, so its parts are timed by events in its own queue,
    which nobody waits for: they are read when the numbers are asked for.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Start counting, as `other`."""
        self._gpu = torch.device(device).type == "cuda"
        self._part, self._since = OTHER, time.perf_counter()
        self._asked = self._since
        self._new: dict[str, float] = defaultdict(float)
        self._total: dict[str, float] = defaultdict(float)
        self._began: torch.cuda.Event | None = None
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """What happens inside belongs to `part`."""
        interrupted = self._part
        self._switch(part)
        try:
            yield
        finally:
            self._switch(interrupted)

    def waiting(self, items: Iterable[T], part: str = READ) -> Iterator[T]:
        """Hand `items` on; the waiting for each belongs to `part`."""
        iterator = iter(items)
        while True:
            with self(part):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def take(self) -> dict[str, float | dict[str, float]]:
        """For the log, since the last call: `seconds` by part, and `waiting_for_data`, the share of `read`, 0 to 1."""
        self._switch(self._part)
        self._read_events()
        now = time.perf_counter()
        seconds, wall = dict(self._new), max(now - self._asked, 1e-9)
        for part, spent in seconds.items():
            self._total[part] += spent
        self._new.clear()
        self._asked = now
        return {
            "seconds": {part: round(spent, 4) for part, spent in seconds.items()},
            "waiting_for_data": round(min(1.0, seconds.get(READ, 0.0) / wall), 3),
        }

    def totals(self) -> Mapping[str, float]:
        """Seconds by part since the beginning, what `take` has not given yet included."""
        self._switch(self._part)
        self._read_events()
        return {part: self._total[part] + self._new[part] for part in self._total.keys() | self._new.keys()}

    def _switch(self, part: str) -> None:
        """End the part under way and begin `part`."""
        now = time.perf_counter()
        queued = self._gpu and self._part in ON_DEVICE
        if not queued:
            self._new[self._part] += now - self._since
        if self._gpu and (queued or part in ON_DEVICE):
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            if queued and self._began is not None:
                self._events.append((self._part, self._began, event))
            self._began = event
        self._part, self._since = part, now

    def _read_events(self) -> None:
        """Add what the GPU is done with."""
        while self._events and self._events[0][2].query():
            part, began, ended = self._events.pop(0)
            self._new[part] += began.elapsed_time(ended) / 1000

"""Decoded frames of the last seconds, as many as memory allows, out of which a moment's are chosen once it is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tvrkit.frames.windows import Span

_FINEST = 1 / 16  # seconds between frames that are held at first; fewer only where they would take too much room
_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Shown:
    """A frame that is on the screen from `start` until before `end`, seconds; the first from 0 on, whatever its pts."""

    pts: float
    start: float
    end: float
    frame: Any


class FrameBuffer:
    """Holds the frames that are on the screen at multiples of a step, which doubles when they become too many.

    Args:
        least: as many frames are held, however large they are.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._step = _FINEST
        self._held: list[Shown] = []
        self._newest: tuple[float, Any] | None = None

    def push(self, seconds: float, frame: Any) -> None:
        """Take the next frame, on the screen from `seconds` on."""
        self.finish(seconds)
        self._newest = (seconds, frame)

    def finish(self, end: float) -> None:
        """The newest frame is on the screen until `end`."""
        if self._newest is None:
            return
        start, frame = self._newest
        self._newest = None
        shown = Shown(start, start if self._held else min(start, 0.0), end, frame)
        if self._held and not self._on_step(shown):
            return
        self._held.append(shown)
        size = frame.width * frame.height * frame.format.padded_bits_per_pixel // 8
        while len(self._held) > max(self._least, _BYTES // max(1, size)):
            self._thin()

    def forget(self, before: float) -> None:
        """Frames that are gone from the screen before this time are needed no more."""
        if self._held and self._held[0].end <= before:
            self._held = [shown for shown in self._held if shown.end > before] or self._held[-1:]

    def restart(self) -> None:
        """A new moment begins: hold as many frames a second as at first."""
        self._step = _FINEST

    def choose(self, times: list[float], span: Span) -> list[Shown]:
        """The frames of a span that are on the screen nearest to some times, ascending, none twice."""
        within = [shown for shown in self._held if shown.end > span[0] and shown.start < span[1]] or self._held[-1:]
        chosen: list[Shown] = []
        for time in times:
            nearest = min(within, key=lambda shown: max(shown.start - time, time - shown.end, 0.0))
            if not chosen or nearest is not chosen[-1]:
                chosen.append(nearest)
        return chosen

    def _on_step(self, shown: Shown) -> bool:
        return math.ceil(shown.start / self._step) * self._step < shown.end

    def _thin(self) -> None:
        self._step *= 2
        self._held = [shown for shown in self._held if self._on_step(shown)] or self._held[-1:]

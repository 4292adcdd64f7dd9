"""Which frames a copy with fewer frames a second keeps, and from when on it shows each of them."""

from __future__ import annotations

import math
from typing import Generic, TypeVar

Frame = TypeVar("Frame")

_ROUNDING = 1e-6  # of a slot: what was computed may lie beside what was meant


class Thinner(Generic[Frame]):
    """Takes a video's frames in order of time, and keeps for each slot of 1 / fps seconds the one in its middle.

    What a copy made of the kept ones shows at any time, the video shows at most half a slot earlier or later. A frame
    that follows directly on another kept one starts when it did and not at the start of its slot, so that a video
    with no more frames than slots keeps all of them at their own times. The first is shown from time 0 on: before its
    first frame a reader gives that one, and a file without sound has no way to start later.

    Args:
        fps: slots a second, > 0.
    """

    def __init__(self, fps: float) -> None:
        self._slot = 1 / fps
        self._filled = 0  # slots that have their frame
        self._shown: tuple[float, Frame] | None = None
        self._follows = False  # whether the frame before the shown one was kept
        self._kept = 0

    @property
    def next_middle(self) -> float:
        """Seconds at which the next frame to be kept is on the screen."""
        return (self._filled + 0.5) * self._slot

    def push(self, seconds: float, frame: Frame) -> tuple[float, Frame] | None:
        """Take the next frame, on the screen from `seconds` on; the one before it, with its new time, if it is kept.

        Frames whose time does not come after the last one's are dropped.
        """
        if self._shown is not None and seconds <= self._shown[0]:
            return None
        # Slots whose middle lies before the new frame.
        kept = self._keep(math.ceil(seconds / self._slot - 0.5 - _ROUNDING))
        self._follows = kept is not None
        self._shown = (seconds, frame)
        return kept

    def finish(self, end_seconds: float) -> tuple[float, Frame] | None:
        """The last frame, if it is kept; it is on the screen until `end_seconds`."""
        # A slot that has begun needs a frame of its own, even where the video ends before its middle.
        return self._keep(max(math.ceil(end_seconds / self._slot - _ROUNDING), 0 if self._kept else 1))

    def _keep(self, slots: int) -> tuple[float, Frame] | None:
        if self._shown is None or slots <= self._filled:
            return None
        seconds, frame = self._shown
        since = seconds if self._follows else self._filled * self._slot
        if not self._kept:
            since = 0.0
        self._filled = slots
        self._kept += 1
        return since, frame

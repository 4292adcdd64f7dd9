"""Cuts from one frame to the next.

A cut is a change between two frames that is far larger than those around it (fast motion and noise are large
throughout) and that lasts: frames before it and frames after it do not look alike again (a flash does).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_AROUND = 0.5  # seconds before and after a frame that are looked at
_FEWEST = 3  # frames before and after at least, at low frame rates
_RATIO = 5.0  # of a cut's change to those of the side that moves less
_RATIO_FAST = 2.0  # and to those of the other: not every start of a motion is a cut
_LEAST = 6.0  # mean change, of 255
_STILL = 0.3  # a frame that changes by less is the one before, shown again
_LASTS = 0.5  # part of the change that is left between any frames before and after


@dataclass(frozen=True)
class _Frame:
    seconds: float
    signature: np.ndarray
    change: float


class CutDetector:
    """Takes signatures in order of time, and says half a second later which frames begin a shot."""

    def __init__(self) -> None:
        self._before: deque[_Frame] = deque()
        self._ahead: deque[_Frame] = deque()

    @property
    def settled(self) -> float:
        """All cuts before this time are known."""
        return self._ahead[0].seconds if self._ahead else 0.0

    def push(self, seconds: float, signature: np.ndarray) -> list[float]:
        """Take the next frame; cuts that are certain now."""
        last = self._ahead[-1] if self._ahead else self._before[-1] if self._before else None
        change = 0.0 if last is None else float(np.abs(signature - last.signature).mean())
        self._ahead.append(_Frame(seconds, signature, change))
        cuts = []
        while len(self._ahead) > _FEWEST and seconds - self._ahead[0].seconds >= _AROUND:
            cuts += self._decide()
        return cuts

    def finish(self) -> list[float]:
        """Cuts among the last frames."""
        cuts = []
        while self._ahead:
            cuts += self._decide()
        return cuts

    def _decide(self) -> list[float]:
        frame = self._ahead[0]
        cut = len(self._before) > 0 and frame.change >= _LEAST and self._stands_out() and self._lasts()
        self._before.append(self._ahead.popleft())
        while len(self._before) > _FEWEST and frame.seconds - self._before[0].seconds > _AROUND:
            self._before.popleft()
        return [frame.seconds] if cut else []

    def _stands_out(self) -> bool:
        slow, fast = sorted((_usual(self._before), _usual(list(self._ahead)[1:])))
        change = self._ahead[0].change
        return change >= _RATIO * (1.0 + slow) and change >= _RATIO_FAST * (1.0 + fast)

    def _lasts(self) -> bool:
        before, after = _some(self._before), _some(self._ahead)
        between = np.abs(before[:, None] - after[None]).mean(axis=2)
        return bool(between.min() >= _LASTS * self._ahead[0].change)


def _usual(frames: Iterable[_Frame]) -> float:
    """How much a frame changes among these, the faster ones of them but for the fastest: that may be another cut."""
    # Of a video that stutters only the frames that bring something new say how fast it moves.
    moving = sorted(frame.change for frame in frames if frame.change >= _STILL)[:-1]
    return moving[3 * (len(moving) - 1) // 4] if moving else 0.0


def _some(frames: deque[_Frame]) -> np.ndarray:
    """Signatures of six of them at most, the ends among them, (6, LENGTH)."""
    at = np.unique(np.linspace(0, len(frames) - 1, 6).round().astype(int))
    return np.stack([frames[i].signature for i in at])

"""Where shots begin, found while a video is decoded from end to end."""

from __future__ import annotations

import numpy as np

from tvrkit.frames.gradual import LONGEST_SECONDS, GradualDetector
from tvrkit.frames.hard_cuts import CutDetector

# A transition's ends are no further from its middle than this; a cut so near to it is the same change seen twice.
_SAME_SECONDS = 1.0


class ShotDetector:
    """Takes signatures of frames in order of time, and says a few seconds later where shots begin."""

    def __init__(self) -> None:
        self._cuts, self._gradual = CutDetector(), GradualDetector()
        self._waiting: list[float] = []
        self._told: list[float] = []
        self._newest = 0.0

    @property
    def settled(self) -> float:
        """All that begin before this time are known."""
        return min(self._cuts.settled, self._newest - LONGEST_SECONDS)

    def push(self, seconds: float, signature: np.ndarray) -> list[float]:
        """Take the next frame; the first frames' times of shots that are certain now, ascending."""
        self._newest = seconds
        self._take(self._cuts.push(seconds, signature), self._gradual.push(seconds, signature))
        done = [at for at in self._waiting if at < self.settled]
        self._waiting = self._waiting[len(done) :]
        return done

    def finish(self) -> list[float]:
        """Those that are left at the end."""
        self._take(self._cuts.finish(), self._gradual.finish())
        done, self._waiting = self._waiting, []
        return done

    def _take(self, cuts: list[float], transitions: list[float]) -> None:
        self._told = [at for at in self._told + cuts if at > self._newest - 2 * LONGEST_SECONDS]
        for at in transitions:
            if all(abs(at - other) > _SAME_SECONDS for other in self._told):
                self._told.append(at)
                cuts = [*cuts, at]
        self._waiting = sorted(self._waiting + cuts)

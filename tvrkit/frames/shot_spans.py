"""Shots to moments as the cuts become known: short shots joined, long ones in windows."""

from __future__ import annotations

import math

from tvrkit.frames.moment_request import Cutting
from tvrkit.frames.windows import Span, whole_windows, windows


class ShotSpans:
    """Takes cuts in order of time, and gives each moment as soon as its end is certain.

    A shot that is too short is joined to the one after it, the last one to the one before.
    """

    def __init__(self, cutting: Cutting) -> None:
        self._cutting = cutting
        self._start = 0.0  # of the shot
        self._cut: float | None = None  # where it ends, unless what follows is too short to be a shot
        self._given = 0  # windows of it

    @property
    def next_start(self) -> float:
        """Where the next moment begins; the last one of a long shot may begin earlier, see `needed_from`."""
        return self._start + self._given * (self._cutting.max_seconds - self._cutting.overlap_seconds)

    @property
    def needed_from(self) -> float:
        """No moment that is still to come begins before this time."""
        if not self._given:
            return self._start
        return self.next_start + self._cutting.overlap_seconds - self._cutting.max_seconds / 2

    def cut(self, at: float) -> list[Span]:
        """The picture changes at this time; moments that end there are not known yet, earlier ones are."""
        done = self._settle(at)
        if self._cut is None and at - self._start >= self._cutting.min_seconds:
            self._cut = at
        return done

    def advance(self, until: float) -> list[Span]:
        """There is no other cut before this time."""
        done = self._settle(until)
        whole = whole_windows(self._start, until if self._cut is None else self._cut, self._cutting)
        done += whole[self._given :]
        self._given = max(self._given, len(whole))
        return done

    def finish(self, end: float) -> list[Span]:
        """The video ends."""
        return self._settle(end) + self._shot(end)

    def _settle(self, until: float) -> list[Span]:
        if self._cut is None or until - self._cut < self._cutting.min_seconds:
            return []
        at, self._cut = self._cut, None
        done = self._shot(at)
        self._start, self._given = at, 0
        return done

    def _shot(self, end: float) -> list[Span]:
        # A video that ends before its last cut, by its own account, has no moment after it.
        return windows(self._start, end, self._cutting)[self._given :] if end > self._start else []


def claimed_end(claimed: float, seen: float, frame_seconds: float) -> float:
    """When a video ends: as it says, unless its frames end elsewhere."""
    return claimed if math.isclose(claimed, seen, rel_tol=0, abs_tol=2 * frame_seconds) else seen

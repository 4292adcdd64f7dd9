"""Spans of time that are no longer than a moment may be, and the times at which each is looked at."""

from __future__ import annotations

import math

import numpy as np

from tvrkit.frames.moment_request import Cutting
from tvrkit.frames.sampling import sample_timestamps

Span = tuple[float, float]

_ROUNDING = 1e-3  # seconds; no window of its own for what rounding makes of a length


def whole_windows(start: float, end: float, cutting: Cutting) -> list[Span]:
    """Windows of full length from `start` on, as many as something follows after: what `windows` begins with."""
    step = cutting.max_seconds - cutting.overlap_seconds
    count = max(0, math.ceil((end - start - cutting.max_seconds - _ROUNDING) / step))
    return [(start + i * step, start + i * step + cutting.max_seconds) for i in range(count)]


def windows(start: float, end: float, cutting: Cutting) -> list[Span]:
    """All of a span: itself where it is short enough, else windows that overlap.

    The last one ends at `end`, and reaches back to be half as long as the others at least.
    """
    whole = whole_windows(start, end, cutting)
    if not whole:
        return [(start, end)]
    nominal = whole[-1][0] + cutting.max_seconds - cutting.overlap_seconds
    return [*whole, (min(nominal, end - cutting.max_seconds / 2), end)]


def moment_times(span: Span, num_frames: int, cutting: Cutting) -> np.ndarray:
    """(n,) seconds in the middles of n equal parts, n as many as `fps` gives and `num_frames` at most."""
    seconds = span[1] - span[0]
    count = min(num_frames, max(1, math.ceil(seconds * cutting.fps - 1e-9)))
    return sample_timestamps(seconds, count, start_seconds=span[0])

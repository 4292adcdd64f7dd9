"""Moments one by one to the parts in which they travel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tvrkit.frames.decode import stack
from tvrkit.frames.looks import Picture, worth_keeping
from tvrkit.frames.moment_request import CutPart, MomentRequest
from tvrkit.frames.windows import Span

MOST_MOMENTS = 16


class PartBuilder:
    """Collects moments, without the frames that show nothing or nothing new, and moments of nothing else."""

    def __init__(self, request: MomentRequest) -> None:
        self._request = request
        self._begin()

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, span: Span, seconds: list[float], pictures: list[Picture]) -> None:
        """One more moment, and its frames in order of time."""
        kept = worth_keeping(pictures)
        self._left_out += len(pictures) - len(kept)
        if kept:
            self._spans.append(span)
            self._counts.append(len(kept))
            self._images += [pictures[at].image for at in kept]
            self._seconds += [seconds[at] for at in kept]

    def take(self, duration_seconds: float, next_seconds: float | None = None, note: str | None = None) -> CutPart:
        """All that was added since the last time."""
        part = CutPart(
            self._request,
            np.array(self._spans, dtype=np.float64).reshape(-1, 2),
            np.array(self._counts, dtype=np.int64),
            stack(self._images, self._request.path) if self._images else None,
            np.array(self._seconds, dtype=np.float64),
            duration_seconds,
            next_seconds,
            self._left_out,
            note=note,
        )
        if next_seconds is not None:
            self._request = replace(self._request, from_seconds=next_seconds)
        self._begin()
        return part

    def _begin(self) -> None:
        self._spans: list[Span] = []
        self._counts: list[int] = []
        self._images: list[np.ndarray] = []
        self._seconds: list[float] = []
        self._left_out = 0

"""A long video read part by part, by a process that answers one request after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tvrkit.frames.moment_reader import read_moments
from tvrkit.frames.moment_request import CutPart, MomentRequest
from tvrkit.frames.preprocess import Transform


class HeldMoments:
    """A video that is read part by part, a request for each; the next one goes on where the last one ended.

    Args:
        transform: what is done with each sampled frame.
    """

    def __init__(self, transform: Transform | None) -> None:
        self._transform = transform
        self._parts: Iterator[CutPart] = iter(())
        self._next: tuple[MomentRequest, str, float] | None = None

    def read(self, request: MomentRequest, reader: str, timeout_seconds: float) -> CutPart:
        """The part of a video that was asked for. Any other than the next one is read anew from the start."""
        if (request, reader, timeout_seconds) != self._next:
            self._parts = read_moments(request, reader, timeout_seconds, self._transform)
        self._next = None
        part = next(self._parts)
        if part.next_seconds is not None:
            self._next = (replace(request, from_seconds=part.next_seconds), reader, timeout_seconds)
        return part

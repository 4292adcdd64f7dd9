"""Moments of a long video by its shots, in one pass over all of its frames that holds those of the last seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tvrkit.frames.av_file import Clock, VideoFile
from tvrkit.frames.av_reader import claimed_timeline
from tvrkit.frames.frame_buffer import FrameBuffer
from tvrkit.frames.looks import Picture
from tvrkit.frames.moment_request import CutPart, MomentRequest
from tvrkit.frames.part_builder import MOST_MOMENTS, PartBuilder
from tvrkit.frames.shot_spans import ShotSpans, claimed_end
from tvrkit.frames.shots import ShotDetector
from tvrkit.frames.signature import Signer
from tvrkit.frames.windows import Span, moment_times

# A part is handed over, full or not, before this much of its time is over.
_PATIENCE = 0.4

# What a header says may be off by this much without a word to the user.
_NOTED_SECONDS = 1.0


def shot_moments(
    request: MomentRequest, look: Callable[[np.ndarray], Picture], timeout_seconds: float
) -> Iterator[CutPart]:
    """The parts of a video from `request.from_seconds` on; none where it is no longer than one moment.

    Raises:
        VideoError: no frame could be read, with the reason.
        VideoTimeoutError: a part took too long.
    """
    clock = Clock(request.path, timeout_seconds)
    claimed = claimed_timeline(request.path, clock).duration_seconds
    if claimed <= request.cutting.max_seconds:
        return
    clock.restart()  # a file without an index was gone through
    with VideoFile(request.path, clock) as file:
        yield from _Pass(file, request, look, claimed).parts()


class _Pass:
    """One video from its first frame to its last."""

    def __init__(
        self, file: VideoFile, request: MomentRequest, look: Callable[[np.ndarray], Picture], claimed: float
    ) -> None:
        self._file, self._request, self._look, self._claimed = file, request, look, claimed
        self._spans = ShotSpans(request.cutting)
        self._buffer = FrameBuffer(least=2 * request.num_frames)
        self._builder = PartBuilder(request)

    def parts(self) -> Iterator[CutPart]:
        detector, sign = ShotDetector(), Signer()
        end, begun = 0.0, False
        for seconds, frame in self._frames():
            self._buffer.push(seconds, frame)
            end = seconds + (frame.duration or self._file.frame_ticks) * self._file.tick
            for cut in detector.push(seconds, sign(frame)):
                self._add(self._spans.cut(cut))
                self._buffer.restart()
            self._add(self._spans.advance(detector.settled))
            self._buffer.forget(self._spans.needed_from)
            if len(self._builder) >= MOST_MOMENTS or self._file.clock.spent > _PATIENCE:
                begun = True
                yield self._builder.take(self._claimed, max(self._spans.next_start, self._request.from_seconds))
                self._file.clock.restart()
        if not end:
            raise self._file.nothing()
        end = claimed_end(self._claimed, end, self._file.frame_ticks * self._file.tick)
        if not begun and end <= self._request.cutting.max_seconds:
            return
        self._buffer.finish(end)
        for cut in detector.finish():
            self._add(self._spans.cut(cut))
        self._add(self._spans.finish(end))
        yield self._builder.take(end, note=self._note(end))

    def _frames(self) -> Iterator[tuple[float, Any]]:
        """In order of time; a frame that comes too late is passed over."""
        last = -float("inf")
        for when, frame in self._file.frames():
            self._file.fed.clear()
            if when > last:
                last = when
                yield (when - self._file.origin) * self._file.tick, frame

    def _add(self, spans: list[Span]) -> None:
        for span in spans:
            if span[0] < self._request.from_seconds:
                continue
            times = moment_times(span, self._request.num_frames, self._request.cutting)
            chosen = self._buffer.choose(times.tolist(), span)
            pictures = [self._look(self._file.upright_rgb(shown.frame)) for shown in chosen]
            self._builder.add(span, [shown.pts for shown in chosen], pictures)

    def _note(self, end: float) -> str | None:
        if end >= self._claimed - _NOTED_SECONDS:
            return None
        return f"its picture ends at {end:.0f} s, though the file says {self._claimed:.0f} s"

"""Moments of one video, read in this process: its spans, and sampled frames of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from tvrkit.errors import TvrkitError, VideoError, VideoTimeoutError
from tvrkit.frames.av_reader import Wanted
from tvrkit.frames.decode import converter, sample
from tvrkit.frames.looks import Picture, looker
from tvrkit.frames.moment_request import CutPart, MomentRequest, failed
from tvrkit.frames.part_builder import PartBuilder
from tvrkit.frames.preprocess import Transform
from tvrkit.frames.request import check_file, unexpected
from tvrkit.frames.sampling import sample_timestamps
from tvrkit.frames.shot_moments import shot_moments
from tvrkit.frames.windows import Span, moment_times, windows

# Windows of a long video that are read by one opening of it, where only their frames are decoded.
_WINDOWS = 4


def read_moments(
    request: MomentRequest, reader: str, timeout_seconds: float, transform: Transform | None
) -> Iterator[CutPart]:
    """The parts of a video from `request.from_seconds` on; what is wrong with it is in the last one's `error`.

    Only a process that can be killed should call this with `auto` or `decord`: see `tvrkit.frames.decord_reader`.

    Args:
        request: of which video, from when on.
        reader: `auto`, `av` or `decord`, which makes no shots but windows.
        timeout_seconds: limit for one part.
        transform: what is done with each sampled frame.

    Raises:
        InstallError: the reader that was asked for by name is not installed.
        ConfigError: the request makes no sense for any video.
    """
    try:
        check_file(request.path)
        for part in _parts(request, reader, timeout_seconds, transform):
            yield part
            if part.next_seconds is not None:
                request = replace(request, from_seconds=part.next_seconds)
    except VideoError as error:
        yield failed(request, error)
    except TvrkitError:
        raise
    except Exception as error:  # a file made to break a reader must not end a run over thousands of files
        yield failed(request, unexpected(request.path, error))


def _parts(
    request: MomentRequest, reader: str, timeout_seconds: float, transform: Transform | None
) -> Iterator[CutPart]:
    look = looker(converter(transform))
    if request.cutting.cut == "shots" and reader != "decord":
        begun = False
        try:
            for part in shot_moments(request, look, timeout_seconds):
                begun = True
                yield part
        except VideoTimeoutError:
            raise
        except VideoError:
            if begun or reader == "av":
                raise
        if begun:
            return
    yield from _by_plan(request, reader, timeout_seconds, look)


def _by_plan(
    request: MomentRequest, reader: str, timeout_seconds: float, look: Callable[[np.ndarray], Picture]
) -> Iterator[CutPart]:
    """The whole of a short video, windows of a long one: planned by its length, and only their frames decoded."""
    builder, start, more = PartBuilder(request), request.from_seconds, True
    while more:
        plan = _Plan(request, start)
        sampled, note = sample(Wanted(request.path, plan.pick), reader, timeout_seconds, look)
        for span, rows in zip(plan.spans, plan.rows(sampled.shown), strict=True):
            builder.add(span, sampled.pts_seconds[rows].tolist(), [sampled.images[row] for row in rows])
        more = plan.next_seconds is not None
        yield builder.take(sampled.duration_seconds, plan.next_seconds, note)
        start = plan.next_seconds or 0.0


class _Plan:
    """The next few spans of a video, once it is known how long it lasts; and the frames of each.

    Attributes:
        spans: of the moments.
        next_seconds: where the span after them begins; None if there is none.
    """

    def __init__(self, request: MomentRequest, from_seconds: float) -> None:
        self._request, self._from = request, from_seconds
        self.spans: list[Span] = []
        self.next_seconds: float | None = None

    def pick(self, duration: float) -> np.ndarray:
        """All timestamps of the spans, ascending; those of overlapping spans are mixed."""
        request, cutting = self._request, self._request.cutting
        if cutting.cut == "whole" or duration <= cutting.max_seconds:
            left = [(0.0, duration)] if not self._from else []
            times = [sample_timestamps(duration, request.num_frames)] * len(left)
        else:
            left = [span for span in windows(0.0, duration, cutting) if span[0] >= self._from]
            times = [moment_times(span, request.num_frames, cutting) for span in left[:_WINDOWS]]
        self.spans = left[:_WINDOWS]
        self.next_seconds = left[_WINDOWS][0] if len(left) > _WINDOWS else None
        self._span_of = np.repeat(np.arange(len(times)), [len(these) for these in times])
        flat = np.concatenate([*times, np.empty(0)])
        self._order = np.argsort(flat, kind="stable")
        return flat[self._order]

    def rows(self, shown: np.ndarray) -> list[np.ndarray]:
        """Of each span the images that it shows, none twice; from the image of each timestamp."""
        image = np.empty_like(shown)
        image[self._order] = shown
        return [np.unique(image[self._span_of == number]) for number in range(len(self.spans))]

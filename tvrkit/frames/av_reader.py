"""PyAV's way of reading sampled frames: decode as little as possible, and be right.

The frame of a timestamp is the one on the screen at that time: the last whose presentation time is not after it.
To get there, the reader seeks when a keyframe lies between here and there, and decodes on otherwise. Containers
lie, so there are three attempts, each of which trusts less:

1. what the container says of its duration and keyframes; frames that no other refers to are not decoded on the way;
2. duration and keyframes out of one pass over the packets;
3. every frame decoded, from the start.

An attempt that sees a sign of being wrong (a seek that landed late, a file that ends early) gives way to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from tvrkit.frames.av_file import Clock, VideoFile
from tvrkit.frames.facts import video_info
from tvrkit.frames.request import FrameRequest, VideoInfo
from tvrkit.frames.sampling import request_timestamps
from tvrkit.frames.timeline import Timeline, header_timeline, survey

Image = TypeVar("Image")

# From this long before a wanted time on, every frame is decoded: it has to reach back to the frame that is on the
# screen at that time. Where it does not (one picture shown for seconds), the second attempt finds it.
_EXACT_SECONDS = 0.5


@dataclass(frozen=True)
class Sampled(Generic[Image]):
    """Converted frames of one video: `images[i]` is on the screen from `pts_seconds[i]` on.

    Attributes:
        shown: (n,) int64, for each timestamp that was asked for the image on the screen then.
    """

    images: list[Image]
    pts_seconds: np.ndarray
    shown: np.ndarray
    duration_seconds: float
    info: VideoInfo | None = None


class _AstrayError(Exception):
    """What this attempt relied on is not so."""


@dataclass(frozen=True)
class Wanted:
    """Which frames of which file.

    Attributes:
        path: the video file.
        pick: gives the timestamps (n,) in ascending seconds for a file that lasts so many seconds; n may be 0.
        with_info: whether to say what the file says of itself as well.
    """

    path: str
    pick: Callable[[float], np.ndarray]
    with_info: bool = False

    @classmethod
    def of(cls, request: FrameRequest) -> Wanted:
        """What a request asks for."""
        return cls(request.path, partial(request_timestamps, request), request.with_info)


def read(request: FrameRequest, convert: Callable[[np.ndarray], Image], timeout_seconds: float) -> Sampled[Image]:
    """As `read_at`, for what a request asks for."""
    return read_at(Wanted.of(request), convert, timeout_seconds)


def read_at(wanted: Wanted, convert: Callable[[np.ndarray], Image], timeout_seconds: float) -> Sampled[Image]:
    """Sample frames of a file, and convert each as soon as it is known to be wanted; no other becomes RGB.

    Args:
        wanted: which frames of which file.
        convert: takes one upright frame, (H, W, 3) uint8 RGB.
        timeout_seconds: limit for all of it. It is looked at between packets: a decoder that hangs inside of one
            needs a process that can be killed (`tvrkit.frames.pool`).

    Raises:
        VideoError: no frame could be read, with the reason.
        VideoTimeoutError: the limit was passed.
    """
    clock = Clock(wanted.path, timeout_seconds)
    for attempt in (_by_header, _by_survey):
        try:
            return attempt(wanted, convert, clock)
        except _AstrayError:
            continue
    return _by_decoding_all(wanted, convert, clock)


def claimed_timeline(path: str, clock: Clock) -> Timeline:
    """What the container says of its times; what its packets say where that is too little to go by.

    Raises:
        VideoError: there is no picture in it.
        VideoTimeoutError: the limit was passed.
    """
    with VideoFile(path, clock) as file:
        timeline = header_timeline(file)
    if timeline is None:
        with VideoFile(path, clock) as file:
            timeline = survey(file)
    return timeline


def probe(path: str, timeout_seconds: float) -> VideoInfo:
    """What the file says of itself; one frame is decoded to know that it can be.

    Raises:
        VideoError: no frame could be read, with the reason.
        VideoTimeoutError: the limit was passed.
    """
    clock = Clock(path, timeout_seconds)
    timeline = claimed_timeline(path, clock)
    with VideoFile(path, clock) as file:
        _, frame = next(file.frames(), (0, None))
        if frame is None:
            raise file.nothing()
        return video_info(file, timeline, frame)


def _by_header(wanted: Wanted, convert: Callable[[np.ndarray], Image], clock: Clock) -> Sampled[Image]:
    with VideoFile(wanted.path, clock) as file:
        timeline = header_timeline(file)
        if timeline is None:
            raise _AstrayError
        # AVI stores no presentation times: those of its packets are guesses that its frames need not keep.
        skip = "avi" not in file.container.format.name
        return _sample(file, timeline, wanted, convert, strict=True, skip=skip)


def _by_survey(wanted: Wanted, convert: Callable[[np.ndarray], Image], clock: Clock) -> Sampled[Image]:
    with VideoFile(wanted.path, clock) as file:
        timeline = survey(file)
    with VideoFile(wanted.path, clock) as file:
        return _sample(file, timeline, wanted, convert, strict=False, skip=False)


def _by_decoding_all(wanted: Wanted, convert: Callable[[np.ndarray], Image], clock: Clock) -> Sampled[Image]:
    with VideoFile(wanted.path, clock) as file:
        timeline = replace(survey(file), keyframes=[])
    with VideoFile(wanted.path, clock) as file:
        try:
            return _sample(file, timeline, wanted, convert, strict=False, skip=False)
        except _AstrayError:
            raise file.nothing() from None


def _sample(
    file: VideoFile,
    timeline: Timeline,
    wanted: Wanted,
    convert: Callable[[np.ndarray], Image],
    *,
    strict: bool,
    skip: bool,
) -> Sampled[Image]:
    targets = timeline.ticks(wanted.pick(timeline.duration_seconds))
    images: list[Image] = []
    times: list[int] = []
    shown: list[int] = []
    frame = None
    for when, frame in _frames_at(file, timeline, targets, strict=strict, skip=skip):
        if not times or when > times[-1]:
            images.append(convert(file.upright_rgb(frame)))
            times.append(when)
        shown.append(len(images) - 1)
    if targets and not images:
        raise _AstrayError
    info = video_info(file, timeline, frame) if wanted.with_info else None
    return Sampled(images, timeline.seconds(times), np.array(shown, dtype=np.int64), timeline.duration_seconds, info)


def _frames_at(
    file: VideoFile, timeline: Timeline, wanted: list[int], *, strict: bool, skip: bool
) -> Iterator[tuple[int, Any]]:
    """The frame on the screen at each of the wanted times (ascending), with its own time."""
    frames = file.frames()
    shown: tuple[int, Any] | None = None  # on the screen at the time looked for, as far as is known
    ahead: tuple[int, Any] | None = None  # the next one
    here: float = timeline.keyframes[0] if timeline.keyframes else math.inf
    for target in wanted:
        file.skip_before = target - _EXACT_SECONDS / timeline.tick if skip else -math.inf
        keyframe = timeline.keyframe_before(target)
        # Any keyframe ahead is worth a seek: sought only where it saves at least 1, 2, 3, 4, 6, 8 or 12 frames, 12
        # frames of H.264 with a keyframe each 6 to 50 take the same CPU time within 10 %; never sought, up to 2.9 times
        # as much.
        if keyframe is not None and keyframe > here + timeline.frame_ticks:
            if not file.seek(keyframe):
                raise _AstrayError
            frames = file.frames()
            shown, ahead = None, next(frames, None)
            if ahead is None or ahead[0] > target:
                raise _AstrayError
        elif shown is ahead is None:
            ahead = next(frames, None)
        while ahead is not None and ahead[0] <= target:
            shown, ahead = ahead, next(frames, None)
        if strict and _doubtful(file, shown, ahead, target, timeline.frame_ticks):
            raise _AstrayError
        found = shown or ahead
        if found is None:
            return
        here = (ahead or found)[0]
        yield found


def _doubtful(
    file: VideoFile,
    shown: tuple[int, Any] | None,
    ahead: tuple[int, Any] | None,
    target: int,
    frame_ticks: int,
) -> bool:
    """Whether the file ended early, or the frame on the screen was not decoded."""
    if ahead is None and (shown is None or target > shown[0] + max(shown[1].duration or 0, 2 * frame_ticks)):
        return True
    return file.skip_before > -math.inf and file.newest_fed(target) > (shown[0] if shown else -math.inf)

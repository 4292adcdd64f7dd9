"""A small copy of one video, made in this process: few frames a second, few pixels, H.264 in mp4, no sound.

What is read from a copy at some time is what is read from the video at that time, give or take half a frame of the
copy; see `tvrkit.frames.thinning`.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from tvrkit.errors import DataError, InstallError, TvrkitError, VideoError
from tvrkit.files import atomic_path
from tvrkit.frames.av_file import Clock, VideoFile, words
from tvrkit.frames.request import Copied, CopyRequest, check_file, check_size, unexpected
from tvrkit.frames.thinning import Thinner
from tvrkit.frames.timeline import header_timeline

# Measured on 107 web videos of 29.9 MB at 3 frames a second and 224 pixels (CPU seconds of encoding alone): these
# settings make 15.9 MB of 37.9 dB (median). Beside them, with a keyframe each 6 frames:
# - preset medium makes 17.7 MB of 38.8 dB in 16.3 s, veryfast 17.0 MB of 38.1 dB in 6.9 s;
# - fastdecode adds 8 % to the size, takes .3 dB and nearly halves the time of reading;
# - a crf of 20 makes 1.35 times the size for 1.3 dB more, one of 26 .73 times for 1.5 dB less (both medium).
# Reading 12 frames out of 540 with a keyframe each 1, 3, 6, 12, 30 frames: 18, 23, 27, 31, 44 ms from 4.3, 4.3, 3.9,
# 3.7, 3.6 MB.
# One thread alone does not make x264 repeat itself; this parameter does, at no cost that could be measured.
ENCODER = {
    "crf": "23",
    "preset": "veryfast",
    "tune": "fastdecode",
    "g": "12",
    "bf": "0",
    "threads": "1",
    "x264-params": "cpu-independent=1",
}

# Up to this many times the short side that was asked for a source counts as small already.
SMALL = 1.25

_TICK = Fraction(1, 90_000)  # seconds; a third of a second is a whole number of them


class _NotWorthIt(Exception):
    """The copy takes no less room than its source, which is small already."""


def make_copy(request: CopyRequest, timeout_seconds: float) -> Copied:
    """Write a copy with its frames thinned out and scaled down, upright; the file appears whole or not at all.

    No copy is made where it would take as much room as the source and the source is small already.

    Args:
        request: of what, where to, how small. Nothing is scaled up, and there are never more frames than there were.
        timeout_seconds: limit for all of it, looked at between packets.

    Raises:
        DataError: the copy cannot be written.
        InstallError: PyAV comes without an H.264 encoder.
    """
    clock = Clock(request.path, timeout_seconds)
    try:
        check_file(request.path)
        source_bytes = os.path.getsize(request.path)
        with atomic_path(request.destination) as temporary:
            short_side = _write(request, temporary, clock)
            size = temporary.stat().st_size
            if size >= source_bytes and short_side <= SMALL * request.short_side:
                raise _NotWorthIt
        return Copied(request, size)
    except VideoError as error:
        return Copied(request, error=error)
    except _NotWorthIt:
        Path(request.destination).unlink(missing_ok=True)  # of a source that was another one then
        return Copied(request)
    except TvrkitError:
        raise
    except OSError as error:
        raise _cannot_write(request.destination, error) from None
    except Exception as error:  # a file made to break a reader must not end a run over thousands of files
        return Copied(request, error=unexpected(request.path, error))


def _write(request: CopyRequest, path: Path, clock: Clock) -> int:
    """Write the copy; the short side of the source in pixels."""
    with VideoFile(request.path, clock) as file:
        timeline = header_timeline(file)
    claimed_end = timeline.duration_seconds if timeline else None
    with VideoFile(request.path, clock) as file, _Mp4(path, request) as copy:
        for start, end, frame in _kept(file, request.fps, claimed_end):
            copy.add(start, end, frame)
    return copy.source_side


def _kept(file: VideoFile, fps: float, claimed_end: float | None) -> Iterator[tuple[float, float, Any]]:
    """The frames of the copy with the seconds between which it shows each."""
    thinner: Thinner[Any] = Thinner(fps)
    held: tuple[float, Any] | None = None
    end = newest = -math.inf
    for when, frame in file.frames():
        kept = thinner.push((when - file.origin) * file.tick, frame)
        if kept is not None:
            if held is not None:
                yield held[0], kept[0], held[1]
            held = kept
        newest = max(newest, file.newest_fed(sys.maxsize))
        end = max(end, when + (frame.duration or file.frame_ticks))
    newest = max(newest, file.newest_fed(sys.maxsize))
    if end == -math.inf:
        raise file.nothing()
    if newest >= end:  # packets out of which nothing can be decoded, but which the reader counts as well
        end = newest + file.frame_ticks
    end_seconds = (end - file.origin) * file.tick
    if claimed_end is not None and abs(claimed_end - end_seconds) <= 2 * file.frame_ticks * file.tick:
        end_seconds = claimed_end  # the reader's word for it, if the file does not end early
    last = thinner.finish(end_seconds)
    if last is not None:
        if held is not None:
            yield held[0], last[0], held[1]
        held = last
    assert held is not None  # of at least one frame the thinner keeps one
    yield held[0], end_seconds, held[1]


class _Mp4:
    """The copy while it is written.

    Attributes:
        source_side: short side of the source's frames in pixels, once there was one.
    """

    def __init__(self, path: Path, request: CopyRequest) -> None:
        self._request = request
        self._stream: Any = None
        self._size = (0, 0)
        self._durations: dict[int, int] = {}
        self.source_side = 0
        try:
            self._container = av.open(os.path.abspath(path), "w", format="mp4", options={"movflags": "+faststart"})
        except av.error.FFmpegError as error:
            raise self._failed(error) from None

    def __enter__(self) -> _Mp4:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(av.error.FFmpegError):
                self._container.close()
            return
        self._encode(None)
        try:
            self._container.close()
        except av.error.FFmpegError as error:
            raise self._failed(error) from None

    def add(self, start_seconds: float, end_seconds: float, frame: Any) -> None:
        """Append a frame of the source."""
        check_size(self._request.path, frame.width, frame.height)
        if self._stream is None:
            self._start(frame)
        try:
            # By way of RGB, as the reader sees it: the colours then do not depend on what the source says of its own.
            pixels = frame.reformat(*self._size, "rgb24", interpolation="BICUBIC").to_ndarray()
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(self._request.path, f"its pixels cannot be converted to RGB ({words(error)})") from None
        upright = np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))
        picture = av.VideoFrame.from_ndarray(upright, format="rgb24")
        picture.pts, picture.time_base = round(start_seconds / _TICK), _TICK
        self._durations[picture.pts] = max(1, round(end_seconds / _TICK) - picture.pts)
        self._encode(picture)

    def _start(self, frame: Any) -> None:
        self.source_side = min(frame.width, frame.height)
        scale = min(1.0, self._request.short_side / self.source_side)
        width, height = (max(2, round(side * scale) // 2 * 2) for side in (frame.width, frame.height))
        self._size = (width, height)
        turned = round(frame.rotation / 90) % 2
        try:
            self._stream = self._container.add_stream(
                "libx264", rate=Fraction(self._request.fps).limit_denominator(1001), options=dict(ENCODER)
            )
        except av.error.FFmpegError:
            raise InstallError(
                "PyAV comes without the encoder libx264 here: install PyAV's own wheel with"
                " `pip install --force-reinstall av`, or leave out --compress."
            ) from None
        self._stream.width, self._stream.height = (height, width) if turned else (width, height)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = _TICK

    def _encode(self, picture: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(picture):
                packet.duration = self._durations.pop(packet.pts)
                self._container.mux(packet)
        except av.error.FFmpegError as error:
            raise self._failed(error) from None

    def _failed(self, error: av.error.FFmpegError) -> TvrkitError:
        if isinstance(error, OSError):  # the file system's words: it will say the same of the next copy
            return _cannot_write(self._request.destination, error)
        return VideoError(self._request.path, f"its copy cannot be encoded ({words(error)})")


def _cannot_write(path: str, error: OSError) -> DataError:
    return DataError(
        f"cannot write {path} ({words(error)}): make room or choose another folder, and run the same command again."
    )

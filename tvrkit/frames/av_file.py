"""One video file opened with PyAV: its packets, its frames with their times, and a clock that limits all of it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from typing import Any

import av
import av.error
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from tvrkit.errors import VideoError
from tvrkit.frames.request import check_size, time_limit_error

_SECOND = 1_000_000  # the unit of a container's own times
# Up to 18 PyAV stumbles over titles that are no UTF-8 unless it is told otherwise; 19 took the argument away.
_METADATA = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}


class Clock:
    """Time limit for all that is done with one video."""

    def __init__(self, path: str, seconds: float) -> None:
        self.path = path
        self.seconds = seconds
        self.restart()

    @property
    def spent(self) -> float:
        """Part of the time that is over, 0 to 1 and more."""
        return 1 - (self._end - time.monotonic()) / self.seconds

    def restart(self) -> None:
        """Begin anew: another piece of the same video."""
        self._end = time.monotonic() + self.seconds

    def check(self) -> None:
        """Raise VideoTimeoutError once the time is over."""
        if time.monotonic() > self._end:
            raise time_limit_error(self.path, self.seconds)


class VideoFile:
    """The first picture stream of an open file. Times are in ticks of the stream until someone needs seconds.

    Attributes:
        skip_before: frames before this time (ticks) that no other frame refers to need not be decoded.
        fed: times of the packets given to the decoder since `newest_fed` was asked.
        damaged: packets that could not be decoded.
    """

    def __init__(self, path: str, clock: Clock) -> None:
        self.path = path
        self.clock = clock
        self.skip_before = -math.inf
        self.fed: list[int] = []
        self.damaged = 0
        self._scaler = VideoReformatter()  # a frame's own one would be set up anew for each
        self.container = open_container(path, clock)
        try:
            self.stream = self._picture_stream()
        except BaseException:
            self.container.close()
            raise
        self._forget_times()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def _picture_stream(self) -> Any:
        streams = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise VideoError(self.path, "has no video stream")
        stream = streams[0]
        if stream.codec_context is None:
            raise VideoError(self.path, "its codec is not known to PyAV")
        check_size(self.path, stream.codec_context.width, stream.codec_context.height)
        # Many videos are read at once, one process each; threads inside of one would be in each other's way.
        stream.codec_context.thread_count = 1
        return stream

    @property
    def tick(self) -> float:
        """Seconds in a tick."""
        return float(self.stream.time_base or 0) or 1 / _SECOND

    @property
    def frame_ticks(self) -> int:
        """Duration of a frame at the average rate, at least 1."""
        rate = float(self.stream.average_rate or self.stream.guessed_rate or 0)
        seconds = 1 / rate if 0.01 <= rate <= 1000 else 0.04
        return max(1, round(seconds / self.tick))

    @property
    def origin(self) -> int:
        """Time zero of the file, as players and the ffmpeg command count: where its first stream starts."""
        if self.container.start_time is not None:
            return round(self.container.start_time / _SECOND / self.tick)
        return int(self.stream.start_time or 0)

    def seek(self, ticks: int) -> bool:
        """Go to a keyframe that is not after `ticks`; False where the container cannot."""
        self._forget_times()
        try:
            self.container.seek(ticks, stream=self.stream, backward=True)
        except (av.error.FFmpegError, OSError, ValueError, OverflowError):
            return False
        return True

    def packets(self) -> Iterator[Any]:
        """Packets from here to the end, or to where the file is broken off; the last may be an empty one."""
        try:
            for packet in self.container.demux(self.stream):
                self.clock.check()
                yield packet
        except (av.error.FFmpegError, OSError, IndexError):  # IndexError: damage that looks like one more stream
            self.damaged += 1

    def frames(self) -> Iterator[tuple[int, Any]]:
        """(time in ticks, frame) from here to the end, in order of time; damaged packets are passed over."""
        context = self.stream.codec_context
        for packet in self.packets():
            when = packet.pts
            if when is not None and not packet.is_discard:
                self.fed.append(when)
            context.skip_frame = "NONREF" if when is not None and when < self.skip_before else "DEFAULT"
            yield from self._decoded(packet)
        yield from self._decoded(None)  # what the decoder still holds when the file was broken off

    def _decoded(self, packet: Any) -> Iterator[tuple[int, Any]]:
        try:
            frames = self.stream.codec_context.decode(packet)
        except EOFError:  # it was emptied before
            return
        except (av.error.FFmpegError, OSError, ValueError):
            self.damaged += 1
            return
        for frame in frames:
            yield self._time_of(frame), frame

    def newest_fed(self, ticks: int) -> float:
        """Time of the newest packet given to the decoder that is not after `ticks`; -inf when there is none."""
        newest = max((when for when in self.fed if when <= ticks), default=-math.inf)
        self.fed = [when for when in self.fed if when > ticks]
        return newest

    def nothing(self) -> VideoError:
        """The error of a file in which no frame was found."""
        damaged = f" ({self.damaged} damaged packets)" if self.damaged else ""
        return VideoError(self.path, f"no frame could be decoded{damaged}")

    def _forget_times(self) -> None:
        self.fed = []
        self._last_pts = self._last_dts = -math.inf
        self._bad_pts = self._bad_dts = 0
        self._last: int | None = None

    def _time_of(self, frame: Any) -> int:
        """Its presentation time; its decoding time where those come out of order more rarely (AVI), as ffmpeg does."""
        pts, dts = frame.pts, frame.dts
        if dts is not None:
            self._bad_dts += dts <= self._last_dts
            self._last_dts = dts
        if pts is not None:
            self._bad_pts += pts <= self._last_pts
            self._last_pts = pts
        when = pts if pts is not None and (dts is None or self._bad_pts <= self._bad_dts) else dts
        if when is None:
            when = self.origin if self._last is None else self._last + self.frame_ticks
        self._last = int(when)
        return self._last

    def upright_rgb(self, frame: Any) -> np.ndarray:
        """A frame as it is to be shown, (H, W, 3) uint8."""
        check_size(self.path, frame.width, frame.height)
        try:
            pixels = self._scaler.reformat(frame, format="rgb24").to_ndarray()
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(self.path, f"its pixels cannot be converted to RGB ({words(error)})") from None
        # FFmpeg gives degrees counter-clockwise, and so does numpy turn.
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


def open_container(path: str, clock: Clock) -> Any:
    """A file opened with PyAV, to be closed.

    Raises:
        VideoError: FFmpeg does not know what it is.
    """
    try:
        # FFmpeg never takes an absolute path for an address or a pattern; and nothing but files is to be opened.
        return av.open(
            os.path.abspath(path),
            options={"protocol_whitelist": "file"},
            timeout=(clock.seconds, clock.seconds),
            **_METADATA,
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(path, f"cannot be opened as a video ({words(error)})") from None


def words(error: BaseException) -> str:
    """What FFmpeg or the system says, in one line."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

"""A span of a video encoded anew, so that any browser plays it: H.264 and AAC in mp4, upright, from the exact start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from tvrkit.errors import InstallError, VideoError
from tvrkit.frames.av_file import Clock, VideoFile, words
from tvrkit.frames.av_reader import claimed_timeline
from tvrkit.frames.clip_request import ClipRequest
from tvrkit.frames.request import check_size
from tvrkit.frames.sound import RATE, has_sound, read_sound
from tvrkit.frames.timeline import Timeline

_TICK = Fraction(1, 90_000)

# A preview is watched once or twice: made quickly rather than small. A keyframe each second or two for the slider.
_ENCODER = {"crf": "23", "preset": "veryfast", "g": "48"}
_AAC_SAMPLES = 1024
_AAC_BITS = 128_000

Timed = tuple[float, Any]


def encode_clip(request: ClipRequest, out: Path, clock: Clock) -> float:
    """Write the clip; when it ends, in seconds of the video.

    Raises:
        VideoError: no frame of the span could be read, or it begins after the end.
        InstallError: PyAV comes without an encoder.
        OSError: the clip cannot be written.
    """
    timeline = claimed_timeline(request.path, clock)
    sounds = has_sound(request.path, clock)
    with av.open(os.path.abspath(out), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        picture = _Picture(container, request)
        # All streams are added before the first packet: the picture's when its size is known.
        frames = _span_frames(request, timeline, clock)
        first = next(frames, None)
        if first is None:
            raise VideoError(request.path, f"no frame could be read from {request.start_seconds:g} s on")
        picture.begin(first[2])
        packets = [picture.packets(_with_first(first, frames))]
        if sounds:
            packets.append(_sound_packets(container, request, clock))
        for _, packet in merge(*packets, key=lambda timed: timed[0]):
            container.mux(packet)
    return picture.end_seconds


def _span_frames(request: ClipRequest, timeline: Timeline, clock: Clock) -> Iterator[tuple[float, float, Any]]:
    """Frames of the span with the seconds of the clip between which each is shown; the first starts at 0."""
    start, end = request.start_seconds, min(request.end_seconds, timeline.duration_seconds)
    for trusting in (True, False):
        with VideoFile(request.path, clock) as file:
            if trusting:
                keyframe = timeline.keyframe_before(timeline.ticks(np.array([start]))[0])
                if keyframe is None or not file.seek(keyframe):
                    continue
            held: tuple[float, Any] | None = None
            for when, frame in file.frames():
                file.fed.clear()
                seconds = (when - file.origin) * file.tick
                if held is None and trusting and seconds > start:
                    break  # the seek landed late
                if held is not None and seconds > start:
                    if seconds <= held[0]:
                        continue
                    yield max(held[0] - start, 0.0), min(seconds, end) - start, held[1]
                if seconds >= end:
                    return
                held = (seconds, frame)
            else:
                if held is not None:
                    last = held[0] + (held[1].duration or file.frame_ticks) * file.tick
                    if last > start:
                        yield max(held[0] - start, 0.0), min(last, end) - start, held[1]
                    return


def _with_first(
    first: tuple[float, float, Any], rest: Iterator[tuple[float, float, Any]]
) -> Iterator[tuple[float, float, Any]]:
    yield first
    yield from rest


class _Picture:
    """The picture track of a clip while it is written.

    Attributes:
        end_seconds: where the last frame so far ends, in seconds of the video.
    """

    def __init__(self, container: Any, request: ClipRequest) -> None:
        self._container, self._request = container, request
        self._durations: dict[int, int] = {}
        self.end_seconds = request.start_seconds

    def begin(self, frame: Any) -> None:
        """Add the track, of the size of its first frame."""
        check_size(self._request.path, frame.width, frame.height)
        scale = min(1.0, (self._request.short_side or 10**9) / min(frame.width, frame.height))
        self._size = tuple(max(2, round(side * scale) // 2 * 2) for side in (frame.width, frame.height))
        turned = round(frame.rotation / 90) % 2
        self._stream = _stream(self._container, "libx264", rate=30, options=dict(_ENCODER))
        self._stream.width, self._stream.height = self._size[::-1] if turned else self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = _TICK

    def packets(self, frames: Iterator[tuple[float, float, Any]]) -> Iterator[Timed]:
        """Encoded frames, each with a time by which tracks are interleaved."""
        for start, end, frame in frames:
            picture = self._upright(frame)
            picture.pts, picture.time_base = round(start / _TICK), _TICK
            if picture.pts in self._durations:  # two frames in a hundred thousandth of a second
                continue
            self._durations[picture.pts] = max(1, round(end / _TICK) - picture.pts)
            self.end_seconds = self._request.start_seconds + end
            for packet in self._stream.encode(picture):
                yield start, self._timed(packet)
        for packet in self._stream.encode(None):
            yield self.end_seconds, self._timed(packet)

    def _timed(self, packet: Any) -> Any:
        packet.duration = self._durations.get(packet.pts, 1)
        return packet

    def _upright(self, frame: Any) -> av.VideoFrame:
        turns = round(frame.rotation / 90) % 4
        try:
            small = frame.reformat(*self._size, "rgb24" if turns else "yuv420p", interpolation="BICUBIC")
            if not turns:
                return small
            return av.VideoFrame.from_ndarray(np.ascontiguousarray(np.rot90(small.to_ndarray(), turns)), "rgb24")
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(self._request.path, f"its pixels cannot be converted ({words(error)})") from None


def _sound_packets(container: Any, request: ClipRequest, clock: Clock) -> Iterator[Timed]:
    stream = _stream(container, "aac", rate=RATE, layout="stereo")
    stream.codec_context.bit_rate = _AAC_BITS

    def packets() -> Iterator[Timed]:
        held, done = np.zeros((2, 0), np.float32), 0
        for piece in read_sound(request.path, request.start_seconds, request.end_seconds, clock):
            held = np.concatenate([held, piece], axis=1)
            while held.shape[1] >= _AAC_SAMPLES:
                yield from encoded(held[:, :_AAC_SAMPLES], done)
                held, done = held[:, _AAC_SAMPLES:], done + _AAC_SAMPLES
        if held.shape[1]:
            yield from encoded(held, done)
        for packet in stream.encode(None):
            yield done / RATE, packet

    def encoded(samples: np.ndarray, at: int) -> Iterator[Timed]:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
        for packet in stream.encode(frame):
            yield at / RATE, packet

    return packets()


def _stream(container: Any, codec: str, **settings: Any) -> Any:
    with suppress(av.error.FFmpegError):
        return container.add_stream(codec, **settings)
    raise InstallError(
        f"PyAV comes without the encoder {codec} here: install PyAV's own wheel with"
        " `pip install --force-reinstall av`."
    )

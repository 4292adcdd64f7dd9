"""A span of a video taken out as it is, from a keyframe on: nothing is decoded, and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from tvrkit.errors import VideoError
from tvrkit.frames.av_file import Clock, VideoFile, words
from tvrkit.frames.av_reader import claimed_timeline
from tvrkit.frames.clip_request import ClipRequest
from tvrkit.frames.timeline import Timeline

_PICTURES = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})
_SOUNDS = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})


class CannotCopyError(Exception):
    """Why a clip has to be encoded."""


def copy_clip(request: ClipRequest, out: Path, clock: Clock, early_seconds: float) -> tuple[float, float]:
    """Write the clip; when it starts and ends, in seconds of the video.

    Args:
        request: which span of which video.
        out: where to.
        clock: time limit.
        early_seconds: by how much it may start before the time that was asked for.

    Raises:
        CannotCopyError: what there is does not fit in mp4, or no keyframe is near enough.
        VideoError: the video cannot be read.
        OSError: the clip cannot be written.
    """
    timeline = claimed_timeline(request.path, clock)
    with VideoFile(request.path, clock) as file:
        rotation = _check(file)
        keyframe = _keyframe(file, timeline, request, early_seconds)
        try:
            with av.open(os.path.abspath(out), "w", format="mp4", options={"movflags": "+faststart"}) as copy:
                end = _copy(file, copy, keyframe, request, rotation)
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):
                raise
            raise CannotCopyError(f"what it holds cannot be put into mp4 ({words(error)})") from None
        start = (keyframe - file.origin) * file.tick
    _check_copy(out, clock)
    return max(start, 0.0), end


def _check(file: VideoFile) -> int:
    """Degrees by which the picture is turned to be shown.

    Raises:
        CannotCopyError: it does not fit in mp4.
    """
    name, codec = file.container.format.name, file.stream.codec_context.codec.canonical_name
    if codec not in _PICTURES or name == "avi":  # the packets of an AVI have no times
        raise CannotCopyError(f"{codec} of {name} does not fit in mp4")
    _, frame = next(file.frames(), (0, None))
    if frame is None:
        raise file.nothing()
    return round(frame.rotation / 90) % 4 * 90


def _keyframe(file: VideoFile, timeline: Timeline, request: ClipRequest, early_seconds: float) -> int:
    """Ticks of the keyframe from which on to copy; the file stands there."""
    wanted = timeline.ticks(np.array([request.start_seconds]))[0]
    for known in reversed([file.origin, *(when for when in timeline.keyframes if when <= wanted)][-4:]):
        if not file.seek(known):
            continue
        first = next((packet for packet in file.packets() if packet.is_keyframe and packet.pts is not None), None)
        if first is not None and first.pts <= wanted:
            early = (wanted - first.pts) * file.tick
            if early > early_seconds:
                raise CannotCopyError(f"the keyframe before {request.start_seconds:g} s is {early:.1f} s away")
            file.seek(known)
            return int(first.pts)
    raise CannotCopyError(f"no keyframe is found before {request.start_seconds:g} s")


def _copy(file: VideoFile, copy: Any, keyframe: int, request: ClipRequest, rotation: int) -> float:
    """Mux what lies in the span; where its picture ends."""
    sound = next((s for s in file.container.streams.audio if s.codec_context is not None), None)
    if sound is not None and sound.codec_context.codec.canonical_name not in _SOUNDS:
        raise CannotCopyError(f"{sound.codec_context.codec.canonical_name} does not fit in mp4")
    tracks = {file.stream.index: copy.add_stream_from_template(file.stream)}
    if rotation and not hasattr(tracks[file.stream.index], "set_display_rotation"):  # PyAV before 18
        raise CannotCopyError("this PyAV cannot say that the picture is turned")
    if rotation:
        tracks[file.stream.index].set_display_rotation(rotation)
    if sound is not None:
        tracks[sound.index] = copy.add_stream_from_template(sound)
    zero = keyframe * file.tick
    end = request.end_seconds + file.origin * file.tick
    last = zero
    for packet in _span(file, sound, zero, end):
        if packet.stream is file.stream:
            last = max(last, packet.pts * file.tick + (packet.duration or file.frame_ticks) * file.tick)
        shift = round(zero / float(packet.time_base))
        packet.pts -= shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = tracks[packet.stream.index]
        copy.mux(packet)
    return last - file.origin * file.tick


def _span(file: VideoFile, sound: Any, zero: float, end: float) -> Iterator[Any]:
    """Packets of both tracks between two times, seconds of the container."""
    tracks = [file.stream] if sound is None else [file.stream, sound]
    over: set[int] = set()
    try:
        for packet in file.container.demux(tracks):
            file.clock.check()
            if packet.pts is None or not packet.size or packet.is_discard:
                continue
            tick = float(packet.time_base)
            if (packet.pts if packet.dts is None else packet.dts) * tick >= end:
                over.add(packet.stream.index)
                if len(over) == len(tracks) or packet.stream is file.stream:
                    return
            elif packet.pts * tick >= zero - 1e-6:  # frames before it may need some that are not there
                yield packet
    except VideoError:
        raise
    except (av.error.FFmpegError, OSError, IndexError) as error:
        if isinstance(error, OSError) and error.filename != file.container.name:
            raise
        return  # the video is broken off here


def _check_copy(out: Path, clock: Clock) -> None:
    """A copy is worth nothing if its first frame cannot be decoded."""
    with VideoFile(str(out), clock) as copy:
        if next(copy.frames(), None) is None:
            raise CannotCopyError("a copy of it cannot be decoded")

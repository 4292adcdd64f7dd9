"""Frames of one video, now: for a pool of processes that reads many, see `tvrkit.frames.pool`."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import replace

from tvrkit.errors import InstallError, VideoError, VideoTimeoutError
from tvrkit.frames import av_reader
from tvrkit.frames.child import Child
from tvrkit.frames.decode import decode, second_reader_note, transformed
from tvrkit.frames.preprocess import Transform
from tvrkit.frames.request import (
    Decoded,
    FrameBatch,
    FrameRequest,
    VideoInfo,
    check_file,
    check_settings,
)

__all__ = ["FrameBatch", "FrameRequest", "VideoInfo", "decode_here", "probe", "read_frames"]

log = logging.getLogger("tvrkit.frames")


def read_frames(request: FrameRequest, reader: str = "auto", timeout_seconds: float = 60.0) -> FrameBatch:
    """Sample frames of one video.

    Args:
        request: which frames of which file.
        reader: `av` (PyAV, in this process), `decord` (in a process that can be killed), or `auto`: PyAV, and decord
            where PyAV finds no frame; a line in the log then says so.
        timeout_seconds: limit for the video.

    Raises:
        VideoError: no frame could be read; it has the path and the reason.
        VideoTimeoutError: the limit was passed, or the decoder crashed.
        ConfigError: the reader or the sampling does not exist.
        InstallError: decord was asked for and is not installed.
    """
    decoded = decode_here(request, reader, timeout_seconds)
    if decoded.error is not None:
        raise decoded.error
    if decoded.note:
        log.warning(decoded.note)
    assert decoded.frames is not None and decoded.pts_seconds is not None
    return FrameBatch(decoded.frames, decoded.pts_seconds, decoded.duration_seconds or 0.0)


def probe(path: str, timeout_seconds: float = 60.0) -> VideoInfo:
    """What a file says of itself, after one of its frames was decoded.

    Raises:
        VideoError: no frame could be read; it has the path and the reason.
        VideoTimeoutError: the limit was passed.
    """
    check_file(path)
    try:
        return av_reader.probe(path, timeout_seconds)
    except VideoTimeoutError:
        raise
    except VideoError as error:
        second = _second_reader(FrameRequest(path, num_frames=1, with_info=True), timeout_seconds, error)
        if second.info is None:
            raise error from None
        return second.info


def decode_here(
    request: FrameRequest, reader: str, timeout_seconds: float, transform: Transform | None = None
) -> Decoded:
    """As `tvrkit.frames.decode.decode`, with PyAV in this process and decord in one of its own.

    Raises:
        ConfigError: the reader or the sampling does not exist.
        InstallError: decord was asked for and is not installed.
    """
    check_settings(reader, timeout_seconds)
    if reader == "decord":
        return transformed(_in_child(request, timeout_seconds), transform)
    start = time.monotonic()
    first = decode(request, "av", timeout_seconds, transform)
    if reader == "av" or first.error is None or isinstance(first.error, VideoTimeoutError):
        return first
    left = timeout_seconds - (time.monotonic() - start)
    return transformed(_second_reader(request, left, first.error), transform)


def _second_reader(request: FrameRequest, timeout_seconds: float, error: VideoError) -> Decoded:
    """What decord makes of it; where it does no better, PyAV's error, for PyAV knows more of what can be wrong."""
    if timeout_seconds <= 0:
        return Decoded(request, error=error)
    try:
        second = _in_child(request, timeout_seconds)
    except InstallError:
        return Decoded(request, error=error)
    if second.error is not None:
        return Decoded(request, error=error)
    return replace(second, note=second_reader_note(error))


def _in_child(request: FrameRequest, timeout_seconds: float) -> Decoded:
    try:
        check_file(request.path)
    except VideoError as error:
        return Decoded(request, error=error)
    with closing(Child()) as child:
        return child.decode(request, "decord", timeout_seconds)

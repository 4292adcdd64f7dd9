"""The sound of a span of a video, as one stretch of samples without gaps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import av.error
import numpy as np

from tvrkit.errors import VideoError
from tvrkit.frames.av_file import Clock, open_container

RATE = 48_000
_CHANNELS = 2

# Times of audio frames are rounded, and resampling delays a little; what is further off is a gap.
_GAP_SECONDS = 0.1

# A decoder needs some sound before the wanted one to get going.
_RUN_UP_SECONDS = 0.5


def has_sound(path: str, clock: Clock) -> bool:
    """Whether a file has a sound track that can be decoded, by its header."""
    with open_container(path, clock) as container:
        return _track(container) is not None


def read_sound(path: str, start_seconds: float, end_seconds: float, clock: Clock) -> Iterator[np.ndarray]:
    """Samples (2, n) float32 of a span, piece by piece; silence where the track has a gap.

    They end where the track does. Damaged packets are passed over.

    Raises:
        VideoError: the file cannot be opened, or its time limit was passed.
    """
    with open_container(path, clock) as container:
        stream = _track(container)
        if stream is None:
            return
        origin = (container.start_time or 0) / 1e6
        if start_seconds > _RUN_UP_SECONDS:
            _seek(container, origin + start_seconds - _RUN_UP_SECONDS)
        written, wanted = 0, round((end_seconds - start_seconds) * RATE)
        resampler = av.AudioResampler("fltp", "stereo", RATE)
        for frame in _frames(container, stream, clock):
            seconds = frame.time if frame.time is not None else start_seconds + origin + written / RATE
            at = round((seconds - origin - start_seconds) * RATE)
            if at >= wanted:
                break
            for piece in _resampled(resampler, frame):
                late, length = at - written, piece.shape[1]
                at += length
                if late > _GAP_SECONDS * RATE:
                    piece = np.concatenate([np.zeros((_CHANNELS, late), np.float32), piece], axis=1)
                elif late < (-_GAP_SECONDS * RATE if written else 0):  # before the span, or heard already
                    piece = piece[:, -late:]
                piece = piece[:, : wanted - written]
                if piece.shape[1]:
                    written += piece.shape[1]
                    yield piece


def _track(container: Any) -> Any:
    tracks = [stream for stream in container.streams.audio if stream.codec_context is not None]
    return tracks[0] if tracks else None


def _seek(container: Any, seconds: float) -> None:
    try:
        container.seek(round(seconds * 1e6), backward=True)
    except (av.error.FFmpegError, OSError, ValueError, OverflowError):
        pass  # it is read from the start on


def _frames(container: Any, stream: Any, clock: Clock) -> Iterator[Any]:
    try:
        for packet in container.demux(stream):
            clock.check()
            try:
                yield from stream.codec_context.decode(packet)
            except (av.error.FFmpegError, ValueError, EOFError):
                continue
    except VideoError:
        raise
    except (av.error.FFmpegError, OSError, IndexError):  # broken off here
        return


def _resampled(resampler: Any, frame: Any) -> Iterator[np.ndarray]:
    frame.pts = None  # where it belongs is known; the resampler must not fill gaps of its own
    try:
        for piece in resampler.resample(frame):
            yield piece.to_ndarray()
    except (av.error.FFmpegError, ValueError):  # its layout changed on the way
        return

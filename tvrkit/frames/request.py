"""What is asked of a video, and what comes back."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvrkit.errors import ConfigError, VideoError, VideoTimeoutError

if TYPE_CHECKING:
    import numpy as np

READERS = ("auto", "av", "decord")

# Twice an 8K frame. A header can claim any size, and one RGB frame of this size already takes 200 MB.
MAX_PIXELS = 1 << 26


@dataclass(frozen=True)
class FrameRequest:
    """Which frames of which file.

    Attributes:
        path: the video file.
        num_frames: how many frames at most, >= 1.
        sampling: `uniform`, `head` or `random`, see `tvrkit.frames.sampling`.
        start_seconds: start of the span that is sampled; None is the start of the file.
        end_seconds: its end; None, or later than the file's end, is the end of the file.
        seed: decides what `random` draws.
        with_info: whether to say what the file says of itself as well (`Decoded.info`); a container that does not
            count its frames is then gone through once more, without being decoded.
    """

    path: str
    num_frames: int = 12
    sampling: str = "uniform"
    start_seconds: float | None = None
    end_seconds: float | None = None
    seed: int = 0
    with_info: bool = False


@dataclass(frozen=True)
class FrameBatch:
    """Sampled frames of one video, in order of time.

    Attributes:
        data: (F, H, W, 3) uint8 RGB, upright. 1 <= F <= num_frames: a frame is never given twice, so there are
            fewer where several of the timestamps fall on one frame.
        pts_seconds: (F,) float64, presentation time of each frame, seconds from the start of the file.
        duration_seconds: of the whole file's picture, not of the span.
    """

    data: np.ndarray
    pts_seconds: np.ndarray
    duration_seconds: float

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or self.data.shape[3] != 3 or not len(self.data):
            raise ValueError(f"data must have shape (F, H, W, 3) with F >= 1, got {self.data.shape}")
        if self.pts_seconds.shape != self.data.shape[:1]:
            raise ValueError(f"pts_seconds must have shape {self.data.shape[:1]}, got {self.pts_seconds.shape}")

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself, checked by decoding one frame.

    Attributes:
        duration_seconds: of the picture, from the start of the file.
        frames: how many there are, by the container's index or its packets; None where there was no time to count.
        width: of a frame as it is shown (after rotation), pixels.
        height: likewise.
        fps: average frame rate; 0 where the container gives none.
        codec: FFmpeg's name of it, such as `h264`.
        rotation: degrees counter-clockwise by which the stored frame is turned to be shown: 0, 90, 180 or 270.
    """

    duration_seconds: float
    frames: int | None
    width: int
    height: int
    fps: float
    codec: str
    rotation: int


@dataclass(frozen=True)
class Decoded:
    """What became of one request in a pool: frames, or the error that says why there are none.

    Attributes:
        request: what was asked.
        frames: transformed and stacked, (F, 3, H, W) float32 for open_clip's transforms and uint8 for their first part;
            without a transform (F, H, W, 3) uint8 RGB. None after an error.
        pts_seconds: (F,) float64, None after an error.
        duration_seconds: of the whole file, None after an error.
        error: why there are no frames, else None.
        note: what a user may want to know, such as that the second reader was needed.
        info: what the file says of itself, where the request asks for it and there is no error.
    """

    request: FrameRequest
    frames: np.ndarray | None = None
    pts_seconds: np.ndarray | None = None
    duration_seconds: float | None = None
    error: VideoError | None = None
    note: str | None = None
    info: VideoInfo | None = None


@dataclass(frozen=True)
class CopyRequest:
    """A small copy that is to be made of a video, see `tvrkit.frames.transcode`.

    Attributes:
        path: the video file.
        destination: where the copy is to lie; an mp4 file.
        fps: frames a second that it has at most, > 0.
        short_side: pixels that the shorter side of its frames has at most, >= 2.
    """

    path: str
    destination: str
    fps: float = 3.0
    short_side: int = 224


@dataclass(frozen=True)
class Copied:
    """What became of one `CopyRequest`.

    Attributes:
        request: what was asked.
        size_bytes: of the copy; None where none was made.
        error: why none could be made; None as well where none was worth making.
    """

    request: CopyRequest
    size_bytes: int | None = None
    error: VideoError | None = None


def check_settings(reader: str, timeout_seconds: float) -> None:
    """Refuse a reader that does not exist and a time limit that is none.

    Raises:
        ConfigError: with what there is.
    """
    if reader not in READERS:
        raise ConfigError(f"reader must be one of {', '.join(READERS)}, not {reader!r}.")
    if not 0 < timeout_seconds <= 1e6:
        raise ConfigError(f"timeout_seconds must be above 0 and at most a million, not {timeout_seconds}.")


def check_file(path: str) -> None:
    """Refuse what no decoder should be given: what is not there, is no plain file, or is empty.

    Opening a pipe or a device can block for ever, and a name that FFmpeg takes for an address would be fetched.

    Raises:
        VideoError: with the reason.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(path, f"cannot be opened ({reason})") from None
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(path, "is not a plain file")
    if not status.st_size:
        raise VideoError(path, "is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise VideoError(path, "cannot be opened (no permission to read it)")


def check_size(path: str, width: int, height: int) -> None:
    """Refuse frames that would not fit in memory.

    Raises:
        VideoError: a frame has more than `MAX_PIXELS` pixels.
    """
    if width * height > MAX_PIXELS:
        raise VideoError(path, f"its frames of {width} x {height} pixels are too large to be read")


def time_limit_error(path: str, seconds: float) -> VideoTimeoutError:
    """The error of a video that was not read in time."""
    return VideoTimeoutError(path, f"could not be read within {seconds:g} s")


def unexpected(path: str, error: Exception) -> VideoError:
    """The error of a video that a reader stumbled over in a way that nobody thought of."""
    return VideoError(path, f"could not be read ({type(error).__name__}: {error})")

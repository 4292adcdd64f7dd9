"""decord's way of reading sampled frames.

decord 0.6 can hang for minutes inside a call and does not hear Ctrl-C: call this only in a process that can be
killed, which is what `tvrkit.frames.reader` and `tvrkit.frames.pool` do. It has one thread here, for some files
(VP9) cannot be opened with more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tvrkit.errors import InstallError, VideoError
from tvrkit.frames.av_reader import Sampled, Wanted
from tvrkit.frames.request import VideoInfo, check_size

Image = TypeVar("Image")

# Where decord knows no time of a frame it gives an absurd one.
_LONGEST_SECONDS = 1e7


def import_decord() -> Any:
    """The decord module, silenced.

    Raises:
        InstallError: it is not installed, or does not load.
    """
    try:
        import decord
    except (ImportError, OSError, RuntimeError) as error:
        raise InstallError(
            f"the reader decord cannot be loaded ({error}): run `pip install decord` (it has wheels for Linux and"
            " Windows on x86-64 only), or read with `--reader av`."
        ) from None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def read(wanted: Wanted, convert: Callable[[np.ndarray], Image]) -> Sampled[Image]:
    """Sample frames of a file, each the one on the screen at its time, and convert them one by one.

    Times are counted from the first frame, not from the start of a sound track that begins before it.

    Raises:
        VideoError: no frame could be read, with the reason.
        InstallError: decord cannot be loaded.
    """
    decord = import_decord()
    try:
        video = decord.VideoReader(os.path.abspath(wanted.path), ctx=decord.cpu(0), num_threads=1)
        starts, duration = _times(video)
        if not len(starts):
            raise VideoError(wanted.path, "decord finds no frame in it")
        targets = wanted.pick(duration)
        at = (np.searchsorted(starts, targets + 1e-6, side="right") - 1).clip(0)
        rows, shown = np.unique(at, return_inverse=True)
        images = []
        for row in rows:
            pixels = video[int(row)].asnumpy()
            check_size(wanted.path, pixels.shape[1], pixels.shape[0])
            images.append(convert(pixels))
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        raise VideoError(wanted.path, f"decord cannot read it ({_words(error)})") from None
    return Sampled(images, starts[rows], shown, duration, _info(video, pixels, duration) if wanted.with_info else None)


def _info(video: Any, pixels: np.ndarray, duration: float) -> VideoInfo:
    # What decord does not tell is left open: the codec, and whether the pictures were turned.
    fps = float(video.get_avg_fps())
    height, width = pixels.shape[:2]
    return VideoInfo(duration, len(video), width, height, fps if 0 < fps < 1000 else 0.0, "unknown", 0)


def _times(video: Any) -> tuple[np.ndarray, float]:
    """When each frame starts, ascending from 0, and when the last one ends; seconds."""
    fps = float(video.get_avg_fps())
    frame_seconds = 1 / fps if 0 < fps < 1000 else 0.04
    spans = np.asarray(video.get_frame_timestamp(range(len(video))), dtype=np.float64).reshape(-1, 2)
    if not len(spans) or np.abs(spans).max() > _LONGEST_SECONDS:  # a frame of an AVI often has no time
        starts = np.arange(len(video)) * frame_seconds
        return starts, len(video) * frame_seconds
    starts = np.maximum.accumulate(spans[:, 0] - spans[0, 0])
    return starts, max(float(spans[:, 1].max() - spans[0, 0]), starts[-1] + 1e-3)


def _words(error: Exception) -> str:
    # decord puts a time, a source line and a stack trace around its sentence.
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^.*\.cc:\d+: ", "", lines[0])[:200]

"""A span of a video as a small video of its own, made by a process that can be killed."""

from __future__ import annotations

import glob
from contextlib import closing
from pathlib import Path

from tvrkit.errors import VideoTimeoutError
from tvrkit.frames.child import Child
from tvrkit.frames.clip_request import ClipRequest, Cut
from tvrkit.frames.request import check_settings

__all__ = ["Cut", "cut_clip"]


def cut_clip(
    path: str | Path,
    start_seconds: float,
    end_seconds: float,
    out: str | Path,
    *,
    mode: str = "auto",
    short_side: int | None = None,
    timeout_seconds: float = 60.0,
) -> Cut:
    """Write a span of a video as an mp4 file, with its sound; it appears whole or not at all.

    Args:
        path: the video.
        start_seconds: where the clip starts, >= 0.
        end_seconds: where it ends; the end of the video where that is earlier.
        out: the file to be written.
        mode: `copy` takes the video's own data, from the keyframe before the start on. `encode` makes what any browser
            plays, from the exact start on. `auto` copies where that starts no more than half a second early.
        short_side: pixels that the shorter side of an encoded clip has at most.
        timeout_seconds: limit for all of it.

    Raises:
        VideoError: the video cannot be read there, or with `copy` does not fit in an mp4 file.
        VideoTimeoutError: the limit was passed, or the decoder crashed.
        DataError: the clip cannot be written.
        ConfigError: a span or a mode that makes no sense.
        InstallError: PyAV comes without an encoder.
    """
    check_settings("av", timeout_seconds)
    request = ClipRequest(str(path), str(out), start_seconds, end_seconds, mode, short_side)
    try:
        with closing(Child()) as child:
            return child.clip(request, timeout_seconds)
    except VideoTimeoutError:  # killed in the middle of writing, perhaps
        destination = Path(out)
        for left in destination.parent.glob(f".{glob.escape(destination.name)}.*.tmp"):
            left.unlink(missing_ok=True)
        raise

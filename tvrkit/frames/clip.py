"""One clip, made in this process; see `tvrkit.frames.cutting` for what a user calls."""

from __future__ import annotations

import math

from tvrkit.errors import DataError, TvrkitError, VideoError
from tvrkit.files import atomic_path
from tvrkit.frames.av_file import Clock, words
from tvrkit.frames.clip_copy import CannotCopyError, copy_clip
from tvrkit.frames.clip_encode import encode_clip
from tvrkit.frames.clip_request import ClipRequest, Cut
from tvrkit.frames.request import check_file, unexpected

# Nobody minds that a clip starts this much early.
_EARLY_SECONDS = 0.5


def make_clip(request: ClipRequest, timeout_seconds: float) -> Cut:
    """Write the clip that is asked for.

    Raises:
        VideoError: the video cannot be read there, or cannot be copied.
        DataError: the clip cannot be written.
        InstallError: PyAV comes without an encoder.
    """
    clock = Clock(request.path, timeout_seconds)
    try:
        check_file(request.path)
        with atomic_path(request.destination) as temporary:
            mode, start = request.mode, request.start_seconds
            if mode != "encode":
                try:
                    early = math.inf if mode == "copy" else _EARLY_SECONDS
                    start, end = copy_clip(request, temporary, clock, early)
                    mode = "copy"
                except CannotCopyError as error:
                    if mode == "copy":
                        raise VideoError(request.path, f"cannot be copied: {error}; encode the clip") from None
                    mode = "encode"
            if mode == "encode":
                end = encode_clip(request, temporary, clock)
            return Cut(start, end, temporary.stat().st_size, mode)
    except TvrkitError:
        raise
    except OSError as error:
        raise DataError(
            f"cannot write {request.destination} ({words(error)}): make room or choose another folder."
        ) from None
    except Exception as error:  # a file made to break a reader must not end more than its own clip
        raise unexpected(request.path, error) from None

"""Small copies of many videos at once, each made by a process that can be killed."""

from __future__ import annotations

import glob
from collections.abc import Generator, Sequence
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path

from tvrkit.errors import ConfigError, VideoTimeoutError
from tvrkit.frames.child import Child
from tvrkit.frames.children import Children
from tvrkit.frames.request import Copied, CopyRequest, check_settings
from tvrkit.frames.transcode import make_copy

# A video is decoded from end to end: a long one may take longer than one of which a few frames are read.
BYTES_PER_LIMIT = 20_000_000


def copy_videos(requests: Sequence[CopyRequest], workers: int, timeout_seconds: float) -> Generator[Copied, None, None]:
    """One `Copied` for each request, as they get ready; a bad video is one with `error` set, never an exception.

    Args:
        requests: what is to be copied where to.
        workers: how many processes; 0 copies in this one, where nothing can be killed.
        timeout_seconds: limit for one video, again for every `BYTES_PER_LIMIT` of it.

    Raises:
        DataError: a copy cannot be written (disk full, say); those that are finished stay.
        InstallError: the processes cannot start, or there is no encoder.
        ConfigError: a number of workers or a limit that makes no sense.
    """
    check_settings("av", timeout_seconds)
    if workers < 0:
        raise ConfigError(f"copying needs workers >= 0, not {workers}.")
    if workers == 0:
        for request in requests:
            yield make_copy(request, _limit(request, timeout_seconds))
        return
    children = Children(min(workers, len(requests) or 1))
    try:
        waiting = [children.submit(partial(_copy, request, timeout_seconds)) for request in requests]
        for future in as_completed(waiting):
            yield future.result()
    finally:
        children.close()


def _copy(request: CopyRequest, timeout_seconds: float, child: Child) -> Copied:
    copied = child.copy(request, _limit(request, timeout_seconds))
    if isinstance(copied.error, VideoTimeoutError):  # killed in the middle of writing, perhaps
        destination = Path(request.destination)
        for left in destination.parent.glob(f".{glob.escape(destination.name)}.*.tmp"):
            left.unlink(missing_ok=True)
    return copied


def _limit(request: CopyRequest, timeout_seconds: float) -> float:
    try:
        size = Path(request.path).stat().st_size
    except (OSError, ValueError):
        size = 0
    return timeout_seconds * (1 + size // BYTES_PER_LIMIT)

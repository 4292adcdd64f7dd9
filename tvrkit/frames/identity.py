"""Which video files there are, and how one is known again after it was renamed or changed."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from tvrkit.errors import DataError, VideoError

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()
)

# TypeScript has these two as well; an MPEG transport stream shows its sync byte "G" at once, or after a time code.
_SHARED_SUFFIXES = frozenset({".ts", ".mts"})

_SAMPLE_BYTES = 64 * 1024
_CHUNK_BYTES = 1 << 20

log = logging.getLogger("tvrkit.frames")


def file_identity(path: str | Path) -> str:
    """A short hex digest that stays the same when a file is moved, and changes when its content does.

    It covers the size, the time of the last change, and 64 KB at the head, the middle and the tail: a terabyte
    of video is known again in seconds. A copy has another time, and so another identity, unless the copy keeps it.

    Raises:
        VideoError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.blake2b(f"{status.st_size} {status.st_mtime_ns}".encode(), digest_size=16)
            for offset in (0, (status.st_size - _SAMPLE_BYTES) // 2, status.st_size - _SAMPLE_BYTES):
                file.seek(max(0, offset))
                digest.update(file.read(_SAMPLE_BYTES))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return digest.hexdigest()


def content_hash(path: str | Path) -> str:
    """A hex digest of all that is in a file, BLAKE2b of 128 bits: the same wherever and under whatever name it lies.

    Raises:
        VideoError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return digest.hexdigest()


def find_videos(folder_or_file: str | Path, on_closed: Callable[[str], None] | None = None) -> list[Path]:
    """Every video file under a folder, by suffix, sorted; a file is given back as it is.

    Hidden files and folders are passed over. Links to files are followed; links to folders are not, for they
    can lead in a circle. A folder that cannot be entered is named in a warning.

    Args:
        folder_or_file: where to look.
        on_closed: told each folder that cannot be entered.

    Raises:
        DataError: there is no such folder or file.
    """
    root = Path(folder_or_file)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise DataError(f"there is no folder or file {root}: give a folder of videos, or one video.")
    found = []

    def tell_closed(error: OSError) -> None:
        log.warning(f"{error.filename} cannot be entered ({error.strerror}): the videos in it are left out.")
        if on_closed:
            on_closed(error.filename)

    for folder, subfolders, names in os.walk(root, onerror=tell_closed):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            suffix = path.suffix.lower()
            if name.startswith(".") or suffix not in VIDEO_SUFFIXES:
                continue
            if suffix not in _SHARED_SUFFIXES or _is_transport_stream(path):
                found.append(path)
    return sorted(found)


def _unreadable(path: str | Path, error: Exception) -> VideoError:
    return VideoError(path, f"cannot be opened ({getattr(error, 'strerror', None) or error})")


def _is_transport_stream(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(5)
    except OSError:
        return True  # let the reader say what is wrong with it
    return head[:1] == b"G" or head[4:] == b"G"

"""Which videos lie somewhere now, and what tells each one's state without opening it. Imports no torch."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvrkit.errors import DataError
from tvrkit.frames.identity import find_videos
from tvrkit.index.ask import as_absolute
from tvrkit.index.remote import is_address, list_remote


@dataclass(frozen=True)
class Sighted:
    """A file that is there.

    Attributes:
        path: absolute, or its address.
        stamp: size, times and inode: another stamp means that it was touched. "" when it must not be opened.
        modified: time of the last change, seconds since 1970.
        size: bytes.
        identity: of its content, where a server tells it; else "".
        reason: why it must not be opened; else "".
    """

    path: str
    stamp: str
    modified: float
    size: int
    identity: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Found:
    """What lies at some places.

    Attributes:
        places: absolute.
        files: by path, in order.
        closed: folders that could not be entered: what lies there is neither seen nor gone.
        absent: those of `places` that are not there at all.
    """

    places: tuple[str, ...]
    files: dict[str, Sighted]
    closed: tuple[str, ...]
    absent: tuple[str, ...]


def find(places: Sequence[str]) -> Found:
    """Find the videos at some places, in all folders below.

    Args:
        places: folders, files, and addresses (s3://…).

    Raises:
        DataError: an address cannot be listed.
    """
    places = tuple(dict.fromkeys(map(as_absolute, places)))
    files: dict[str, Sighted] = {}
    closed: list[str] = []
    absent: list[str] = []
    for place in places:
        if is_address(place):
            files.update(_listed(place))
            continue
        try:
            found = find_videos(place, closed.append)
        except DataError:
            absent.append(place)
            continue
        files.update({str(path): sight(path) for path in found})
    return Found(places, dict(sorted(files.items())), tuple(closed), tuple(absent))


def sight(path: str | Path) -> Sighted:
    """A file's state, without opening it."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        return Sighted(str(path), "", 0.0, 0, reason=f"cannot be opened ({getattr(error, 'strerror', None) or error})")
    if not stat.S_ISREG(status.st_mode):
        return Sighted(str(path), "", 0.0, 0, reason="is not a plain file")  # opening a pipe can take for ever
    # The time of the last status change moves even when somebody sets the time of the last write back.
    stamp = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    return Sighted(str(path), stamp, status.st_mtime, status.st_size)


def is_below(path: str, place: str) -> bool:
    """Whether a path or address is a place, or lies below it."""
    separator = "/" if "://" in place else os.sep
    return path == place or path.startswith(place if place.endswith(separator) else place + separator)


def _listed(address: str) -> dict[str, Sighted]:
    return {
        file.path: Sighted(file.path, file.stamp, file.modified, 0, identity=file.identity)
        for file in list_remote(address)
    }

"""An archive that its owner cut into parts, read as one file without being joined on disk."""

from __future__ import annotations

import io
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from tvrkit.errors import DataError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")

# x.tar.partaa, x.tar.part-00, x.zip.001, x.tar.gz.aa; and x.part1.zip, x.part01.tar
_AFTER = re.compile(r"(?P<before>.+?)(?P<sign>\.part[-_.]?|[.])(?P<key>\d{1,5}|[a-z]{2,3})(?P<after>)", re.IGNORECASE)
_BEFORE = re.compile(r"(?P<before>.+?)(?P<sign>[._-]part[-_.]?)(?P<key>\d{1,5})(?P<after>\.[a-z.0-9]+)", re.IGNORECASE)


def parts_of(archive: Path) -> list[Path]:
    """The parts of an archive in their order, found beside the one named; itself where it is whole.

    Raises:
        DataError: a part before the last one found is missing, or the archive is of a kind that cannot be joined so.
    """
    split = _split(archive.name)
    if split is None:
        if archive.suffix.lower() == ".zip" and archive.with_suffix(".z01").exists():
            raise DataError(
                f"{archive} is the last part of a zip over several disks: make one file of them with"
                f" `zip -s 0 {archive.name} --out whole.zip`, and give that."
            )
        return [archive]
    before, sign, key, after = split
    beside = {
        other[2].lower(): archive.with_name(name)
        for name in os.listdir(archive.parent)
        if (other := _split(name)) and (other[0], other[1], other[3]) == (before, sign, after)
        if len(other[2]) == len(key) or (key.isdigit() and other[2].isdigit() and "0" not in (other[2][0], key[0]))
    }
    keys = sorted(beside, key=lambda k: int(k) if k.isdigit() else _number(k))
    numbers = [int(k) if k.isdigit() else _number(k) for k in keys]
    for expected, number in enumerate(numbers, start=1 if numbers[0] == 1 else 0):
        if number != expected:
            raise DataError(
                f"{archive.name}: a part before {beside[keys[expected - (numbers[0] == 1)]].name} is missing in"
                f" {archive.parent}; get all of them."
            )
    return [beside[k] for k in keys]


def whole_name(archive: Path) -> str:
    """The name that the archive had before it was cut: `x.tar` of `x.tar.partab`."""
    split = _split(archive.name)
    return archive.name if split is None else split[0] + split[3]


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive that can be unpacked, or of a part of one."""
    return name.lower().endswith(ARCHIVE_SUFFIXES) or _split(name) is not None


class Joined(io.RawIOBase):
    """Files one after another, as one that can be read and sought.

    Args:
        paths: the files.
        seen: told how far the reading is, in bytes from the start, whenever it is farther than ever.
    """

    def __init__(self, paths: Sequence[Path], seen: Callable[[int], None] | None = None) -> None:
        self._files = [path.open("rb", buffering=0) for path in paths]
        sizes = [path.stat().st_size for path in paths]
        self._starts = [0, *accumulate(sizes)]
        self._place = self._farthest = 0
        self._seen = seen

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return self._starts[-1]

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Bytes from the start."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As for any file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError("a place before the start of a file")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        """As for any file; never across the border of two parts."""
        if self._place >= self.size:
            return 0
        # The last part that starts here or before: empty parts in between have no byte to give.
        i = bisect_right(self._starts, self._place) - 1
        self._files[i].seek(self._place - self._starts[i])
        read = self._files[i].readinto(buffer) or 0
        self._place += read
        if self._place > self._farthest:
            self._farthest = self._place
            if self._seen is not None:
                self._seen(self._farthest)
        return read

    def close(self) -> None:
        """Close all of them."""
        for file in self._files:
            file.close()
        super().close()


def _split(name: str) -> tuple[str, str, str, str] | None:
    """What stands before a part's sign, the sign, its number or letters, and what stands behind."""
    if (found := _BEFORE.fullmatch(name)) and found["after"].lower() in ARCHIVE_SUFFIXES:
        return found["before"], found["sign"], found["key"], found["after"]
    if name.lower().endswith(ARCHIVE_SUFFIXES):
        return None
    found = _AFTER.fullmatch(name)
    if not found:
        return None
    # A bare ".001" or ".aa" is a part only of what is called an archive: clip.001 is a frame, perhaps.
    archive = found["before"].lower().endswith(ARCHIVE_SUFFIXES)
    return (found["before"], found["sign"], found["key"], "") if archive else None


def _number(letters: str) -> int:
    """aa, ab, …, az, ba as 0, 1, …, 25, 26."""
    value = 0
    for letter in letters.lower():
        value = value * 26 + ord(letter) - ord("a")
    return value

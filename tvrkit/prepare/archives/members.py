"""Where the members of an archive may be written, and writing them: whole or not at all, and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tvrkit.errors import DataError
from tvrkit.frames.identity import VIDEO_SUFFIXES
from tvrkit.prepare.archives.joined import is_archive
from tvrkit.prepare.downloads.room import Room
from tvrkit.prepare.downloads.sizes import in_words

MAX_MEMBERS = 5_000_000
_CHUNK = 1 << 20
_TEXT_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".pkl", ".pickle")
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def useful(name: str) -> bool:
    """Whether a member is a video or a file of annotations, by its suffix."""
    return name.lower().endswith((*VIDEO_SUFFIXES, *_TEXT_SUFFIXES))


def inside(name: str) -> str | None:
    """A member's name as a path below a folder, with `/`; None where it would lead out of it.

    Names come from anybody, and from Windows: a backslash is a separator, too.
    """
    name = name.replace("\\", "/")
    if name.startswith("/") or _DRIVE.match(name) or _CONTROL.search(name):
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if not parts or ".." in parts else "/".join(parts)


def readable_name(name: str) -> str:
    """A name that was no UTF-8, as the bytes' Latin-1 letters: two names stay two."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")
    return name


@dataclass
class Writer:
    """Writes the wanted members of one archive below a folder.

    Attributes:
        folder: where they go.
        temporary: name of the file, beside its target, in which a member comes into being.
        most: bytes that all of them may have.
        wanted: whether a member of that name is of use.
        resume: members that lie there with the right size are taken to be from an earlier run that was broken off.
        members: bytes of each wanted member that lies there, by name.
        left: names of files that nobody wanted.
        unsafe: names that lead out of the folder, links, devices.
        new: members that were written now.
    """

    folder: Path
    temporary: str
    most: int
    wanted: Callable[[str], bool]
    resume: bool
    members: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    unsafe: list[str] = field(default_factory=list)
    new: int = 0
    _looked_at: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._room = Room(self.folder)
        umask = os.umask(0)
        os.umask(umask)
        self._mode = 0o666 & ~umask

    @property
    def packed_inside(self) -> list[str]:
        """Archives in this archive that were left as they are."""
        return [name for name in self.left if is_archive(name)]

    def accepts(self, name: str, *, is_file: bool = True) -> str | None:
        """The path below the folder under which a member is to be written; None, and counted, where it is not to be.

        Raises:
            DataError: the archive has more members than any data set.
        """
        self._looked_at += 1
        if self._looked_at > MAX_MEMBERS:
            raise DataError(f"it has more than {MAX_MEMBERS:,} members")
        place = inside(readable_name(name))
        if place is None:
            self.unsafe.append(readable_name(name))
            return None
        last = place.rpartition("/")[2]
        # What macOS puts beside each file has the file's suffix and is none.
        if last.startswith("._") or place.startswith("__MACOSX/") or not self.wanted(place):
            if is_file:
                self.left.append(place)
            return None
        if not is_file:
            self.unsafe.append(place)
            return None
        return place

    def is_there(self, place: str, size: int) -> bool:
        """Whether an earlier run wrote that member."""
        path = self.folder / place
        return self.resume and path.is_file() and path.stat().st_size == size

    def expect(self, size: int) -> None:
        """Raise DataError where so many bytes in all are more than allowed."""
        if size > self.most:
            raise DataError(f"it unpacks to {in_words(size)}, and {in_words(self.most)} is the most allowed")

    def write(self, place: str, size: int, content: BinaryIO) -> None:
        """Write one member.

        Raises:
            EOFError: it has another size than announced.
            DataError: all members together have more bytes than allowed, or the disk no room.
            OSError: what the file system says.
        """
        in_all = self._bytes + size - self.members.get(place, 0)
        self.expect(in_all)
        if not self.is_there(place, size):
            self._room.check(size)
            path = self.folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(self.temporary)
            try:
                self._copy(content, temporary, size)
                temporary.chmod(self._mode)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            self.new += 1
        self.members[place] = size
        self._bytes = in_all

    def _copy(self, content: BinaryIO, path: Path, size: int) -> None:
        left = size
        with path.open("wb") as file:
            while data := content.read(_CHUNK):
                left -= len(data)
                if left < 0:
                    break
                file.write(data)
        if left:
            raise EOFError(f"a member of {size:,} bytes has {'more' if left < 0 else f'only {size - left:,}'}")

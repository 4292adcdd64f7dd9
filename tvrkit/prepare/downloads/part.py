"""The part of a file that has come so far: NAME.part, and beside it NAME.part.json that says of which state of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from tvrkit.errors import DataError
from tvrkit.files import sync_folder, write_json

_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)")
_UNSATISFIED = re.compile(r"bytes\s+\*/(\d+)")


@dataclass(frozen=True)
class Version:
    """Which state of a file a server sent: what it calls it, when it was changed, and how long it is.

    Attributes:
        etag: a strong one; a weak one says nothing about bytes and is left out.
        modified: Last-Modified, as it was sent.
        total: bytes of the whole file.
    """

    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], total: int | None) -> Version:
        """What an answer's headers say."""
        etag = headers.get("ETag")
        return cls(etag if etag and not etag.startswith("W/") else None, headers.get("Last-Modified"), total)

    @property
    def validator(self) -> str | None:
        """What If-Range may say: the rest is wanted only if the file is still this one."""
        return self.etag or self.modified

    def contradicts(self, later: Version) -> bool:
        """Whether an answer that sends a range says, or does not deny, that the file is another one by now."""
        if self.total is not None and later.total is not None and self.total != later.total:
            return True
        if self.etag is not None:
            return later.etag != self.etag
        return self.modified is not None and later.modified is not None and later.modified != self.modified


class Part:
    """NAME.part, open for as long as this process fills it; a second process that wants the same file is turned away.

    Use as a context manager.

    Attributes:
        path: NAME.part.
        size: bytes there.
        version: the state of the file that they are from.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._notes = target.with_name(target.name + ".part.json")
        self.size = 0
        self.version = Version()

    def __enter__(self) -> Part:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        if not (lock_alone(self._file) and self._is_still_there()):
            self._file.close()
            raise DataError(f"another process is downloading {self.target.name} to {self.path.parent} right now")
        self.size = self._file.seek(0, os.SEEK_END)
        self.version = self._read_notes()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def begin(self, version: Version) -> None:
        """Start anew with that state of the file.

        The old bytes go before the new note comes: whenever the process dies, the note is no other file's.
        """
        self._file.truncate(0)
        self._file.seek(0)
        self.size = 0
        self.version = version
        write_json(self._notes, asdict(version))

    def learn(self, total: int) -> None:
        """How long the file is, said only now."""
        self.version = replace(self.version, total=total)
        write_json(self._notes, asdict(self.version))

    def write(self, data: bytes) -> None:
        """Append."""
        view = memoryview(data)
        while view:
            written = self._file.write(view)
            view = view[written:]
            self.size += written

    def sha256(self) -> str:
        """Checksum of what is there, in hexadecimal."""
        self._file.seek(0)
        digest = hashlib.sha256()
        while chunk := self._file.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def finish(self) -> None:
        """It is whole: flush it to disk and give it its name."""
        os.fsync(self._file.fileno())
        if os.name == "nt":
            self._file.close()  # an open file cannot be renamed there
        os.replace(self.path, self.target)
        self._notes.unlink(missing_ok=True)
        sync_folder(self.target.parent)

    def discard(self) -> None:
        """What is there is not the file, or no part of it."""
        self.begin(Version())

    def remove(self) -> None:
        """Nothing came: leave nothing."""
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _is_still_there(self) -> bool:
        # Between opening and locking the other process may have finished: what is open here is then the whole file.
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path))
        except OSError:
            return False

    def _read_notes(self) -> Version:
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            return Version(_text(notes["etag"]), _text(notes["modified"]), _number(notes["total"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Version()


def part_of(target: Path) -> tuple[int, Version]:
    """Bytes of a file that an earlier download left, and of which state of it; nothing is opened for writing."""
    part = Part(target)
    try:
        return part.path.stat().st_size, part._read_notes()
    except OSError:
        return 0, Version()


def discard_part(target: Path) -> None:
    """Drop what an earlier download left of a file."""
    Part(target).remove()


def content_range(value: str | None) -> tuple[int, int, int | None] | None:
    """First byte, last byte and the file's size from a Content-Range, or None where it is none."""
    found = _RANGE.fullmatch(value.strip()) if value else None
    if not found:
        return None
    first, last, total = int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])
    return (first, last, total) if first <= last and (total is None or last < total) else None


def unsatisfied_total(value: str | None) -> int | None:
    """The file's size from the Content-Range of a 416."""
    found = _UNSATISFIED.fullmatch(value.strip()) if value else None
    return int(found[1]) if found else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def lock_alone(file: BinaryIO) -> bool:
    """Lock a file until it is closed; False where somebody else has it. A system without such locks says True."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True

"""Which videos lie in a folder now, and what each is known by. Imports no torch."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tvrkit.errors import DataError, VideoError
from tvrkit.frames.identity import file_identity, find_videos

_Stamp = tuple[int, int, int, int]
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS identities (path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,"
    " ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, identity TEXT NOT NULL) WITHOUT ROWID"
)
_PATHS_A_QUERY = 900


@dataclass(frozen=True)
class VideoFile:
    """A video that can be opened, and its `file_identity`."""

    path: Path
    identity: str


@dataclass(frozen=True)
class Scan:
    """What a scan found: the files in order of their paths, and those that cannot even be opened, with reasons."""

    files: tuple[VideoFile, ...]
    unreadable: dict[Path, str]


def scan(places: Sequence[Path], memory: Path | None = None) -> Scan:
    """Find the videos in folders, recursively; a file's identity is computed anew only when the file was touched.

    Args:
        places: folders, or single files.
        memory: sqlite file that remembers identities by path, size, times and inode, so that a folder that was
            seen before is known again without opening its files. It only saves time: where it cannot be read or
            written, identities are computed.

    Raises:
        DataError: a place is not there, or no video lies in any.
    """
    paths = sorted({path for place in places for path in find_videos(place)})
    if not paths:
        where = ", ".join(map(str, places))
        raise DataError(f"no video lies in {where}: looked for files such as .mp4, .mkv, .webm, .avi, .mov, .gif.")
    stamps, unreadable = _stamps(paths)
    known = _recall(memory, stamps) if memory else {}
    files, learned = [], []
    for path in stamps:
        identity = known.get(path)
        if identity is None:
            try:
                identity = file_identity(path)
            except VideoError as error:
                unreadable[path] = error.reason
                continue
            learned.append((_name(path), *stamps[path], identity))
        files.append(VideoFile(path, identity))
    if memory and learned:
        _remember(memory, learned)
    return Scan(tuple(files), unreadable)


def _stamps(paths: Sequence[Path]) -> tuple[dict[Path, _Stamp], dict[Path, str]]:
    """What tells each file's state without opening it, and the reasons of those that must not be opened."""
    stamps, unreadable = {}, {}
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            unreadable[path] = f"cannot be opened ({error.strerror})"
            continue
        if not stat.S_ISREG(status.st_mode):
            unreadable[path] = "is not a plain file"  # opening a pipe can take for ever
            continue
        # The time of the last status change moves even when somebody sets the time of the last write back.
        stamps[path] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino % 2**63)
    return stamps, unreadable


def _name(path: Path) -> bytes:
    return os.fsencode(path.absolute())


def _recall(memory: Path, stamps: dict[Path, _Stamp]) -> dict[Path, str]:
    names = {_name(path): path for path in stamps}
    known = {}
    try:
        with closing(_open(memory)) as db:
            for part in _parts(list(names)):
                marks = ", ".join("?" * len(part))
                for name, *stamp, identity in db.execute(f"SELECT * FROM identities WHERE path IN ({marks})", part):
                    if tuple(stamp) == stamps[names[name]]:
                        known[names[name]] = str(identity)
    except (OSError, sqlite3.Error):
        return {}
    return known


def _remember(memory: Path, rows: Iterable[tuple[bytes, int, int, int, int, str]]) -> None:
    try:
        with closing(_open(memory)) as db, db:
            db.executemany("INSERT OR REPLACE INTO identities VALUES (?, ?, ?, ?, ?, ?)", rows)
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error) or "malformed" in str(error):
            memory.unlink(missing_ok=True)  # made anew next time
    except OSError:
        pass


def _open(memory: Path) -> sqlite3.Connection:
    memory.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(memory, timeout=5.0)
    try:
        db.execute(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _parts(names: list[bytes]) -> list[list[bytes]]:
    return [names[first : first + _PATHS_A_QUERY] for first in range(0, len(names), _PATHS_A_QUERY)]

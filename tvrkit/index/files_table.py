"""Which files were seen where, and what lies in them: a sqlite table beside the segments. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tvrkit.index.video_index import FileRow
from tvrkit.store.database import Database

FILES = "files.sqlite"
_VERSION = 1


class FilesTable(Database):
    """Files by path. Every change is on disk when a method returns.

    Names are kept as bytes: not every one is text.

    Raises:
        StoreError: from every method, when the file cannot be read or written.
    """

    schema = (
        "CREATE TABLE files (path BLOB PRIMARY KEY, stamp TEXT NOT NULL, modified REAL NOT NULL,"
        " identity TEXT NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID",
        "CREATE INDEX files_of_identity ON files (identity)",
        "CREATE TABLE places (path BLOB PRIMARY KEY) WITHOUT ROWID",
    )

    def __init__(self, folder: Path, busy_seconds: float = 30.0) -> None:
        super().__init__(
            folder / FILES,
            version=_VERSION,
            what=f"the index {folder}",
            healing="made anew, empty; `tvrkit index DIR` finds the files again, and encodes none of them twice",
            busy_seconds=busy_seconds,
        )

    def put(self, rows: Iterable[FileRow]) -> None:
        """Note files, each in place of the one with the same path."""
        values = [(os.fsencode(row.path), row.stamp, row.modified, row.identity, _text(row.reason)) for row in rows]
        if values:
            with self.writing() as db:
                db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", values)

    def drop(self, paths: Iterable[str]) -> None:
        """Forget files."""
        values = [(os.fsencode(path),) for path in paths]
        if values:
            with self.writing() as db:
                db.executemany("DELETE FROM files WHERE path = ?", values)

    def rows(self, inside: Sequence[str] | None = None) -> list[FileRow]:
        """Files by path: all, or those at or below some places."""
        found: dict[bytes, FileRow] = {}
        with self.reading() as db:
            for where, values in [("", ())] if inside is None else [_below(place) for place in inside]:
                for path, *facts in db.execute(
                    f"SELECT path, stamp, modified, identity, reason FROM files{where}", values
                ):
                    found[path] = FileRow(os.fsdecode(path), *facts)
        return [found[path] for path in sorted(found)]

    def places(self) -> list[str]:
        """What was given to be indexed, now or before."""
        with self.reading() as db:
            return [os.fsdecode(path) for (path,) in db.execute("SELECT path FROM places ORDER BY path")]

    def set_places(self, places: Iterable[str]) -> None:
        """Note them in place of those before."""
        wanted = sorted(set(places))
        if wanted != self.places():
            with self.writing() as db:
                db.execute("DELETE FROM places")
                db.executemany("INSERT INTO places VALUES (?)", [(os.fsencode(place),) for place in wanted])


def _below(place: str) -> tuple[str, tuple[bytes, ...]]:
    """The condition for a path to be a place or to lie below it, by the order of bytes."""
    name = os.fsencode(place)
    below = (
        name if name.endswith((b"/", os.fsencode(os.sep))) else name + (b"/" if b"://" in name else os.fsencode(os.sep))
    )
    return " WHERE path = ? OR (path >= ? AND path < ?)", (name, below, below[:-1] + bytes([below[-1] + 1]))


def _text(reason: str) -> str:
    # It may quote a name with bytes that are no UTF-8.
    return reason.encode("utf-8", "backslashreplace").decode()

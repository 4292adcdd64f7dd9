"""The sqlite file beside the segments: which of their rows count, and which keys have failed."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tvrkit.errors import StoreError
from tvrkit.store.segment import SegmentEntry, describe_segment

CATALOGUE = "catalogue.sqlite"
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, signature TEXT NOT NULL,
    items INTEGER NOT NULL, bytes INTEGER NOT NULL, checksum TEXT NOT NULL);
CREATE TABLE items (key TEXT PRIMARY KEY, segment INTEGER NOT NULL, row INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX items_of_segment ON items (segment);
CREATE TABLE failures (key TEXT PRIMARY KEY, reason TEXT NOT NULL) WITHOUT ROWID
"""
_KEYS_A_QUERY = 900  # sqlite before 3.32 takes 999 variables at most

_log = logging.getLogger("tvrkit.store")


class OvertakenError(Exception):
    """What was to be replaced has changed meanwhile."""


class Catalogue:
    """Transactions on the sqlite file of one folder; made when it is not there, and remade when it is damaged.

    The journal is sqlite's default one: write-ahead logging does not work on network file systems.

    Raises:
        StoreError: from every method, when the file cannot be read or written.
    """

    def __init__(self, folder: Path, busy_seconds: float) -> None:
        self.folder = folder
        self._path = folder / CATALOGUE
        self._busy_seconds = busy_seconds
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise StoreError(f"cannot open the cache {folder}: {error}.") from None
            self._db = self._remake()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def count(self) -> int:
        """Stored keys."""
        with self._reading() as db:
            return _number(db, "SELECT count(*) FROM items")

    def locate(self, keys: Sequence[str]) -> list[tuple[str, int, int]]:
        """(key, segment, row) of the stored ones."""
        with self._reading() as db:
            return list(_select(db, "SELECT key, segment, row FROM items WHERE key IN", keys))

    def live(self, segment: int) -> list[tuple[str, int]]:
        """(key, row) of what counts in a segment, by row."""
        with self._reading() as db:
            return db.execute("SELECT key, row FROM items WHERE segment = ? ORDER BY row", (segment,)).fetchall()

    def segment(self, segment: int) -> SegmentEntry | None:
        """A segment's entry; None when it is gone."""
        with self._reading() as db:
            query = "SELECT name, signature, items, bytes, checksum FROM segments WHERE id = ?"
            row = db.execute(query, (segment,)).fetchone()
        return None if row is None else SegmentEntry(*row)

    def names(self) -> set[str]:
        """File names of all segments."""
        with self._reading() as db:
            return {name for (name,) in db.execute("SELECT name FROM segments")}

    def small(self, at_least: int, bytes_below: int, items_below: int) -> list[tuple[str, list[int]]]:
        """(signature, segments) for each kind that has `at_least` small segments."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT signature, group_concat(id) FROM segments WHERE bytes < ? AND items < ?"
                " GROUP BY signature HAVING count(*) >= ?",
                (bytes_below, items_below, at_least),
            ).fetchall()
        return [(signature, [int(segment) for segment in joined.split(",")]) for signature, joined in rows]

    def add(self, entry: SegmentEntry, keys: Sequence[str], merged: Sequence[int] = ()) -> None:
        """Commit a segment; the latest one of a key counts, and what had failed no longer has.

        Raises:
            OvertakenError: it was to take the place of `merged`, and something in those has changed.
        """
        with self._writing() as db:
            held = sum(_number(db, "SELECT count(*) FROM items WHERE segment = ?", old) for old in merged)
            if merged and held != len(keys):
                raise OvertakenError
            _register(db, entry, keys)
            db.executemany("DELETE FROM failures WHERE key = ?", [(key,) for key in keys])
            db.executemany("DELETE FROM segments WHERE id = ?", [(old,) for old in merged])

    def drop(self, segment: int) -> None:
        """Forget a segment and all in it."""
        with self._writing() as db:
            db.execute("DELETE FROM items WHERE segment = ?", (segment,))
            db.execute("DELETE FROM segments WHERE id = ?", (segment,))

    def put_failure(self, key: str, reason: str) -> None:
        """Note a failure in place of what was stored."""
        with self._writing() as db:
            db.execute("DELETE FROM items WHERE key = ?", (key,))
            db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?)", (key, reason))

    def failures(self, keys: Sequence[str]) -> dict[str, str]:
        """Reasons of the failed ones."""
        with self._reading() as db:
            return dict(_select(db, "SELECT key, reason FROM failures WHERE key IN", keys))

    def forget(self, keys: Sequence[str], *, failures_only: bool) -> None:
        """Make keys missing again."""
        with self._writing() as db:
            db.executemany("DELETE FROM failures WHERE key = ?", [(key,) for key in keys])
            if not failures_only:
                db.executemany("DELETE FROM items WHERE key = ?", [(key,) for key in keys])

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=self._busy_seconds, isolation_level=None)
        try:
            version = _number(db, "PRAGMA user_version")
            if version == 0:
                self._create(db)
            elif version > SCHEMA_VERSION:
                raise StoreError(
                    f"the cache {self.folder} was written by a newer tvrkit (version {version}, this one reads"
                    f" {SCHEMA_VERSION}): update tvrkit, or set TVRKIT_CACHE to another folder."
                )
            _number(db, "SELECT count(*) FROM (SELECT 1 FROM items LIMIT 1)")
            return db
        except BaseException:
            db.close()
            raise

    def _create(self, db: sqlite3.Connection) -> None:
        """Make the tables, and take in segments that lie there without a catalogue."""
        with _transaction(db):
            if _number(db, "PRAGMA user_version") != 0:
                return  # another process was faster
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            for path in sorted(self.folder.glob("*.safetensors")):
                described = describe_segment(path)
                if described is not None:
                    _register(db, *described)

    def _remake(self) -> sqlite3.Connection:
        _log.warning("the cache's %s is damaged: made anew from the segments beside it", self._path)
        try:
            os.replace(self._path, self._path.with_name(f"{CATALOGUE}.damaged-{time.time_ns()}"))
            self._path.with_name(f"{CATALOGUE}-journal").unlink(missing_ok=True)
            return self._open()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"the cache {self.folder} is damaged, and cannot be remade: {error}.") from None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._db
        except sqlite3.Error as error:
            hint = " Delete the folder: it will be made again." if _is_damage(error) else ""
            raise StoreError(f"cannot read the cache {self.folder}: {error}.{hint}") from None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with _transaction(self._db):
                yield self._db
        except sqlite3.Error as error:
            raise StoreError(f"cannot write to the cache {self.folder}: {error}.") from None


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _register(db: sqlite3.Connection, entry: SegmentEntry, keys: Sequence[str]) -> None:
    columns = "name, signature, items, bytes, checksum"
    segment = db.execute(f"INSERT INTO segments ({columns}) VALUES (?, ?, ?, ?, ?)", entry).lastrowid
    db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", [(key, segment, i) for i, key in enumerate(keys)])


def _select(db: sqlite3.Connection, query: str, keys: Sequence[str]) -> Iterator[Any]:
    unique = list(dict.fromkeys(keys))
    for first in range(0, len(unique), _KEYS_A_QUERY):
        part = unique[first : first + _KEYS_A_QUERY]
        yield from db.execute(f"{query} ({', '.join('?' * len(part))})", part)


def _number(db: sqlite3.Connection, query: str, *values: int) -> int:
    return int(db.execute(query, values).fetchone()[0])


def _is_damage(error: sqlite3.Error) -> bool:
    return any(words in str(error) for words in ("not a database", "malformed"))

"""The sqlite file beside the segments: which of their rows count, and which keys have failed."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from tvrkit.store.database import Database, number, select
from tvrkit.store.segment import SegmentEntry, describe_segment

CATALOGUE = "catalogue.sqlite"
SCHEMA_VERSION = 1


class OvertakenError(Exception):
    """What was to be replaced has changed meanwhile."""


class Catalogue(Database):
    """Transactions on the sqlite file of one folder."""

    schema = (
        "CREATE TABLE segments (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
        " signature TEXT NOT NULL, items INTEGER NOT NULL, bytes INTEGER NOT NULL, checksum TEXT NOT NULL)",
        "CREATE TABLE items (key TEXT PRIMARY KEY, segment INTEGER NOT NULL, row INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX items_of_segment ON items (segment)",
        "CREATE TABLE failures (key TEXT PRIMARY KEY, reason TEXT NOT NULL) WITHOUT ROWID",
    )

    def __init__(self, folder: Path, what: str, busy_seconds: float) -> None:
        self.folder = folder
        super().__init__(
            folder / CATALOGUE,
            version=SCHEMA_VERSION,
            what=what,
            healing="made anew from the segments beside it",
            busy_seconds=busy_seconds,
        )

    def fill(self, db: sqlite3.Connection) -> None:
        """Take in segments that lie there without a catalogue."""
        for path in sorted(self.folder.glob("*.safetensors")):
            described = describe_segment(path)
            if described is not None:
                _register(db, *described)

    def check(self) -> list[str]:
        """Go through the whole file, and forget items that name no row of a segment."""
        said = super().check()
        strays = (
            "FROM items WHERE NOT EXISTS"
            " (SELECT 1 FROM segments WHERE id = items.segment AND items.row BETWEEN 0 AND segments.items - 1)"
        )
        with self.reading() as db:
            count = number(db, f"SELECT count(*) {strays}")
        if count:
            with self.writing() as db:
                db.execute(f"DELETE {strays}")
            said.append(f"{self.path} named {count} rows that are nowhere: they are missing again.")
        return said

    def count(self) -> int:
        """Stored keys."""
        with self.reading() as db:
            return number(db, "SELECT count(*) FROM items")

    def locate(self, keys: Sequence[str] | None) -> list[tuple[str, int, int]]:
        """(key, segment, row) of the stored ones; None gives all."""
        query = "SELECT key, segment, row FROM items"
        with self.reading() as db:
            return db.execute(query).fetchall() if keys is None else list(select(db, f"{query} WHERE key IN", keys))

    def live(self, segment: int) -> list[tuple[str, int]]:
        """(key, row) of what counts in a segment, by row."""
        with self.reading() as db:
            return db.execute("SELECT key, row FROM items WHERE segment = ? ORDER BY row", (segment,)).fetchall()

    def segment(self, segment: int) -> SegmentEntry | None:
        """A segment's entry; None when it is gone."""
        with self.reading() as db:
            query = "SELECT name, signature, items, bytes, checksum FROM segments WHERE id = ?"
            row = db.execute(query, (segment,)).fetchone()
        return None if row is None else SegmentEntry(*row)

    def segments(self) -> dict[int, SegmentEntry]:
        """Every segment's entry."""
        with self.reading() as db:
            rows = db.execute("SELECT id, name, signature, items, bytes, checksum FROM segments ORDER BY id").fetchall()
        return {segment: SegmentEntry(*entry) for segment, *entry in rows}

    def small(self, at_least: int, bytes_below: int, items_below: int) -> list[tuple[str, list[int]]]:
        """(signature, segments) for each kind that has `at_least` small segments."""
        with self.reading() as db:
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
        with self.writing() as db:
            held = sum(number(db, "SELECT count(*) FROM items WHERE segment = ?", old) for old in merged)
            if merged and held != len(keys):
                raise OvertakenError
            _register(db, entry, keys)
            db.executemany("DELETE FROM failures WHERE key = ?", [(key,) for key in keys])
            db.executemany("DELETE FROM segments WHERE id = ?", [(old,) for old in merged])

    def drop(self, segment: int) -> None:
        """Forget a segment and all in it."""
        with self.writing() as db:
            db.execute("DELETE FROM items WHERE segment = ?", (segment,))
            db.execute("DELETE FROM segments WHERE id = ?", (segment,))

    def put_failures(self, reasons: Mapping[str, str]) -> None:
        """Note failures in place of what was stored."""
        with self.writing() as db:
            db.executemany("DELETE FROM items WHERE key = ?", [(key,) for key in reasons])
            db.executemany("INSERT OR REPLACE INTO failures VALUES (?, ?)", list(reasons.items()))

    def failures(self, keys: Sequence[str] | None) -> dict[str, str]:
        """Reasons of the failed ones; None gives all."""
        query = "SELECT key, reason FROM failures"
        with self.reading() as db:
            return dict(db.execute(query) if keys is None else select(db, f"{query} WHERE key IN", keys))

    def forget(self, keys: Sequence[str], *, failures_only: bool) -> None:
        """Make keys missing again."""
        with self.writing() as db:
            db.executemany("DELETE FROM failures WHERE key = ?", [(key,) for key in keys])
            if not failures_only:
                db.executemany("DELETE FROM items WHERE key = ?", [(key,) for key in keys])


def _register(db: sqlite3.Connection, entry: SegmentEntry, keys: Sequence[str]) -> None:
    columns = "name, signature, items, bytes, checksum"
    segment = db.execute(f"INSERT INTO segments ({columns}) VALUES (?, ?, ?, ?, ?)", entry).lastrowid
    db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", [(key, segment, i) for i, key in enumerate(keys)])

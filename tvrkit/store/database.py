"""A small sqlite file that several processes write: transactions, and what its errors mean to a user."""

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

_VALUES_A_QUERY = 900  # sqlite before 3.32 takes 999 variables at most

_log = logging.getLogger("tvrkit.store")


class Database:
    """One sqlite file; made when it is not there, and made anew when it is damaged.

    The journal is sqlite's default one: write-ahead logging does not work on network file systems.

    Args:
        path: the file.
        version: of its tables.
        what: the thing that it belongs to, in the words of messages ("the cache …").
        healing: what follows when a damaged file is made anew, in the words of the warning.
        busy_seconds: longest wait for other processes.

    Raises:
        StoreError: from every method, when the file cannot be read or written, or a newer tvrkit wrote it.
    """

    schema: tuple[str, ...] = ()

    def __init__(self, path: Path, *, version: int, what: str, healing: str, busy_seconds: float) -> None:
        self.path = path
        self._version, self._what, self._healing, self._busy_seconds = version, what, healing, busy_seconds
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise StoreError(f"cannot open {what}: {error}.") from None
            self._db = self._remake()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def changes(self) -> int:
        """Sqlite's own count of the transactions that changed this file, whoever made them."""
        with self.reading() as db:
            db.execute("BEGIN")
            try:
                db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # now nobody is in the middle of a commit
                with self.path.open("rb") as file:
                    file.seek(24)
                    return int.from_bytes(file.read(4), "big")
            except OSError as error:
                raise StoreError(f"cannot read {self._what}: {error.strerror or error}.") from None
            finally:
                db.execute("ROLLBACK")

    def check(self) -> list[str]:
        """Go through the whole file; a damaged one is made anew.

        Returns:
            A sentence for each damage.
        """
        try:
            words = "; ".join(row[0] for row in self._db.execute("PRAGMA integrity_check(3)"))
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise StoreError(f"cannot read {self._what}: {error}.") from None
            words = str(error)
        if words == "ok":
            return []
        self._db.close()
        self._db = self._remake()
        return [f"{self.path} was damaged ({words}): {self._healing}."]

    def fill(self, db: sqlite3.Connection) -> None:
        """What a new file begins with, beside its empty tables; within the transaction that makes it."""

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for queries."""
        try:
            yield self._db
        except sqlite3.Error as error:
            hint = f" Delete {self.path}: it will be made again." if _is_damage(error) else ""
            raise StoreError(f"cannot read {self._what}: {error}.{hint}") from None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, in a transaction that is on disk when the block ends."""
        try:
            with _transaction(self._db):
                yield self._db
        except sqlite3.Error as error:
            raise StoreError(f"cannot write to {self._what}: {error}.") from None

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=self._busy_seconds, isolation_level=None)
        try:
            version = number(db, "PRAGMA user_version")
            if version == 0:
                self._create(db)
            elif version > self._version:
                raise StoreError(
                    f"{self._what} was written by a newer tvrkit (version {version}, this one reads"
                    f" {self._version}): update tvrkit, or keep it in another folder."
                )
            number(db, "SELECT count(*) FROM sqlite_master")
            return db
        except BaseException:
            db.close()
            raise

    def _create(self, db: sqlite3.Connection) -> None:
        with _transaction(db):
            if number(db, "PRAGMA user_version") != 0:
                return  # another process was faster
            for statement in self.schema:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {self._version}")
            self.fill(db)

    def _remake(self) -> sqlite3.Connection:
        _log.warning("%s is damaged: %s", self.path, self._healing)
        try:
            os.replace(self.path, self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}"))
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
            return self._open()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self._what} is damaged, and cannot be remade: {error}.") from None


def select(db: sqlite3.Connection, query: str, values: Sequence[Any]) -> Iterator[Any]:
    """Rows of a query that ends in `IN`, for each of many values once."""
    unique = list(dict.fromkeys(values))
    for first in range(0, len(unique), _VALUES_A_QUERY):
        part = unique[first : first + _VALUES_A_QUERY]
        yield from db.execute(f"{query} ({', '.join('?' * len(part))})", part)


def number(db: sqlite3.Connection, query: str, *values: Any) -> int:
    """The one number that a query gives."""
    return int(db.execute(query, values).fetchone()[0])


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


def _is_damage(error: sqlite3.Error) -> bool:
    return any(words in str(error) for words in ("not a database", "malformed"))

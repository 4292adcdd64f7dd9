"""A LanceDB data set as this package uses it: four tables, and every failure of theirs as one sentence.

    settings   name, value                                     what all rows share; where videos are looked for
    files      path, stamp, modified, identity, reason         what lies where
    videos     identity, write, moments, duration, note, reason    which contents count; a reason says why one failed
    moments    identity, moment, write, span, pooled vectors, frames    only ever added to

A row of `videos` names the `write` whose rows of `moments` are its own. It comes last, so a kill before it leaves
rows that nothing names, and those of a content that is encoded anew are never half of one and half of the other.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tvrkit.errors import InstallError, StoreError

T = TypeVar("T")

_TRIES = 30  # of a commit that others were faster with
_NAMES_AT_ONCE = 500  # in one condition
_PIECES, _MOST_PIECES = 64, 1024  # of a table: each commit adds one, and each is a file that a reader opens
_KEEP_OLD = timedelta(hours=1)  # how long others may still read what has been written anew


class LanceTables:
    """The tables of one data set, opened.

    Args:
        place: a folder `….lance`, or the address of one on object storage. Keys, region and endpoint of that come from
            the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …).
        dim: D, of tables that are made now; None makes none.

    Raises:
        InstallError: lancedb is missing.
        StoreError: it cannot be read or made.
    """

    def __init__(self, place: str, dim: int | None = None) -> None:
        self.place = place
        self._db = connect(place)
        with said(place):
            known = self.names()
            for name, schema in _schemas(dim).items() if dim is not None else ():
                if name not in known:
                    self._db.create_table(name, schema=schema, exist_ok=True)
            self.settings, self.files, self.videos, self.moments = (
                self._db.open_table(name) for name in ("settings", "files", "videos", "moments")
            )

    def names(self) -> list[str]:
        """Of the tables that are there."""
        return table_names(self._db)

    def moments_now(self) -> Any:
        """The moments as they are at this instant, whatever is written later."""
        with said(self.place):
            table = self._db.open_table("moments")
            table.checkout(table.version)
            return table

    def rows(self, table: Any, columns: Sequence[str], where: str | None = None) -> Any:
        """Some columns of all rows, or of those that a condition holds of, as an Arrow table."""
        with said(self.place):
            query = table.search().select(list(columns))
            return (query.where(where) if where else query).to_arrow()

    def rows_of(self, table: Any, columns: Sequence[str], key: str, values: Iterable[str | bytes]) -> Any:
        """Some columns of the rows whose key is one of some values, as an Arrow table; None when there is no value."""
        import pyarrow as pa

        parts = [self.rows(table, columns, condition) for condition in is_one_of(key, values)]
        return pa.concat_tables(parts) if parts else None

    def put(self, table: Any, key: str, columns: dict[str, list[Any]], *, only_new: bool = False) -> None:
        """Add rows, each in place of the one with the same key, or none where there is one."""
        import pyarrow as pa

        if not columns[key]:
            return
        rows = pa.table(columns, schema=table.schema)
        merge = table.merge_insert(key).when_not_matched_insert_all()
        if not only_new:
            merge = merge.when_matched_update_all()
        self.commit(lambda: merge.execute(rows))

    def delete(self, table: Any, key: str, values: Iterable[str | bytes], also: str = "") -> None:
        """Drop the rows whose key is one of some values, and for which another condition holds."""
        for condition in is_one_of(key, values):
            where = f"{condition} AND {also}" if also else condition
            self.commit(partial(table.delete, where))

    def commit(self, action: Callable[[], T]) -> T:
        """Do it, and again where another process was faster."""
        for turn in range(_TRIES):
            try:
                with said(self.place):
                    return action()
            except StoreError as error:
                if turn == _TRIES - 1 or not _CONFLICT.search(str(error)):
                    raise
                time.sleep(random.SystemRandom().uniform(0, 0.05 * 2 ** min(turn, 5)))
        raise AssertionError

    def tidy(self, table: Any, *, at_once: bool = False) -> None:
        """Join small pieces and drop what is old, where it is worth it; another process may be at it, then not.

        Joining rewrites up to a million rows, so it waits until the pieces are many, and a good part of the whole.
        """
        with said(self.place):
            stats = table.stats()
        pieces, largest = stats["fragment_stats"]["num_fragments"], stats["fragment_stats"]["lengths"]["max"]
        loose = stats["num_rows"] - largest
        if not at_once and (pieces < _PIECES or (pieces < _MOST_PIECES and loose < stats["num_rows"] / 4)):
            return
        try:
            with said(self.place):
                table.optimize(cleanup_older_than=_KEEP_OLD)
        except StoreError as error:
            if not _CONFLICT.search(str(error)):
                raise


# What lancedb says when a commit came too late.
_CONFLICT = re.compile(r"conflict|concurrent|contention|preempt", re.IGNORECASE)


def absolute_place(place: str) -> str:
    """A folder as it is called from everywhere; an address as it is."""
    return place if "://" in place else str(Path(place).expanduser().absolute())


def connect(place: str) -> Any:
    """A connection to a data set, which need not be there."""
    try:
        import lancedb
    except ImportError as error:
        raise InstallError(f"{place} needs LanceDB ({error}): pip install 'tvrkit[lance]'.") from None
    options = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if urlsplit(place).scheme == "s3" and endpoint:
        options = {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}
    with said(place):
        # What another process wrote is seen by the next read.
        return lancedb.connect(place, storage_options=options, read_consistency_interval=timedelta(0))


def table_names(db: Any) -> list[str]:
    """Of the tables of a data set that are there."""
    return list(db.list_tables().tables)


@contextmanager
def said(place: str) -> Iterator[None]:
    """What LanceDB raises, as a StoreError of one line."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        words = " ".join(str(error).split())
        # Rust's errors end with where in its source they arose.
        words = re.split(r",? [^ ,]*\.rs:\d+", words)[0].rstrip(" .,")
        raise StoreError(f"the index {place} cannot be read or written: {words[:300]}.") from None


def is_one_of(key: str, values: Iterable[str | bytes]) -> Iterator[str]:
    """Conditions that together hold of every row whose key is one of some values."""
    quoted = [_quoted(value) for value in values]
    for first in range(0, len(quoted), _NAMES_AT_ONCE):
        yield f"{key} IN ({', '.join(quoted[first : first + _NAMES_AT_ONCE])})"


def _quoted(value: str | bytes) -> str:
    return f"X'{value.hex()}'" if isinstance(value, bytes) else "'" + value.replace("'", "''") + "'"


def _schemas(dim: int) -> dict[str, Any]:
    import pyarrow as pa

    def key(name: str, kind: Any) -> Any:
        # Without it two processes that add the same key at once leave two rows.
        return pa.field(name, kind, nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"})

    text, number = pa.string(), pa.float64()
    names = {
        "settings": [key("name", text), ("value", text)],
        "files": [
            key("path", pa.binary()),
            ("stamp", text),
            ("modified", number),
            ("identity", text),
            ("reason", text),
        ],
        "videos": [
            key("identity", text),
            ("write", text),
            ("moments", pa.int32()),
            ("duration_seconds", number),
            ("note", text),
            ("reason", text),
        ],
        "moments": [
            ("identity", text),
            ("moment", pa.int32()),
            ("write", text),
            ("start_seconds", number),
            ("end_seconds", number),
            ("pooled", pa.list_(pa.list_(pa.float16(), dim))),
            ("frame_features", pa.binary()),
            ("pts_seconds", pa.binary()),
            ("nearest_gain", pa.binary()),
            ("nearest_frame", pa.binary()),
        ],
    }
    return {name: pa.schema(fields) for name, fields in names.items()}

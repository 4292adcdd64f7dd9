"""An index as a LanceDB data set: on this disk or on object storage, with any number of writers.

Commits are optimistic: each writer adds its moments, which never collides, and then says which of them count; where
two do that at once, the slower one tries again. See `lance_tables.py` for what lies where.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvrkit.encode.moments import VideoMoments
from tvrkit.errors import DataError, StoreError
from tvrkit.index.engine import Engine
from tvrkit.index.lance_rows import ENCODED, moment_columns, read_rows
from tvrkit.index.lance_tables import LanceTables, absolute_place, connect, said, table_names
from tvrkit.index.meta import check_fits, from_json, to_json
from tvrkit.index.scan import is_below
from tvrkit.index.segments import count
from tvrkit.index.video_index import FileRow, IndexMeta, Status

if TYPE_CHECKING:
    from tvrkit.index.lance_engine import LanceEngine

FAILED = "reason != ''"
_TIDY_EVERY = 64  # commits of one process; each leaves small files
_LITTER_SECONDS = 3600  # rows that nothing names for this long are of no write in flight
_MUCH_LITTER = 0.1  # of all rows; then their room is given back
_MOMENTS_AT_ONCE = 256  # read together
_GROWN = 2  # the index of vectors is made anew once there are so many times the moments it was made of


_log = logging.getLogger("tvrkit.index")


class LanceIndex:
    """An index in a LanceDB data set; see `VideoIndex`.

    Args:
        place: a folder `….lance` or the address of one, see `LanceTables`.
        meta: what it must be made of; None takes what it says of itself.
        create: make it where there is none.

    Raises:
        DataError: it is not there, and is not to be made.
        ConfigError: it was made otherwise, see `check_fits`.
        StoreError: it cannot be read or made.
        InstallError: lancedb is missing.
    """

    def __init__(self, place: str, meta: IndexMeta | None = None, *, create: bool = False) -> None:
        self.place = place = absolute_place(place)
        stored = read_meta(place)
        if stored is None and (meta is None or not create):
            raise DataError(f"there is no index at {place}: `tvrkit index DIR --index {place}` makes one.")
        wanted = stored or meta
        assert wanted is not None
        self._tables = LanceTables(place, wanted.dim)
        if stored is None:
            # Of two processes that make it at once, one says what it is made of.
            self._set("meta", to_json(wanted), only_new=True)
            stored = self._meta() or wanted
        if meta is not None:
            check_fits(place, stored, meta)
        self.meta = stored
        self._untidy = 0
        self._engine: LanceEngine | None = None

    def __enter__(self) -> LanceIndex:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:  # else whoever waits for the end does not wait for good order, too
            self.close()

    def close(self) -> None:
        """Leave it in good order where something was written; closing twice is fine."""
        if self._untidy:
            try:
                self._tidy()
            except StoreError as error:
                _log.warning("%s All that was put is kept; its files could not be put in order", error)

    def missing(self, identities: Iterable[str]) -> list[str]:
        """Contents that are neither encoded nor failed, once each, in order."""
        wanted = list(dict.fromkeys(identity for identity in identities if identity))
        tables = self._tables
        if len(wanted) > _MOMENTS_AT_ONCE:
            rows = tables.rows(tables.videos, ["identity"])
        else:
            rows = tables.rows_of(tables.videos, ["identity"], "identity", wanted)
        known = set(rows["identity"].to_pylist()) if rows is not None else set()
        return [identity for identity in wanted if identity not in known]

    def put(self, videos: Mapping[str, VideoMoments]) -> None:
        """Keep encoded videos."""
        import pyarrow as pa

        for identity, video in videos.items():
            if video.pooled.shape[2] != self.meta.dim:
                raise StoreError(
                    f"the index {self.place} keeps {self.meta.dim} numbers a frame, and {identity} has"
                    f" {video.pooled.shape[2]}: it was encoded by another model."
                )
        token = f"{time.time_ns():016x}{secrets.token_hex(8)}"
        writes = {identity: f"{token}{number:x}" for number, identity in enumerate(videos)}
        if filled := {identity: video for identity, video in videos.items() if len(video)}:
            rows = pa.table(moment_columns(filled, writes), schema=self._tables.moments.schema)
            self._tables.commit(lambda: self._tables.moments.add(rows))
        self._put_videos(
            {
                "identity": list(videos),
                "write": list(writes.values()),
                "moments": [len(video) for video in videos.values()],
                "duration_seconds": [video.duration_seconds for video in videos.values()],
                "note": [_text(video.note or "") for video in videos.values()],
                "reason": [""] * len(videos),
            }
        )

    def put_failures(self, reasons: Mapping[str, str]) -> None:
        """Note contents that cannot be read, and why."""
        n = len(reasons)
        self._put_videos(
            {
                "identity": list(reasons),
                "write": [""] * n,
                "moments": [0] * n,
                "duration_seconds": [0.0] * n,
                "note": [""] * n,
                "reason": [_text(reason) or "unknown" for reason in reasons.values()],
            }
        )

    def failures(self) -> dict[str, str]:
        """Content -> reason."""
        return self._columns("identity", "reason", FAILED)

    def notes(self) -> dict[str, str]:
        """Content -> note."""
        return self._columns("identity", "note", f"{ENCODED} AND note != ''")

    def forget(self, identities: Iterable[str], *, failures_only: bool) -> None:
        """Make them missing again."""
        self._tables.delete(self._tables.videos, "identity", identities, FAILED if failures_only else "")
        self._written(True)

    def identities(self) -> list[str]:
        """All encoded contents, sorted."""
        return sorted(self.moments())

    def moments(self) -> dict[str, int]:
        """Encoded content -> how many moments it has."""
        return self._columns("identity", "moments", ENCODED)

    def iter_videos(self, identities: Sequence[str] | None = None) -> Iterator[tuple[str, VideoMoments]]:
        """Encoded contents with their rows, as they lie on disk; those without a moment come last."""
        rows = read_rows(self._tables, self.meta.dim)
        wanted = None if identities is None else set(identities)
        numbers = [v for v, name in enumerate(rows.names) if wanted is None or name in wanted]
        numbers.sort(key=lambda v: rows.row_ids[rows.first[v]] if rows.first[v] < rows.first[v + 1] else 2**63 - 1)
        some: list[int] = []
        held = 0
        for v in numbers:
            some.append(v)
            held += max(1, int(rows.first[v + 1] - rows.first[v]))
            if held >= _MOMENTS_AT_ONCE:
                yield from rows.videos(some).items()
                some, held = [], 0
        if some:
            yield from rows.videos(some).items()

    def put_files(self, rows: Iterable[FileRow]) -> None:
        """Note what lies where."""
        files = {os.fsencode(row.path): row for row in rows}
        columns: dict[str, list[Any]] = {"path": list(files)}
        for name in ("stamp", "modified", "identity", "reason"):
            columns[name] = [getattr(row, name) for row in files.values()]
        columns["reason"] = [_text(reason) for reason in columns["reason"]]
        self._tables.put(self._tables.files, "path", columns)
        self._written(bool(files))

    def drop_files(self, paths: Iterable[str]) -> None:
        """These are gone."""
        self._tables.delete(self._tables.files, "path", [os.fsencode(path) for path in paths])

    def files(self, inside: Sequence[str] | None = None) -> list[FileRow]:
        """Files that were seen, by path; those at or below some absolute places, or all."""
        columns = ["path", "stamp", "modified", "identity", "reason"]
        found: dict[bytes, FileRow] = {}
        for row in self._tables.rows(self._tables.files, columns).to_pylist():
            path = os.fsdecode(row["path"])
            if inside is None or any(path == place or is_below(path, place) for place in inside):
                found[row["path"]] = FileRow(**(row | {"path": path}))
        return [found[path] for path in sorted(found)]

    def places(self) -> list[str]:
        """Where videos are looked for when nothing else is said."""
        return json.loads(self._get("places") or "[]")

    def set_places(self, places: Sequence[str]) -> None:
        """Note them in place of those before."""
        wanted = sorted(set(places))
        if wanted != self.places():
            self._set("places", json.dumps(wanted))

    def status(self) -> Status:
        """Counts."""
        return count(self.files(), self.moments(), self.failures(), self._bytes())

    def generation(self) -> str:
        """Changes whenever another answer could come out."""
        with said(self.place):
            return f"{self._tables.videos.version}-{self._tables.files.version}"

    def engine(self) -> Engine:
        """To search in it, as it is now."""
        from tvrkit.index.lance_engine import LanceEngine

        # Before all else: a change that comes while this reads is then seen as one when generations are compared.
        generation = self.generation()
        if self._engine is None or self._engine.generation != generation:
            files: dict[str, list[FileRow]] = {}
            for file in self.files():
                if file.identity:
                    files.setdefault(file.identity, []).append(file)
            self._engine = None  # two need not be held at once
            rows = read_rows(self._tables, self.meta.dim)
            self._engine = LanceEngine(rows, files, self.meta.fingerprint, generation)
        return self._engine

    def _put_videos(self, columns: dict[str, list[Any]]) -> None:
        self._tables.put(self._tables.videos, "identity", columns)
        self._written(bool(columns["identity"]))

    def _written(self, something: bool) -> None:
        self._untidy += something
        if self._untidy >= _TIDY_EVERY:
            self._tidy()

    def _columns(self, key: str, value: str, where: str) -> dict[str, Any]:
        rows = self._tables.rows(self._tables.videos, [key, value], where)
        return dict(zip(rows[key].to_pylist(), rows[value].to_pylist(), strict=True))

    def _get(self, name: str) -> str | None:
        rows = self._tables.rows(self._tables.settings, ["value"], f"name = '{name}'")
        return rows["value"][0].as_py() if len(rows) else None

    def _set(self, name: str, value: str, *, only_new: bool = False) -> None:
        columns = {"name": [name], "value": [value]}
        self._tables.put(self._tables.settings, "name", columns, only_new=only_new)

    def _meta(self) -> IndexMeta | None:
        text = self._get("meta")
        return from_json(text, self.place) if text is not None else None

    def _bytes(self) -> int:
        if "://" not in self.place:
            return sum(path.stat().st_size for path in Path(self.place).rglob("*") if path.is_file())
        with said(self.place):
            tables = (self._tables.settings, self._tables.files, self._tables.videos, self._tables.moments)
            return sum(int(table.stats()["total_bytes"]) for table in tables)

    def _tidy(self) -> None:
        """Join small files, drop what nothing names, and keep the index of vectors up to date."""
        from tvrkit.index.lance_vectors import is_behind, keep_indexed

        self._untidy = 0
        tables = self._tables
        named = set(tables.rows(tables.videos, ["write"])["write"].to_pylist())
        old = f"{time.time_ns() - _LITTER_SECONDS * 10**9:016x}"
        writes = tables.rows(tables.moments, ["write"])["write"].to_pylist()
        litter = [write for write in writes if write not in named and write < old]
        tables.delete(tables.moments, "write", sorted(set(litter)))
        much = len(litter) > _MUCH_LITTER * len(writes)
        for table in (tables.files, tables.videos):
            tables.tidy(table)
        tables.tidy(tables.moments, at_once=much or is_behind(tables))
        made_of = keep_indexed(tables, int(self._get("vectors_of") or 0), _GROWN)
        if made_of:
            self._set("vectors_of", str(made_of))


def read_meta(place: str) -> IndexMeta | None:
    """What the data set at a place says of itself; None where there is none.

    Raises:
        StoreError: it cannot be read.
        InstallError: lancedb is missing.
    """
    place = absolute_place(place)
    if "://" not in place and not Path(place).exists():
        return None
    db = connect(place)
    with said(place):
        if "settings" not in table_names(db):
            return None
        rows = db.open_table("settings").search().where("name = 'meta'").select(["value"]).to_arrow()
    return from_json(rows["value"][0].as_py(), place) if len(rows) else None


def _text(words: str) -> str:
    # It may quote a name with bytes that are no UTF-8.
    return words.encode("utf-8", "backslashreplace").decode()

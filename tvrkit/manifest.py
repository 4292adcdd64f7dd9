"""The one record type of tvrkit, as JSON lines: a header line, then one line a video (docs/manifest.md)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tvrkit.errors import DataError
from tvrkit.files import atomic_path

MANIFEST_NAME = "manifest.jsonl"
MANIFEST_VERSION = 1

Span = tuple[int, int]  # characters [start, end) of a caption


@dataclass(frozen=True)
class Record:
    """One video (or one span of one) with its captions.

    `path` is relative to the manifest's folder, or absolute. `start_seconds` and `end_seconds` bound the part of
    the file that counts; None is the file's own start or end. `key_words[i]` holds the character spans of caption
    i's key words (docs/manifest.md); None where they have not been tagged. `tags` are free strings: `family`,
    `edit`, `category`, `source`.
    """

    video_id: str
    path: str
    captions: tuple[str, ...]
    split: str = "test"
    start_seconds: float | None = None
    end_seconds: float | None = None
    duration_seconds: float | None = None
    key_words: tuple[tuple[Span, ...], ...] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"record {self.video_id!r}"
        if not self.video_id or not self.path:
            raise DataError(f"{where}: video_id and path must not be empty.")
        if any(not caption.strip() for caption in self.captions):
            raise DataError(f"{where}: it has an empty caption.")
        if self.key_words is not None and len(self.key_words) != len(self.captions):
            raise DataError(f"{where}: {len(self.key_words)} rows of key_words for {len(self.captions)} captions.")
        start, end = self.start_seconds or 0.0, self.end_seconds
        if start < 0 or (end is not None and end <= start):
            raise DataError(f"{where}: the span {self.start_seconds} to {self.end_seconds} seconds is empty.")

    def to_json(self) -> dict[str, Any]:
        """The line's object; what is None or empty is left out."""
        row: dict[str, Any] = {
            "video_id": self.video_id,
            "path": self.path,
            "split": self.split,
            "captions": list(self.captions),
            "start_seconds": self.start_seconds,
            "end_seconds": self.end_seconds,
            "duration_seconds": self.duration_seconds,
            "key_words": None if self.key_words is None else [[list(s) for s in row] for row in self.key_words],
            "tags": dict(self.tags) or None,
        }
        return {key: value for key, value in row.items() if value is not None}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Record:
        """Check types and build a record.

        Raises:
            DataError: a missing key, an unknown one, or a value of the wrong type.
        """
        unknown = set(row) - set(cls.__dataclass_fields__)
        if unknown:
            raise DataError(f"unknown key {sorted(unknown)[0]!r}; a record has {', '.join(cls.__dataclass_fields__)}.")
        try:
            captions = _strings(row["captions"], "captions")
            key_words = row.get("key_words")
            return cls(
                video_id=_string(row["video_id"], "video_id"),
                path=_string(row["path"], "path"),
                captions=captions,
                split=_string(row.get("split", "test"), "split"),
                start_seconds=_seconds(row.get("start_seconds"), "start_seconds"),
                end_seconds=_seconds(row.get("end_seconds"), "end_seconds"),
                duration_seconds=_seconds(row.get("duration_seconds"), "duration_seconds"),
                key_words=None if key_words is None else tuple(_spans(spans) for spans in key_words),
                tags={_string(k, "tags"): _string(v, "tags") for k, v in row.get("tags", {}).items()},
            )
        except KeyError as error:
            raise DataError(f"the key {error} is missing.") from None
        except (TypeError, AttributeError, ValueError) as error:
            raise DataError(f"a value has the wrong shape ({error}).") from None


@dataclass(frozen=True)
class Manifest:
    """A data set: its name, the preset and protocol that fit it, and its records.

    `root` is the folder that relative paths start from; it is not written, but taken from where the file lies.
    """

    name: str
    records: tuple[Record, ...]
    preset: str | None = None
    protocol: str | None = None
    tagger: str | None = None
    root: Path = Path(".")

    def __post_init__(self) -> None:
        twice = [video_id for video_id, n in Counter(r.video_id for r in self.records).items() if n > 1]
        if twice:
            raise DataError(f"video_id {twice[0]!r} stands in {self.name!r} more than once.")

    def split(self, name: str) -> tuple[Record, ...]:
        """The records of one split, in file order.

        Raises:
            DataError: it has none; the message names the splits there are.
        """
        chosen = tuple(record for record in self.records if record.split == name)
        if not chosen:
            there = ", ".join(f"{split} ({n})" for split, n in self.splits().items()) or "none"
            raise DataError(f"data set {self.name!r} has no split {name!r}; it has {there}.")
        return chosen

    def splits(self) -> dict[str, int]:
        """Number of records in each split, in order of appearance."""
        return dict(Counter(record.split for record in self.records))

    def file_of(self, record: Record) -> Path:
        """Where a record's video lies."""
        return self.root / record.path

    def with_records(self, records: Iterable[Record]) -> Manifest:
        """The same data set with other records."""
        return replace(self, records=tuple(records))


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest and check every line.

    Raises:
        DataError: it is not there, is of a newer version, or a line is wrong; the message names the line.
    """
    path = Path(path)
    try:
        rows = list(_rows(path))
    except OSError as error:
        raise DataError(f"cannot read the manifest {path}: {error.strerror or error}.") from None
    if not rows or "tvrkit_manifest" not in rows[0][1]:
        raise DataError(f"{path} is no tvrkit manifest: its first line must hold the key 'tvrkit_manifest'.")
    header = rows[0][1]
    if header["tvrkit_manifest"] != MANIFEST_VERSION:
        raise DataError(
            f"{path} is a manifest of version {header['tvrkit_manifest']}; this tvrkit reads version"
            f" {MANIFEST_VERSION}: update tvrkit, or prepare the data set again."
        )
    records = []
    for number, row in rows[1:]:
        try:
            records.append(Record.from_json(row))
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
    try:
        return Manifest(
            name=_string(header.get("name", path.parent.name), "name"),
            preset=header.get("preset"),
            protocol=header.get("protocol"),
            tagger=header.get("tagger"),
            records=tuple(records),
            root=path.parent,
        )
    except (DataError, TypeError) as error:
        raise DataError(f"{path}: {error}") from None


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write a manifest atomically: header first, then its records in their order."""
    header = {
        "tvrkit_manifest": MANIFEST_VERSION,
        "name": manifest.name,
        "preset": manifest.preset,
        "protocol": manifest.protocol,
        "tagger": manifest.tagger,
    }
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in (
            {k: v for k, v in header.items() if v is not None},
            *(r.to_json() for r in manifest.records),
        ):
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise DataError(f"{path}, line {number}: a line must be one JSON object.")
                yield number, row
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: no valid JSON ({error.msg}).") from None
        except UnicodeDecodeError:
            raise DataError(f"{path}: it is not UTF-8 text.") from None


def _string(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{key} must be text, got {value!r}")
    return value


def _strings(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{key} must be a list of texts, got {value!r}")
    return tuple(_string(item, key) for item in value)


def _seconds(value: Any, key: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise TypeError(f"{key} must be a number of seconds, got {value!r}")
    return float(value)


def _spans(value: Any) -> tuple[Span, ...]:
    return tuple((int(start), int(end)) for start, end in value)

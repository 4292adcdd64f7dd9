"""Reading caption files of any origin: CSV, JSON lines, or a text file beside each video. None of it is trusted."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvrkit.errors import DataError
from tvrkit.prepare.entries import Entry, check_entry, clean, field_of
from tvrkit.prepare.report import Problem

CSV_SUFFIXES = (".csv", ".tsv", ".txt")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
DELIMITERS = ",\t;|"
LINES_OF_A_ROW = 20  # more of them in one row mean that a quote was never closed


@dataclass
class CaptionFile:
    """The entries of a caption file, the lines that could not be used, and what to tell the user."""

    entries: list[Entry]
    problems: list[Problem]
    notes: list[str]


def read_captions(path: Path) -> CaptionFile:
    """Read a caption file by its suffix (docs/data.md has the formats).

    Raises:
        DataError: it cannot be read at all, or has no columns for the video and for the caption.
    """
    suffix = path.suffix.lower()
    if suffix not in (*CSV_SUFFIXES, *JSON_SUFFIXES):
        known = ", ".join((*CSV_SUFFIXES, *JSON_SUFFIXES))
        raise DataError(f"{path}: captions are read from files that end in {known}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the captions in {path}: {error.strerror or error}.") from None
    result = CaptionFile([], [], [])
    text = decode(data, path.name, result.notes)
    rows = _json_rows(text, path, result) if suffix in JSON_SUFFIXES else _csv_rows(text, path, result)
    for where, row in rows:
        entry = check_entry(where, row, result.problems)
        if entry is not None:
            result.entries.append(entry)
    return result


def read_sidecars(videos: Sequence[Path], root: Path) -> CaptionFile:
    """Captions from `clip.txt` or `clip.mp4.txt` beside `clip.mp4`, one a line; a video without one has no entry."""
    result = CaptionFile([], [], [])
    for video in videos:
        for sidecar in (video.with_name(video.name + ".txt"), video.with_suffix(".txt")):
            if not sidecar.is_file():
                continue
            where = str(sidecar.relative_to(root)) if sidecar.is_relative_to(root) else sidecar.name
            try:
                text = decode(sidecar.read_bytes(), where, result.notes)
            except OSError as error:
                result.problems.append(Problem("bad row", where, f"cannot be read ({error.strerror or error})"))
                break
            captions = tuple(caption for line in re.split("[\r\n]+", text) if (caption := clean(line)))
            if captions:
                result.entries.append(Entry(where, str(video), None, captions))
            else:
                result.problems.append(Problem("empty caption", where, "holds no caption"))
            break
    return result


def decode(data: bytes, name: str, notes: list[str]) -> str:
    """Bytes to text: UTF-8 or UTF-16 with or without a mark at the front, else Windows-1252, which is noted."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        notes.append(f"{name} is not UTF-8; it was read as Windows-1252, so check letters with accents.")
        return data.decode("cp1252", errors="replace")


def _csv_rows(text: str, path: Path, result: CaptionFile) -> Iterator[tuple[str, dict[str, Any]]]:
    first = text.lstrip().partition("\n")[0]
    delimiter = max(DELIMITERS, key=lambda mark: (len(_known(first.split(mark))), -DELIMITERS.index(mark)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str | None] | None = None
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            result.problems.append(Problem("bad row", f"{path.name}, line {reader.line_num}", f"is no CSV ({error})"))
            continue
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{path.name}, line {reader.line_num}"
        if (swallowed := sum(cell.count("\n") for cell in cells)) > LINES_OF_A_ROW:
            reason = f"a quote opened {swallowed} lines before it is closed here only, so none of them could be read"
            result.problems.append(Problem("bad row", where, reason))
            continue
        if header is None:
            header = _header(cells, path)
        elif len(cells) != len(header):
            reason = f"has {len(cells)} cells under {len(header)} columns; a caption with a comma needs quotes"
            result.problems.append(Problem("bad row", where, reason))
        else:
            yield where, {name: cell for name, cell in zip(header, cells, strict=True) if name and cell.strip()}


def _header(cells: list[str], path: Path) -> list[str | None]:
    """The field that each column holds; None where it is of no use. Of two columns for one field the first counts."""
    fields: list[str | None] = []
    for name in cells:
        field = field_of(name)
        fields.append(field if field not in fields else None)
    wrong = "" if "caption" in fields else "caption"
    if "path" not in fields and "video_id" not in fields:
        wrong = f"path and {wrong}".removesuffix(" and ")
    if wrong:
        raise DataError(
            f"{path}: its first line names the columns {', '.join(map(repr, cells[:8]))}, and none of them is called"
            f" {wrong}: let the first line name them, as in `path,caption`."
        )
    return fields


def _known(names: Sequence[str]) -> list[str]:
    return [name for name in names if field_of(name)]


def _json_rows(text: str, path: Path, result: CaptionFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of a file with one a line, or of one array."""
    if path.suffix.lower() == ".json" or text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is no valid JSON ({error}).") from None
        if not isinstance(values, list):
            raise DataError(f"{path} must hold a list of objects, each with a path and a caption.")
        numbered = [(f"{path.name}, item {i}", value) for i, value in enumerate(values, start=1)]
    else:
        numbered = []
        for number, line in enumerate(text.split("\n"), start=1):
            where = f"{path.name}, line {number}"
            if line.strip():
                try:
                    numbered.append((where, json.loads(line)))
                except (ValueError, RecursionError):
                    result.problems.append(Problem("bad row", where, "is no valid JSON"))
    for where, value in numbered:
        if isinstance(value, dict):
            row: dict[str, Any] = {}
            for key, item in value.items():
                field = field_of(key)
                if field and item is not None:
                    row.setdefault(field, item)
            yield where, row
        else:
            result.problems.append(Problem("bad row", where, "is no JSON object"))

"""What one line of a caption file says of one video: its fields, their names, their values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvrkit.prepare.report import Problem

# What a column or key may be called; upper case, spaces and hyphens do not matter.
NAMES = {
    "path": "path file filename file_name filepath file_path video video_path video_file video_name clip clip_path",
    "caption": "caption captions text texts sentence sentences description descriptions",
    "start": "start start_seconds start_time start_sec begin from",
    "end": "end end_seconds end_time end_sec stop to",
    "split": "split subset partition set",
    "video_id": "video_id videoid video_key id vid clip_id key",
}
FIELD_OF = {name: field for field, names in NAMES.items() for name in names.split()}
TAGS = ("family", "edit", "category", "source")
SPLITS = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"}


@dataclass(frozen=True)
class Entry:
    """What one line says of one video; `where` names the line."""

    where: str
    path: str | None
    video_id: str | None
    captions: tuple[str, ...]
    split: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    tags: tuple[tuple[str, str], ...] = ()


def field_of(name: str) -> str | None:
    """The field that a column or key of this name holds, if any."""
    word = name.strip().strip('"').strip().lower().replace(" ", "_").replace("-", "_")
    return word if word in TAGS else FIELD_OF.get(word)


def clean(text: str) -> str:
    """One line without control characters at its ends, and with nothing that UTF-8 cannot hold."""
    return " ".join(text.replace("\0", " ").split()).encode("utf-8", errors="replace").decode()


def check_entry(where: str, row: Mapping[str, Any], problems: list[Problem]) -> Entry | None:
    """Check one row's values, by field; what is wrong becomes a problem."""
    try:
        path, video_id = _text(row, "path"), _text(row, "video_id")
        start, end = seconds(row.get("start")), seconds(row.get("end"))
        split = _text(row, "split")
        captions = row.get("caption", [])
        captions = [captions] if isinstance(captions, str) else captions
        if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
            raise ValueError("its captions are no texts")
    except ValueError as error:
        problems.append(Problem("bad row", where, str(error)))
        return None
    if path is None and video_id is None:
        problems.append(Problem("bad row", where, "names no video"))
        return None
    if end is not None and end <= (start or 0.0):
        problems.append(Problem("bad span", where, f"ends at {end:g} s, which is not after its start"))
        return None
    cleaned = tuple(caption for raw in captions if (caption := clean(raw)))
    if not captions:
        problems.append(Problem("no caption", where, f"has no caption for {path or video_id}"))
    for _ in range(len(captions) - len(cleaned)):
        problems.append(Problem("empty caption", where, f"a caption of {path or video_id} is empty"))
    if not cleaned:
        return None
    tags = tuple((tag, clean(row[tag])) for tag in TAGS if isinstance(row.get(tag), str))
    return Entry(where, path, video_id, cleaned, SPLITS.get((split or "").lower(), split), start, end, tags)


def _text(row: Mapping[str, Any], field: str) -> str | None:
    value = row.get(field)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and field == "video_id":
        value = f"{value:g}" if isinstance(value, float) else str(value)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"its {field} is no text")
    return clean(value) or None if value else None


def seconds(value: Any) -> float | None:
    """A number of seconds, or `mm:ss` or `hh:mm:ss` with fractions.

    Raises:
        ValueError: it is neither.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        parts = [float(part) for part in value.split(":")] if isinstance(value, str) else [float(value)]
    except (TypeError, ValueError, OverflowError):
        parts = []
    total = sum(part * 60**power for power, part in enumerate(reversed(parts)))
    if not 1 <= len(parts) <= 3 or isinstance(value, bool) or not all(p >= 0 for p in parts) or math.isinf(total):
        raise ValueError(f"{str(value)[:40]!r} is no time: give seconds, or mm:ss")
    return total

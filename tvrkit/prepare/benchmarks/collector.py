"""From what a benchmark's files say to items: ids and captions checked, each thing that is left out named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tvrkit.errors import DataError
from tvrkit.prepare.benchmarks.item import Annotations, Item
from tvrkit.prepare.benchmarks.sources import AnnotationFiles, short
from tvrkit.prepare.entries import clean
from tvrkit.prepare.report import many

SPLITS = ("train", "val", "test")
# A file of a few bytes can hold the same list a million times over.
MAX_CAPTIONS_OF_A_VIDEO = 10_000
VIDEO_SUFFIX = re.compile(
    r"\.(3g2|3gp|3gpp|asf|avi|divx|flv|m2ts|m4v|mkv|mov|mp4|mpeg|mpg|mts|null|ogv|qt|ts|vob|webm|wmv)?$", re.IGNORECASE
)


@dataclass
class Collector:
    """Takes videos with their captions, in the order of the files, and makes items of those that are whole."""

    files: AnnotationFiles
    items: dict[str, Item] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        where: str,
        split: str,
        video_id: Any,
        captions: Any,
        *,
        names: Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add a video; what cannot be used of it becomes a problem.

        Args:
            where: the file, and the place in it.
            split: `train`, `val` or `test`.
            video_id: anything; only a plain name is accepted.
            captions: anything; a text, or a list of texts, is accepted.
            names: further names of its file.
            tags: see `Item`.
        """
        problem = self.files.problem
        if (name := plain_id(video_id)) is None:
            problem("bad row", where, f"{short(video_id)} is no video id")
            return
        if name in self.items:
            first = self.items[name].split
            if first != split:
                problem("two splits", where, f"{name} is in {first} already, so it is left out of {split}")
            else:
                problem("duplicate id", where, f"{name} stands in {split} already; the first counts")
            return
        captions = [captions] if isinstance(captions, str) else captions
        if not isinstance(captions, list | tuple) or len(captions) > MAX_CAPTIONS_OF_A_VIDEO:
            problem("bad row", where, f"the captions of {name} are {short(captions)}, and not a list of texts")
            return
        cleaned = self._cleaned(where, name, captions)
        if not cleaned:
            problem("no caption", where, f"{name} has no caption, so it is left out of {split}")
            return
        others = tuple(dict.fromkeys(other for other in names if plain_id(other) == other and other != name))
        self.items[name] = Item(name, split, cleaned, others, tags=dict(tags or {}))

    def result(self, protocol: str) -> Annotations:
        """What was collected.

        Raises:
            DataError: there is no test split.
        """
        items = tuple(item for split in SPLITS for item in self.items.values() if item.split == split)
        files = self.files
        counts = Counter(item.split for item in items)
        if not counts["test"]:
            read = ", ".join(path.name for path in files.used)
            first = f", first {files.problems[0]}" if files.problems else ""
            raise DataError(
                f"no test video with a caption is left of {read} ({many(len(files.problems), 'problem')}{first})."
            )
        notes = dict.fromkeys((*files.notes, *self.notes))
        return Annotations(items, protocol, tuple(files.used), tuple(notes), tuple(files.problems))

    def _cleaned(self, where: str, name: str, captions: Sequence[Any]) -> tuple[str, ...]:
        kept = []
        for caption in captions:
            text = clean(caption) if isinstance(caption, str) else ""
            if text:
                kept.append(text)
            else:
                self.files.problem("empty caption", where, f"a caption of {name} is empty or no text")
        return tuple(kept)


def plain_id(value: Any) -> str | None:
    """The value without white space at its ends, if it can be the name of a file in a folder; else None."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**18 else ""
    if not isinstance(value, str):
        return None
    name = value.strip()
    if not name or len(name) > 200 or name in (".", "..") or "/" in name or "\\" in name:
        return None
    return name if name.isprintable() else None


def stem(value: Any) -> str | None:
    """A plain id of a video's path or file name: without folders and without the suffix of a video, if it has one."""
    if not isinstance(value, str):
        return plain_id(value)
    return plain_id(VIDEO_SUFFIX.sub("", value.replace("\\", "/").rpartition("/")[2].strip()))


def first_of(row: Mapping[str, Any], *keys: str) -> Any:
    """The value of the first of these keys that a row has, or None."""
    return next((row[key] for key in keys if key in row), None)


def objects(files: AnnotationFiles, name: str, value: Any) -> list[tuple[str, dict[str, Any]]]:
    """Where each object of a list stands, and the object; what is none is a problem.

    Raises:
        DataError: the value is no list.
    """
    if not isinstance(value, list):
        raise DataError(f"{name} must hold a list of objects, and holds {short(value)}: fetch it again.")
    found = []
    for number, row in enumerate(value, start=1):
        where = f"{name}, item {number}"
        if isinstance(row, dict):
            found.append((where, row))
        else:
            files.problem("bad row", where, f"is {short(row)} and no object")
    return found

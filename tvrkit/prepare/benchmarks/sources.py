"""Finding a benchmark's files by name and reading JSON, tables and lists. None of it is trusted."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvrkit.errors import DataError
from tvrkit.prepare.captions import LINES_OF_A_ROW, decode
from tvrkit.prepare.report import Problem

MAX_DEPTH = 6  # folders below the one that is searched
MAX_BYTES = 1 << 30  # the largest real annotation file has 60 MB
SUFFIXES = (".json", ".csv", ".tsv", ".txt", ".pkl", ".pickle")

# Folder, whether it seems another benchmark's, name, whether it lies apart from what was read before, depth.
Rank = tuple[int, bool, int, bool, int]


@dataclass
class AnnotationFiles:
    """The annotation files below some folders, found by name in upper or lower case.

    What lies in an earlier folder counts before what lies in a later one. Within a folder, names such as
    `train_list.txt` belong to several benchmarks: files beside those read before, or with the word `prefer` in their
    path, come first, then the order of the names that were asked for; where that leaves a choice, a note says so.

    Attributes:
        folders: where to search, with all that is below them; hidden folders are left out.
        prefer: a word of the benchmark, set by its reader.
        used: what was read.
        notes: what a user should know of the reading.
        problems: what in the files could not be used.
    """

    folders: Sequence[Path]
    prefer: str = ""
    used: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _index: dict[str, list[tuple[int, int, Path]]] | None = None

    def find(self, *names: str) -> Path | None:
        """The best of the files with one of these names, or None."""
        if self._index is None:
            self._index = self._search()
        found = sorted(
            (self._rank(number, order, depth, path), path)
            for number, name in enumerate(names)
            for order, depth, path in self._index.get(name.lower(), ())
        )
        if not found:
            return None
        self._tell_others(found)
        return found[0][1]

    def need(self, *names: str, what: str = "") -> Path:
        """As `find`.

        Raises:
            DataError: there is none; the message has all names that would do, and where they were looked for.
        """
        path = self.find(*names)
        if path is None:
            places = ", ".join(map(str, self.folders)) or "no folder"
            raise DataError(
                f"there is no {' or '.join(names)}{f' ({what})' if what else ''} in {places}: name the folder that"
                " holds it with --annotations (docs/benchmarks.md tells where each file comes from)."
            )
        return path

    def bytes(self, path: Path) -> bytes:
        """A file's content.

        Raises:
            DataError: it cannot be read, or is larger than annotations are.
        """
        try:
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise DataError(
                    f"{path} has {size >> 20:,} MiB; annotation files have {MAX_BYTES >> 20:,} MiB at most."
                )
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read the annotations in {path}: {error.strerror or error}.") from None
        if path not in self.used:
            self.used.append(path)
        return data

    def text(self, path: Path) -> str:
        """A file's text: UTF-8, UTF-16 with a mark, else Windows-1252, which is noted."""
        return decode(self.bytes(path), path.name, self.notes)

    def json(self, path: Path) -> Any:
        """A JSON file's value; of a key that stands twice in an object the first counts, and it is a problem.

        Raises:
            DataError: it is no valid JSON, or nested beyond all reason.
        """

        def first_counts(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            value = dict(pairs)
            if len(value) != len(pairs):
                value = {}
                for key, item in pairs:
                    if key in value:
                        self.problem("duplicate id", path, f"{short(key)} stands there twice; the first counts")
                    value.setdefault(key, item)
            return value

        text = self.text(path)
        try:
            return json.loads(text, object_pairs_hook=first_counts)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is no valid JSON ({error}): fetch it again.") from None

    def lines(self, path: Path) -> list[str]:
        """A text file's lines without white space at their ends; empty ones are left out."""
        return [line for raw in self.text(path).splitlines() if (line := raw.strip())]

    def cells(self, path: Path, delimiter: str = ",", quotes: bool = True) -> Iterator[tuple[str, list[str]]]:
        """Where a row stands, and its cells; empty rows are left out, and what is no CSV is a problem."""
        text = self.text(path).replace("\0", " ")
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self.problem("bad row", f"{path.name}, line {reader.line_num}", f"is no CSV ({error})")
                continue
            where = f"{path.name}, line {reader.line_num}"
            if (swallowed := sum(cell.count("\n") for cell in cells)) > LINES_OF_A_ROW:
                self.problem("bad row", where, f"a quote opened {swallowed} lines before it is closed here only")
            elif any(cell.strip() for cell in cells):
                yield where, cells

    def rows(self, path: Path, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Rows of a CSV file whose first line names its columns, by column name in lower case.

        Raises:
            DataError: the first line lacks one of `columns`.
        """
        header: list[str] | None = None
        for where, cells in self.cells(path):
            if header is None:
                header = [name.strip().lower() for name in cells]
                if missing := [name for name in columns if name not in header]:
                    raise DataError(
                        f"{path}: its first line names the columns {', '.join(map(short, cells[:12]))}, and none of"
                        f" them is {missing[0]}: it is not the file of that name that is meant, or is damaged."
                    )
            elif len(cells) != len(header):
                self.problem("bad row", where, f"has {len(cells)} cells under {len(header)} columns")
            else:
                yield where, dict(zip(header, cells, strict=True))
        if header is None:
            raise DataError(f"{path} is empty: fetch it again.")

    def problem(self, kind: str, where: str | Path, reason: str) -> None:
        """Note something that was left out."""
        self.problems.append(Problem(kind, where.name if isinstance(where, Path) else where, reason))

    def _rank(self, number: int, order: int, depth: int, path: Path) -> Rank:
        beside = any(path.parent == used.parent for used in self.used)
        own = beside or self.prefer in str(path.parent).lower()
        return (order, not own, number, not beside, depth)

    def _tell_others(self, found: list[tuple[Rank, Path]]) -> None:
        """Note that others are passed over that nothing but their place tells from the chosen one."""
        rank, chosen = found[0]
        like = [path for other, path in found if other[:4] == rank[:4] and path.is_file()]
        if len({path.stat().st_size for path in like}) > 1:
            note = f"{chosen.name} lies in {len(like)} places, with different contents; {chosen} was read."
            self.notes += [note] if note not in self.notes else []

    def _search(self) -> dict[str, list[tuple[int, int, Path]]]:
        index: dict[str, list[tuple[int, int, Path]]] = {}
        seen: set[str] = set()  # a link may lead back up
        for order, root in enumerate(self.folders):
            if not root.is_dir():
                raise DataError(f"there is no folder {root}: name the one that holds the annotation files.")
            for folder, folders, names in os.walk(root, followlinks=True):
                depth = len(Path(folder).relative_to(root).parts)
                real = os.path.realpath(folder)
                if real in seen:
                    folders.clear()
                    continue
                seen.add(real)
                folders[:] = sorted(f for f in folders if not f.startswith(".")) if depth < MAX_DEPTH else []
                for name in names:
                    if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                        index.setdefault(name.lower(), []).append((order, depth, Path(folder, name)))
        return index


def short(value: Any, length: int = 60) -> str:
    """A value for a message: quoted, and not longer than a line."""
    text = repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
    return text if len(text) <= length else text[: length - 1] + "…"

"""Which of the files that were given by hand are archives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tvrkit.prepare.archives.joined import is_archive, parts_of


def first_parts(paths: Iterable[Path]) -> list[Path]:
    """The archives among some files, each that was cut into parts by its first one.

    Raises:
        DataError: a part is missing.
    """
    return list(dict.fromkeys(parts_of(path)[0] for path in paths if is_archive(path.name)))


def given_archives(paths: Sequence[Path]) -> list[Path]:
    """The archives among some files and below some folders; hidden ones are left alone."""
    return [archive for path in paths for archive in first_parts([path] if path.is_file() else sorted(_files(path)))]


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        elif path.is_file():
            yield path

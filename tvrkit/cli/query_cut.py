"""Writing found moments as clips of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tvrkit.cli import output
from tvrkit.cli.answers import shown
from tvrkit.errors import DataError, VideoError
from tvrkit.index.hits import FoundMoment, Hit

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_STEM = 40  # characters, of at most four bytes: with the rest below the 255 bytes that file systems take


def cut_moments(hits: Sequence[Hit], folder: Path, mode: str, timeout_seconds: float) -> int:
    """Write the moments of some hits into a folder, named so that they sort by rank; nothing there is overwritten.

    A moment that cannot be written is told, and the others are.

    Args:
        hits: whose moments.
        folder: made where it is not there.
        mode: `copy`, `encode` or `auto`.
        timeout_seconds: limit for one clip.

    Returns:
        How many were written.

    Raises:
        DataError: the folder cannot be made, or no moment could be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--cut {folder}: {error.strerror or error}.") from None
    total = sum(len(hit.moments) for hit in hits)
    written, reasons = 0, []
    width = max(2, *(len(str(hit.rank)) for hit in hits))
    with output.progress("Cutting clips", total) as bar:
        for hit in hits:
            for reason in _cut(hit, folder, width, mode, timeout_seconds):
                written += reason is None
                reasons += [reason] if reason else []
                bar.advance()
    for reason in reasons:
        output.warn(reason)
    if not written:
        raise DataError(f"--cut {folder}: no moment could be written.")
    output.say(f"Clips: {written} in {folder}")
    return written


def _cut(hit: Hit, folder: Path, width: int, mode: str, timeout_seconds: float) -> Iterator[str | None]:
    """Write a hit's moments; for each None, or why it is not there."""
    from tvrkit.frames.cutting import cut_clip

    try:
        with _local(hit.path) as path:
            for place, found in enumerate(hit.moments, start=1):
                out = _free(folder / _name(hit, place, found, width))
                try:
                    cut_clip(
                        path, found.start_seconds, found.end_seconds, out, mode=mode, timeout_seconds=timeout_seconds
                    )
                    yield None
                except VideoError as error:
                    yield f"{shown(hit.path)}: {error.reason}"
    except VideoError as error:
        for _ in hit.moments:
            yield f"{shown(hit.path)}: {error.reason}"


@contextmanager
def _local(path: str) -> Iterator[Path]:
    from tvrkit.index.remote import fetched, is_address

    if is_address(path):
        with fetched(path) as copy:
            yield copy
    else:
        yield Path(path)


def _name(hit: Hit, place: int, found: FoundMoment, width: int) -> str:
    source = PurePosixPath(hit.path.split("?", 1)[0]) if "://" in hit.path else Path(hit.path)
    stem = re.sub(r"[^\w.-]+", "_", source.stem)[:_LONGEST_STEM].strip("._") or "video"
    minutes, seconds = divmod(int(found.start_seconds), 60)
    return f"{hit.rank:0{width}d}-{place}-{stem}-{minutes:02d}m{seconds:02d}s.mp4"


def _free(path: Path) -> Path:
    """The path, or the next one with a number behind it that nothing has."""
    free, number = path, 2
    while free.exists() or free.is_symlink():
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free

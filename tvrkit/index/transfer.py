"""Files copied or moved to another folder so that nothing is lost or overwritten, whenever it is interrupted.

A file is whole at its new place before it leaves the old one. Moves are written to a log first, so that they can be
undone. Imports no torch.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tvrkit.errors import DataError, VideoError
from tvrkit.files import sync_folder
from tvrkit.frames.identity import content_hash

MODES = ("copy", "move")

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV, errno.EACCES}


@dataclass(frozen=True)
class Transfer:
    """One file, where it lies and where it goes."""

    source: Path
    target: Path


class Refusal(Exception):
    """Why one file stays where it is."""


def transfer(item: Transfer, mode: str, note: Callable[[Transfer], None] | None = None) -> bool:
    """Copy or move one file; False where it is there already, with the same content.

    Killed at any moment, the file is whole at its old place, at its new one, or at both; the same call then ends it.

    Args:
        item: what goes where.
        mode: `copy` or `move`.
        note: told just before, when nothing stands in the way.

    Raises:
        Refusal: another file lies there, or what the file system says.
    """
    try:
        if item.source.is_symlink() and mode == "move":
            raise Refusal("it is a link to a file elsewhere: links are copied, not moved")
        if os.path.lexists(item.target):
            if not _same(item.source, item.target):
                raise Refusal("another file has its name there")
            done = False
        else:
            item.target.parent.mkdir(parents=True, exist_ok=True)
            if note is not None:
                note(item)
            _place(item, mode)
            done = True
        if mode == "move":
            item.source.unlink()
            sync_folder(item.source.parent)
            done = True
        return done
    except VideoError as error:
        raise Refusal(error.reason) from None
    except OSError as error:
        raise Refusal(error.strerror or str(error)) from None


def transfer_all(
    items: Sequence[Transfer], mode: str, log: Path | None, on_done: Callable[[], None] | None = None
) -> tuple[int, dict[Path, str]]:
    """Copy or move files; returns how many were, and source -> reason of those that stay.

    Args:
        items: what goes where.
        mode: `copy` or `move`.
        log: a file that each move is noted in before it is made, a JSON object a line; None notes nothing.
        on_done: called after each file.

    Raises:
        DataError: the log cannot be written: nothing is moved that is not in it.
    """
    done, stayed = 0, {}
    for item in items:
        try:
            done += transfer(item, mode, None if log is None else partial(_note, log))
        except Refusal as refusal:
            stayed[item.source] = str(refusal)
        if on_done is not None:
            on_done()
    return done, stayed


def undoing(log: Path) -> list[Transfer]:
    """The moves that take back what a log says, the last one first; what was not moved, or is back, is left out.

    Raises:
        DataError: the log cannot be read.
    """
    # A move that was killed was begun again, and noted twice.
    back = [Transfer(item.target, item.source) for item in dict.fromkeys(reversed(_noted(log)))]
    return [item for item in back if os.path.lexists(item.source)]


def _place(item: Transfer, mode: str) -> None:
    """The file at its new place, whole, and nothing there overwritten."""
    if mode == "move":
        try:
            os.link(item.source, item.target, follow_symlinks=False)
            sync_folder(item.target.parent)
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
    descriptor, name = tempfile.mkstemp(dir=item.target.parent, prefix=f".{item.target.name}"[:200], suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        shutil.copyfile(item.source, temporary)
        shutil.copystat(item.source, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if mode == "move" and content_hash(item.source) != content_hash(temporary):
            raise Refusal("it changed while it was copied")
        _publish(temporary, item.target)
        sync_folder(item.target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, target: Path) -> None:
    """Give a file its name; FileExistsError where that is taken."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without links: an empty file holds the name, and is replaced.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(temporary, target)


def _same(source: Path, target: Path) -> bool:
    if not target.is_file():
        return False
    if source.stat().st_size != target.stat().st_size:
        return False
    return os.path.samefile(source, target) or content_hash(source) == content_hash(target)


def _note(log: Path, item: Transfer) -> None:
    line = json.dumps({"from": str(item.source), "to": str(item.target)})
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write("\n" + line)  # after half a line that a kill has left
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(f"cannot write {log} ({error.strerror or error}), so nothing more is moved.") from None


def _noted(log: Path) -> list[Transfer]:
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the log {log} ({getattr(error, 'strerror', None) or error}).") from None
    items = []
    for line in lines:
        try:
            row = json.loads(line)
            items.append(Transfer(Path(row["from"]), Path(row["to"])))
        except (ValueError, KeyError, TypeError):
            pass  # a kill leaves half a line, whose move was not begun
    if not items:
        raise DataError(f"{log} is no log of `tvrkit filter`.")
    return items

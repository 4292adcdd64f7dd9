"""Writing files and folders so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; on success it is flushed to disk and takes `path`'s place.

    Raises:
        OSError: what the file system says (disk full, read-only); `path` is then as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp, and safetensors, make files private; this one should be readable as any other file is.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut (no-op where folders cannot be opened)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; on success it is flushed to disk and takes `path`'s place whole.

    A folder cannot replace a full one in one step: the old one steps aside for an instant, and `whole_folder` finds it
    there should the process die in it.

    Raises:
        OSError: what the file system says (disk full, read-only, `path` is a file); `path` is then as it was.
    """
    path = Path(path)
    aside = _aside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if aside.is_dir() and not path.exists():
        aside.rename(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):  # of processes that died
        shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        yield temporary
        for file in sorted(temporary.rglob("*"), reverse=True):
            if file.is_file():  # safetensors makes files private
                file.chmod(file.stat().st_mode | (0o666 & ~umask))
            _sync(file)
        sync_folder(temporary)
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
        try:
            temporary.rename(path)
        except OSError:
            if aside.is_dir():
                aside.rename(path)
            raise
        sync_folder(path.parent)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def absolute(path: str | Path) -> Path:
    """An absolute path, without `..` unless that leads elsewhere, as it does behind a link to a folder."""
    path, plain = Path(path).absolute(), Path(os.path.abspath(path))
    try:
        return plain if plain == path or plain.samefile(path) else path
    except OSError:
        return path


def whole_folder(path: str | Path) -> Path:
    """Where the folder lies that `atomic_folder` last wrote to `path`: beside it, after a crash at the worst moment."""
    path = Path(path)
    return _aside(path) if not path.exists() and _aside(path).is_dir() else path


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())

"""Whether a file is what its name says: a web page where an archive should be, an archive that ends too early."""

from __future__ import annotations

import gzip
import json
import tarfile
import zipfile
import zlib
from pathlib import Path

_WEB_PAGES = (b"<!doctype html", b"<html", b"<head", b"<!--", b"<?xml", b"<error")
_MAY_BE_PAGES = (".html", ".htm", ".xml", ".xhtml")
_MAGIC = {
    ".zip": (b"PK\x03\x04", b"PK\x05\x06"),
    ".gz": (b"\x1f\x8b",),
    ".tgz": (b"\x1f\x8b",),
    ".bz2": (b"BZh",),
    ".tbz2": (b"BZh",),
    ".xz": (b"\xfd7zXZ\x00",),
    ".txz": (b"\xfd7zXZ\x00",),
}
_TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
_MAX_JSON = 300_000_000  # bytes that are parsed as a check


def wrong_content(path: Path, name: str) -> str | None:
    """What shows at a glance that a file is not the one named: a few words, or None.

    A glance is the first bytes, a zip's list of members at its end, and all of a JSON file.

    Args:
        path: the file, wherever it lies.
        name: what it will be called; its suffix says what it should hold.
    """
    lower = name.lower()
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        return "an empty file came"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(_WEB_PAGES) and not lower.endswith(_MAY_BE_PAGES):
        return "a web page came instead of the file"
    for suffix, magics in _MAGIC.items():
        if lower.endswith(suffix) and not head.startswith(magics):
            return f"what came is no {suffix} file"
    if lower.endswith(".tar") and head[257:262] != b"ustar" and not _old_tar(head):
        return "what came is no .tar file"
    if lower.endswith(".zip") and not zipfile.is_zipfile(path):
        return "the archive that came has no end"
    return _wrong_json(path) if lower.endswith(".json") else None


def not_whole(path: Path, name: str) -> str | None:
    """What a look through all of a file finds missing, where no length was announced: a few words, or None."""
    lower = name.lower()
    try:
        if lower.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                bad = archive.testzip()
            return f"{bad} in it is damaged" if bad else None
        if lower.endswith(_TAR_SUFFIXES):
            from tvrkit.prepare.archives.tars import check_tar

            check_tar(path)
        elif lower.endswith(".gz"):
            with gzip.open(path) as stream:
                while stream.read(1 << 20):
                    pass
    except NotImplementedError:
        return None  # packed in a way that this Python cannot read: unpacking says so
    except RuntimeError:
        return None  # encrypted: likewise
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, ValueError) as error:
        return f"it is not whole ({str(error) or type(error).__name__})"
    return None


def can_be_checked(name: str) -> bool:
    """Whether `wrong_content` and `not_whole` together notice a missing end."""
    return name.lower().endswith((".zip", ".json", ".gz", *_TAR_SUFFIXES))


def _old_tar(head: bytes) -> bool:
    """A tar of before 1988, or an empty one: its header's checksum is right."""
    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        return "end of file header" in str(error)
    return True


def _wrong_json(path: Path) -> str | None:
    if path.stat().st_size > _MAX_JSON:
        return None
    text = path.read_bytes()
    try:
        json.loads(text)
    except RecursionError:
        return "what came is no JSON file"
    except ValueError:
        try:
            for line in filter(None, map(bytes.strip, text.splitlines())):
                json.loads(line)  # JSON lines are called .json, too
        except (ValueError, RecursionError):
            return "what came is no whole JSON file"
    return None

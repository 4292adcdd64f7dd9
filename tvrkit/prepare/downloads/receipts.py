"""What was downloaded into a folder, and whether it still lies there as it came: downloads.json."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tvrkit.files import write_json
from tvrkit.prepare.downloads.assets import Asset
from tvrkit.prepare.downloads.content import wrong_content

RECEIPTS_NAME = "downloads.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Receipt:
    """One file that came whole.

    Attributes:
        url: where from, without what may be a password or a signature; None for a file that somebody put there.
        size: bytes.
        sha256: its checksum when it came.
        etag: what the server called that state of it.
        modified: Last-Modified, as the server sent it.
        date: when it came, UTC.
        mtime_ns: the file's own time of change then: with the size it tells at a glance that nothing happened since.
    """

    url: str | None
    size: int
    sha256: str
    etag: str | None
    modified: str | None
    date: str
    mtime_ns: int

    def is_of(self, status: os.stat_result) -> bool:
        """Whether a file looks as it did when it came."""
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


class Receipts:
    """The receipts of one folder, for any number of threads."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()

    def all(self) -> dict[str, Receipt]:
        """File name to receipt; nothing where there are none, or they cannot be read."""
        try:
            held = json.loads((self._folder / RECEIPTS_NAME).read_text(encoding="utf-8"))
            items = held.items()
        except (OSError, ValueError, AttributeError):
            return {}
        return {name: receipt for name, value in items if (receipt := _receipt(value)) is not None}

    def add(
        self, name: str, url: str | None, sha256: str, *, etag: str | None = None, modified: str | None = None
    ) -> None:
        """Write down that a file lies there whole."""
        status = (self._folder / name).stat()
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        new = Receipt(_without_secrets(url), status.st_size, sha256, etag, modified, date, status.st_mtime_ns)
        with self._lock:
            held = {**self.all(), name: new}
            write_json(self._folder / RECEIPTS_NAME, {key: asdict(held[key]) for key in sorted(held)})


def sha256_of(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def what_is_wrong(asset: Asset, path: Path, receipt: Receipt | None, *, quick: bool = False) -> str | None:
    """Why the file that lies at `path` cannot be taken for the asset, in a few words; None if it can.

    `quick` believes a file whose size is right, without reading it.
    """
    status = path.stat()
    if asset.size not in (None, status.st_size):
        return f"it has {status.st_size:,} bytes and should have {asset.size:,}"
    if receipt is not None and receipt.is_of(status) and asset.sha256 in (None, receipt.sha256):
        return None
    if asset.sha256 is not None:
        return None if quick or sha256_of(path) == asset.sha256 else "its checksum is another one"
    if receipt is not None:
        changed = receipt.size != status.st_size or (not quick and sha256_of(path) != receipt.sha256)
        return "it was changed since it was downloaded" if changed else None
    return wrong_content(path, asset.name)


def verify_downloads(folder: str | Path) -> list[tuple[str, str]]:
    """Read every downloaded file of a folder again: names of those that are gone or changed, each with the reason."""
    wrong = []
    for name, receipt in Receipts(Path(folder)).all().items():
        path = Path(folder) / name
        try:
            if path.stat().st_size != receipt.size:
                wrong.append((name, f"it has {path.stat().st_size:,} bytes, and {receipt.size:,} came"))
            elif sha256_of(path) != receipt.sha256:
                wrong.append((name, "its content is not what came"))
        except FileNotFoundError:
            wrong.append((name, "it is gone"))
        except OSError as error:
            wrong.append((name, f"it cannot be read ({error.strerror or error})"))
    return wrong


def _receipt(value: Any) -> Receipt | None:
    try:
        receipt = Receipt(**{field.name: value[field.name] for field in fields(Receipt)})
    except (KeyError, TypeError):
        return None
    sound = isinstance(receipt.size, int) and isinstance(receipt.sha256, str) and isinstance(receipt.mtime_ns, int)
    return receipt if sound else None


def _without_secrets(url: str | None) -> str | None:
    if url is None or "://" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

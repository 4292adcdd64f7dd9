"""What tests of downloads and of archives share: two files, little patience, and a listener."""

from __future__ import annotations

import hashlib
import io
import os
import random
import socket
import zipfile
from contextlib import contextmanager
from pathlib import Path

from tvrkit.prepare.downloads.assets import Asset
from tvrkit.prepare.downloads.download import Fetched, download_all, verify_downloads
from tvrkit.prepare.downloads.receipts import RECEIPTS_NAME
from tvrkit.reporting import Silent

BODY = random.Random(7).randbytes(50_000)
OTHER = random.Random(8).randbytes(50_000)
PATH = "/data/a.bin"


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.bars: list[list] = []

    @contextmanager
    def progress(self, description, total=None):
        self.bars.append([description, total, 0])
        yield self

    def advance(self, n=1):
        self.bars[-1][2] += n

    def warn(self, text):
        self.words.append(text)


def asset(*urls: str, name: str = "a.bin", **more) -> Asset:
    return Asset(name, more.pop("holds", "videos"), urls, **more)


def fetch(folder: Path, *assets: Asset, **more) -> Fetched:
    """Download with little patience, so that a test of failures takes no seconds."""
    settings = {"retries": 2, "timeout_seconds": 60.0, "backoff_seconds": 0.001, **more}
    return download_all(assets, folder, **settings)


def is_whole(folder: Path, fetched: Fetched, body: bytes = BODY, name: str = "a.bin") -> bool:
    """The file is there to the byte, nothing else was left, and nothing failed."""
    left = sorted(entry.name for entry in folder.iterdir())
    return (
        fetched.failures == {}
        and fetched.paths[name].read_bytes() == body
        and left == sorted([name, RECEIPTS_NAME])
        and verify_downloads(folder) == []
    )


def sentence(fetched: Fetched, name: str = "a.bin") -> str:
    """The one failure, checked to be a sentence."""
    assert fetched.paths == {}
    (text,) = (fetched.failures[name],)
    assert fetched.reasons[name] in text
    assert text.startswith(name) and text.endswith(".") and "\n" not in text and "Traceback" not in text
    return text


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def umask_now() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def dead_port():
    """A port of this machine that nobody listens on, for as long as the context lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]

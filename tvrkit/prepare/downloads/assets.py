"""A file that a benchmark's preparation may download: what it holds, where it lies, and how it is known to be whole."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Holds = Literal["annotations", "videos"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f]')  # what cannot stand in a file name somewhere


@dataclass(frozen=True)
class Asset:
    """One file to be downloaded.

    An archive that its owner cut into parts is several assets, one a part: `videos.tar.partaa`, `videos.tar.partab`.

    Attributes:
        name: the file name under which it is kept: no folders in it, never what a server calls it.
        holds: what is in it.
        urls: http(s) addresses, tried in order.
        size: bytes, where they are known for certain: another size is refused.
        sha256: in hexadecimal, where it is known: another content is refused.
        splits: values of `--split` that need it; none means that all do.
        optional: the preparation goes on without it.

    Raises:
        ValueError: a name that is no plain file name, an address that is not http(s), a damaged checksum.
    """

    name: str
    holds: Holds
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    splits: tuple[str, ...] = ()
    optional: bool = False

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith(".") or self.name != self.name.strip() or _FORBIDDEN.search(self.name):
            raise ValueError(f"{self.name!r} is no plain file name")
        for url in self.urls:
            if not url.startswith(("https://", "http://")):
                raise ValueError(f"{self.name}: {url!r} is no http(s) address")
        if self.size is not None and self.size <= 0:
            raise ValueError(f"{self.name}: a size of {self.size} bytes")
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.name}: {self.sha256!r} is no SHA-256 in lower-case hexadecimal")

    def needed_by(self, split: str) -> bool:
        """Whether that value of `--split` needs the file."""
        return not self.splits or split in self.splits


def assets_of(assets: Iterable[Asset], *, split: str, holds: Holds) -> tuple[Asset, ...]:
    """Those that hold annotations, or videos, and that a value of `--split` needs, in their order."""
    return tuple(asset for asset in assets if asset.holds == holds and asset.needed_by(split))

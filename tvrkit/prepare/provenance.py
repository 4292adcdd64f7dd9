"""Where a data set comes from, so that it can be made again: the command line, and the annotation files' digests."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tvrkit.files import absolute
from tvrkit.prepare.downloads.receipts import sha256_of


def command_line(origin: str, *arguments: str, **options: object) -> str:
    """The `tvrkit prepare` line of these options; None and False are left out, of a tuple each item is given."""
    words = ["tvrkit", "prepare", origin, *arguments]
    for name, value in options.items():
        option = "--" + name.rstrip("_").replace("_", "-")
        for item in value if isinstance(value, tuple) else (value,):
            if item is True:
                words.append(option)
            elif item is not None and item is not False:
                words += [option, str(item).removesuffix(".0") if isinstance(item, float) else str(item)]
    return shlex.join(words)


def files_used(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Path, bytes and SHA-256 of each file.

    Raises:
        OSError: one cannot be read.
    """
    return [{"path": str(absolute(path)), "bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in paths]


def place_of(name: str) -> float:
    """A place in [0, 1) that depends on a video's name alone: who is drawn by it stays, whatever is added later."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="replace"), digest_size=8).digest(), "big") / 2**64

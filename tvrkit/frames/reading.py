"""How videos are read: what every workflow hands down to its pool of processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvrkit.frames.cache import PixelCache


@dataclass(frozen=True)
class Reading:
    """How videos are read.

    Attributes:
        workers: processes that decode and preprocess, of each process of a team; 0 does it in this one.
        reader: `auto`, `av` or `decord`.
        timeout_seconds: limit for one video.
        cache: where decoded frames are looked up and kept.
    """

    workers: int = 2
    reader: str = "auto"
    timeout_seconds: float = 60.0
    cache: PixelCache | None = None

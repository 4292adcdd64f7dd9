"""Previews of spans that every browser plays, made when they are first asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tvrkit.errors import VideoError
from tvrkit.frames.cutting import cut_clip
from tvrkit.serve.disk_cache import DiskCache
from tvrkit.serve.gate import Gate
from tvrkit.serve.refusal import Refusal

LONGEST_SECONDS = 60.0
_BYTES = 2 << 30
_AT_ONCE = 2
_WAITING = 16
_SECONDS = 120.0


class Clips:
    """Makes and keeps them; one that is asked for twice at a time is made once.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._cache = DiskCache(folder, _BYTES)
        self._gate = Gate("clips", _AT_ONCE, _WAITING)
        self._under_way: dict[str, asyncio.Future[Path]] = {}

    async def get(self, video: str, path: str, start_seconds: float, end_seconds: float) -> Path:
        """An mp4 of a span.

        Raises:
            Refusal: 422 no picture lies there, 503 too many are waited for.
            StoreError: it cannot be kept.
        """
        name = f"{video}-{round(start_seconds * 1000)}-{round(end_seconds * 1000)}.mp4"
        if kept := self._cache.get(name):
            return kept
        making = self._under_way.get(name)
        if making is None:
            making = asyncio.ensure_future(
                self._gate.run(lambda: self._make(name, path, start_seconds, end_seconds)),
            )
            self._under_way[name] = making
            making.add_done_callback(lambda _: self._under_way.pop(name))
        # A client that leaves does not end what others may wait for.
        return await asyncio.shield(making)

    def close(self) -> None:
        """Make no more."""
        self._gate.close()

    def _make(self, name: str, path: str, start: float, end: float) -> Path:
        def write(temporary: Path) -> None:
            cut_clip(path, start, end, temporary, mode="encode", timeout_seconds=_SECONDS)

        try:
            return self._cache.make(name, write)
        except VideoError as error:
            raise Refusal(422, f"no preview can be made of that span: the video {error.reason}.") from None

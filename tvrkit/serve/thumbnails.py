"""Pictures of moments: one frame of a video, small, as JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tvrkit.errors import StoreError
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.request import FrameRequest
from tvrkit.serve.disk_cache import DiskCache
from tvrkit.serve.gate import Gate
from tvrkit.serve.refusal import Refusal

WIDTHS = (160, 320, 480, 640, 960, 1280)
_BYTES = 256 << 20
_QUALITY = 82
_AT_ONCE = 2
_WAITING = 120
_SECONDS = 15.0


@dataclass(frozen=True)
class Shrink:
    """A picture, made no wider than this in the process that decoded it, so that less goes through the pipe."""

    width: int = WIDTHS[-1]

    def __call__(self, image: Image.Image) -> np.ndarray:
        """(height, width, 3) uint8."""
        return np.asarray(_shrunk(image.convert("RGB"), self.width))


class Thumbnails:
    """Makes and keeps them. A decoder that hangs or crashes costs its process and one picture.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._cache = DiskCache(folder, _BYTES)
        self._pool = DecodePool(_AT_ONCE, Shrink(), timeout_seconds=_SECONDS)
        self._gate = Gate("thumbnails", _AT_ONCE, _WAITING)

    async def get(self, video: str, path: str, at_seconds: float, duration_seconds: float, width: int) -> bytes:
        """A JPEG of a time.

        Args:
            video: identity of the content.
            path: of a file with it.
            at_seconds: a time beyond the end gives the last frame or so.
            duration_seconds: of the file.
            width: pixels; the next larger of `WIDTHS` is made, never one wider than the video.

        Raises:
            Refusal: 422 no frame can be had, 503 too many are waited for.
        """
        width = next(wide for wide in WIDTHS if wide >= width)
        return await self._gate.run(lambda: self._get(video, path, at_seconds, duration_seconds, width))

    async def codec(self, path: str) -> str:
        """FFmpeg's name of what a video is encoded with; "" where it cannot be read.

        Raises:
            Refusal: 503, too many are waited for.
        """
        return await self._gate.run(lambda: self._codec(path))

    def close(self) -> None:
        """End the processes."""
        self._gate.close()
        self._pool.close()

    def _get(self, video: str, path: str, at: float, duration: float, width: int) -> bytes:
        at = min(at, max(0.0, duration - 0.05))
        name = f"{video}-{round(at * 1000)}-{width}.jpg"
        if kept := self._cache.get(name):
            try:
                return kept.read_bytes()
            except OSError:
                pass  # another process made room just now
        content = _jpeg(self._frame(path, at), width)
        try:
            self._cache.make(name, lambda temporary: None if temporary.write_bytes(content) else None)
        except StoreError:
            pass  # it only has to be made again
        return content

    def _codec(self, path: str) -> str:
        info = next(iter(self._pool.imap([FrameRequest(path, 1, end_seconds=0.001, with_info=True)]))).info
        return info.codec if info else ""

    def _frame(self, path: str, at: float) -> Image.Image:
        # The middle of the span is what `uniform` samples.
        half = min(0.02, at) or 0.001
        request = FrameRequest(path, 1, start_seconds=max(0.0, at - half), end_seconds=at + half)
        decoded = next(iter(self._pool.imap([request])))
        if decoded.frames is None:
            reason = decoded.error.reason if decoded.error else "no frame"
            raise Refusal(422, f"no picture can be had of that time: the video {reason}.")
        return Image.fromarray(np.asarray(decoded.frames[0]))


def _jpeg(image: Image.Image, width: int) -> bytes:
    out = io.BytesIO()
    _shrunk(image, width).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _shrunk(image: Image.Image, width: int) -> Image.Image:
    # A tall video (of a phone) is held to the same number of pixels a side.
    scale = min(1.0, width / max(image.width, image.height * 9 / 16))
    if scale == 1.0:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)

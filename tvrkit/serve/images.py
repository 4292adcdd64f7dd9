"""Pictures that were sent to be searched with: checked, and kept for a while."""

from __future__ import annotations

import hashlib
import io
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from tvrkit.errors import StoreError
from tvrkit.serve.refusal import Refusal

MOST_BYTES = 10_000_000
MOST_PIXELS = 50_000_000
_MOST_KEPT = 64
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")


class Images:
    """Keeps the latest pictures as they were sent, under the hash of their bytes, until `close`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tvrkit-images-")
        self._kept: OrderedDict[str, Path] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, content: bytes) -> str:
        """Check and keep a picture; the same bytes have the same id.

        Raises:
            Refusal: 422 it cannot be read, 413 it has too many pixels.
            StoreError: it cannot be kept.
        """
        _check(content)
        identity = hashlib.blake2b(content, digest_size=16).hexdigest()
        path = Path(self._folder.name, identity)
        with self._lock:
            try:
                path.write_bytes(content)
            except OSError as error:
                raise StoreError(f"the picture cannot be kept ({error.strerror or error}).") from None
            self._kept[identity] = path
            self._kept.move_to_end(identity)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)[1].unlink(missing_ok=True)
        return identity

    def path(self, identity: str) -> str:
        """Where a picture lies.

        Raises:
            Refusal: 422, it was never sent, or others took its place.
        """
        with self._lock:
            if identity not in self._kept:
                raise Refusal(422, "that picture is not (or no longer) kept here: send it to /api/images again.")
            self._kept.move_to_end(identity)
            return str(self._kept[identity])

    def close(self) -> None:
        """Delete them."""
        self._folder.cleanup()


def _check(content: bytes) -> None:
    too_large = Refusal(413, f"the picture has more than {MOST_PIXELS // 10**6} million pixels.")
    try:
        with Image.open(io.BytesIO(content), formats=_known_formats()) as image:
            if image.width * image.height > MOST_PIXELS:
                raise too_large
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_large from None
    except Refusal:
        raise
    except Exception:  # Pillow's readers fail in many ways on what is damaged
        raise Refusal(
            422, "that is no picture that can be read here: send a JPEG, PNG, WebP, GIF, BMP or AVIF."
        ) from None


def _known_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)

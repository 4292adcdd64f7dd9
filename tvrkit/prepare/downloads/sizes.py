"""Bytes as people read them, and a bar that counts them."""

from __future__ import annotations

import threading

from tvrkit.reporting import Bar

MEGABYTE = 1_000_000


def in_words(size: int) -> str:
    """`512 bytes`, `3.4 MB`, `21 GB`; decimal, as downloads are announced."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5:
            return f"{value:.2g} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return f"{value / 1000:,.1f} TB"


def megabytes(size: int) -> int:
    """Whole megabytes that a bar counts for `size` bytes."""
    return size // MEGABYTE


class ByteBar:
    """Bytes, from any thread, to a bar that counts whole megabytes."""

    def __init__(self, bar: Bar) -> None:
        self._bar, self._lock = bar, threading.Lock()
        self._bytes = self._shown = 0

    def add(self, size: int) -> None:
        """So many more bytes are there; fewer, where a file had to be begun anew."""
        with self._lock:
            self._bytes += size
            now = megabytes(self._bytes)
            if now != self._shown:
                self._bar.advance(now - self._shown)
                self._shown = now

    def note(self, text: str) -> None:
        """Words beside the bar."""
        with self._lock:
            self._bar.note(text)

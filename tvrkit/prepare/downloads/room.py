"""The free space of a disk, shared by everything that is being written to it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from tvrkit.errors import DataError
from tvrkit.prepare.downloads.sizes import in_words

SPARE = 50_000_000  # bytes that are left free


class Room:
    """What is still to come into a folder, by name, from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._expected: dict[str, int] = {}

    def check(self, more: int) -> None:
        """Raise DataError where the disk has no room for so many bytes."""
        free = shutil.disk_usage(self._folder).free
        if more > 0 and more + SPARE > free:
            raise DataError(
                f"the disk of {self._folder} has {in_words(free)} left and {in_words(more)} are still to come:"
                " make room, or choose another folder."
            )

    def expect(self, name: str, more: int) -> None:
        """So many bytes of `name` are still to come; DataError where the disk has no room for all that is."""
        with self._lock:
            self._expected[name] = more
            self.check(sum(self._expected.values()))

    def came(self, name: str, size: int) -> None:
        """So many of them came."""
        with self._lock:
            if name in self._expected:
                self._expected[name] = max(0, self._expected[name] - size)

    def done(self, name: str) -> None:
        """No more of `name` comes."""
        with self._lock:
            self._expected.pop(name, None)

"""Small files that can be made again, kept on disk up to a size."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from tvrkit.errors import StoreError
from tvrkit.files import atomic_path


class DiskCache:
    """Files by name in a folder; when they are too large together, those that were not used for longest go.

    Several processes may share the folder. To be used by any thread.

    Args:
        folder: where; made when the first file is.
        most_bytes: of all files together, but for one that is larger by itself.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._lock = threading.Lock()
        self._bytes: int | None = None  # of the folder, as far as this process knows

    def get(self, name: str) -> Path | None:
        """The file, which now counts as used; None where there is none."""
        path = self._folder / name
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    def make(self, name: str, write: Callable[[Path], None]) -> Path:
        """Have a file written to a temporary place, and keep it.

        Raises:
            StoreError: it cannot be kept (disk full, read-only).
            Exception: what `write` raised; nothing is kept then.
        """
        path = self._folder / name
        try:
            with atomic_path(path) as temporary:
                write(temporary)
                size = temporary.stat().st_size
        except OSError as error:
            raise StoreError(f"{self._folder} cannot be written to ({error.strerror or error}).") from None
        with self._lock:
            self._bytes = self._measure() if self._bytes is None else self._bytes + size
            if self._bytes > self._most_bytes:
                self._bytes = self._shrink(keep=path)
        return path

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self._folder.iterdir():
            try:
                status = path.stat()
            except OSError:
                continue  # another process's, gone by now
            found.append((status.st_mtime, status.st_size, path))
        return found

    def _measure(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _shrink(self, keep: Path) -> int:
        # A good deal below the limit, so that the folder is not listed for every new file.
        files = sorted(self._files())
        left = sum(size for _, size, _ in files)
        for _, size, path in files:
            if left <= self._most_bytes * 0.8:
                break
            if path != keep:
                path.unlink(missing_ok=True)
                left -= size
        return left

"""Which segments were found whole before, so that a large store is not read from end to end at every start."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tvrkit.files import write_text

CHECKED = "checked.json"
_SETTLED_SECONDS = 2.0  # a file that was just written can change again without a change of its time


class Checked:
    """Segments by name, each with the state (size, time, inode) in which its checksum was right.

    It only saves time: one that cannot be read or written, or that another process has overwritten, costs a check.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / CHECKED
        self._known = self._read()
        self._new: dict[str, str] = {}

    def has(self, segment: Path) -> bool:
        """Whether a segment's file is as it was when it was whole."""
        state = _state(segment)
        return bool(state) and self._known.get(segment.name) == state

    def note(self, segment: Path) -> None:
        """It is whole, as it is now."""
        state = _state(segment)
        if state and time.time() - int(state.split()[1]) / 1e9 > _SETTLED_SECONDS:
            self._new[segment.name] = state

    def save(self) -> None:
        """Keep what was noted."""
        if not self._new:
            return
        known = {**self._read(), **self._new}
        self._new = {}
        self._known = {name: state for name, state in known.items() if (self._path.parent / name).exists()}
        try:
            write_text(self._path, json.dumps(self._known))
        except OSError:
            pass  # a folder that may only be read

    def forget(self) -> None:
        """Nothing was checked."""
        self._known, self._new = {}, {}

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _state(segment: Path) -> str:
    try:
        status = segment.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"

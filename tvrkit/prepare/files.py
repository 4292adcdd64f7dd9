"""From what a caption file calls a video to a file under the folder of clips, and no other file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tvrkit.prepare.captions import Entry
from tvrkit.prepare.report import Problem


@dataclass
class Finder:
    """Finds the video that an entry means.

    A caption file may come from anybody, so it cannot make tvrkit read a file outside the folder of clips: no
    absolute path that leads elsewhere and no `..` out of it. Links inside the folder are its owner's and followed.

    Attributes:
        clips: the folder of clips, absolute.
        beside: the folder of the caption file, absolute: paths may be relative to it, too.
        by_name: how many entries were found by name alone.
    """

    clips: Path
    beside: Path | None
    videos: Sequence[Path]
    by_name: int = 0
    _names: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for video in self.videos:
            for name in {video.name, video.stem}:
                self._names[name].append(video)

    def find(self, entry: Entry) -> Path | Problem:
        """The file, or the problem that there is none."""
        outside = entry.path is not None
        if entry.path is not None:
            for base in filter(None, (self.clips, self.beside)):
                candidate = Path(os.path.normpath(base / entry.path))
                if candidate.is_relative_to(self.clips):
                    outside = False
                    if _is_file(candidate):
                        return candidate
        # Caption files of benchmarks name videos and not files: `video7010` is video7010.mp4, wherever it lies. A path
        # with folders in it is no such name: another folder's 001.mp4 is another video.
        called = entry.path or entry.video_id or ""
        found = [] if "/" in called or "\\" in called else self._names.get(called, [])
        if len(found) == 1:
            self.by_name += 1
            return found[0]
        if len(found) > 1:
            places = ", ".join(str(path.relative_to(self.clips)) for path in found[:3])
            return Problem("missing file", entry.where, f"{called} may be any of {places}: give its path")
        if outside:
            return Problem("outside the folder", entry.where, f"{called} does not lie in {self.clips}")
        return Problem("missing file", entry.where, f"{called} is not in {self.clips}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, a null byte
        return False

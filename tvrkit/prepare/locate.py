"""From a benchmark's video id to the files that may hold it, anywhere below the folders that were named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from tvrkit.files import absolute
from tvrkit.frames.identity import VIDEO_SUFFIXES, find_videos


class Locator:
    """Knows every video file below some folders by name.

    Args:
        folders: searched with all that is below them; files of an earlier one come first.
        leave_out: a folder whose files do not count, should it lie below one of them: the data set's own copies.
    """

    def __init__(self, folders: Sequence[Path], leave_out: Path | None = None) -> None:
        self.files: list[Path] = []
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_lower: dict[str, list[Path]] = defaultdict(list)
        seen: set[Path] = set()
        for folder in folders:
            # The shallowest first: a copy in a folder of leftovers is not what is meant.
            for path in sorted(find_videos(absolute(folder)), key=lambda path: (len(path.parts), path)):
                whole = path.absolute()
                if whole not in seen and not (leave_out and whole.is_relative_to(leave_out)):
                    seen.add(whole)
                    self._add(whole)

    def _add(self, path: Path) -> None:
        self.files.append(path)
        for name in _names(path):
            self._by_name[name].append(path)
            self._by_lower[name.lower()].append(path)

    def locate(self, names: Mapping[str, Sequence[str]]) -> dict[str, list[Path]]:
        """For each video id the files that may be it, the best first; none where there is none.

        A file of exactly that name comes before one that differs in upper and lower case, and the latter is taken
        only where no other video has that very name: ids of YouTube differ in case alone.

        Args:
            names: for each video id the file names, with or without suffix, under which it may lie, in order.
        """
        found = {
            video_id: list(dict.fromkeys(path for name in its for path in self._by_name.get(name, [])))
            for video_id, its in names.items()
        }
        taken = {path for its in found.values() for path in its}
        for video_id, its in found.items():
            if not its:
                near = [path for name in names[video_id] for path in self._by_lower.get(name.lower(), [])]
                its += [path for path in dict.fromkeys(near) if path not in taken]
        return found


def _names(path: Path) -> list[str]:
    """What a file may be called by: its name, without its suffix, and without one more (`a.avi.mp4`)."""
    names = [path.name, path.stem]
    inner = Path(path.stem)
    if inner.suffix.lower() in VIDEO_SUFFIXES:
        names.append(inner.stem)
    return names

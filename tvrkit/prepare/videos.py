"""What became of each video that a data set names: present, missing or unreadable; videos.csv has a line for each."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tvrkit.files import atomic_path

if TYPE_CHECKING:
    from tvrkit.frames.request import VideoInfo
    from tvrkit.prepare.probes import Span

VIDEOS_NAME = "videos.csv"
COLUMNS = "video_id split state path seconds frames fps width height bytes codec reason captions".split()

State = Literal["present", "missing", "unreadable"]


@dataclass(frozen=True)
class Video:
    """One video of a data set, or one span of one: a record in the making.

    Attributes:
        video_id: unique in the data set.
        split: where its captions belong.
        captions: none of them empty.
        path: the file, absolute; None where there is none.
        start_seconds: of the part that counts; None is the file's own start.
        end_seconds: likewise.
        tags: see docs/manifest.md.
        reason: why it cannot be used; empty where it can.
        duration_seconds: of the whole file.
        info: what the file is, where it was looked into.
    """

    video_id: str
    split: str
    captions: tuple[str, ...]
    path: Path | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    duration_seconds: float | None = None
    info: VideoInfo | None = None

    @property
    def state(self) -> State:
        """Missing without a file, unreadable with a reason."""
        return "missing" if self.path is None else "unreadable" if self.reason else "present"

    @property
    def span(self) -> Span | None:
        """The file and the part of it that counts; None where it is missing."""
        return None if self.path is None else (self.path, self.start_seconds, self.end_seconds)

    @property
    def seconds(self) -> float | None:
        """Length of the part that counts; None where it is not known."""
        if self.duration_seconds is None:
            return None
        return max(
            0.0, min(self.end_seconds or self.duration_seconds, self.duration_seconds) - (self.start_seconds or 0)
        )


def path_from(folder: Path, path: Path) -> str:
    """How a data set in `folder` names a file: what lies in it from there, so that both move together."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def write_videos(videos: Iterable[Video], folder: Path) -> None:
    """Write `folder`'s videos.csv, which a spreadsheet opens; what of a name is no text stands in it as an escape."""
    with (
        atomic_path(folder / VIDEOS_NAME) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(_line(video, folder) for video in videos)


def _line(video: Video, folder: Path) -> Sequence[object]:
    info = video.info
    size: int | None = None
    if video.path is not None:
        try:
            size = video.path.stat().st_size
        except OSError:
            size = None
    return (
        video.video_id,
        video.split,
        video.state,
        "" if video.path is None else path_from(folder, video.path),
        video.duration_seconds,
        *((info.frames, _plain(info.fps), info.width, info.height) if info else ("", "", "", "")),
        size,
        info.codec if info else "",
        video.reason,
        len(video.captions),
    )


def _plain(number: float | None) -> str | None:
    return None if number is None else f"{number:.3f}".rstrip("0").rstrip(".")

"""Small copies of a data set's videos, which are read in place of the originals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tvrkit.frames.reading import Reading
from tvrkit.prepare.downloads.sizes import in_words
from tvrkit.prepare.examine import examine
from tvrkit.prepare.provenance import place_of
from tvrkit.prepare.report import many
from tvrkit.prepare.videos import Video
from tvrkit.reporting import Reporter

COPIES = "compressed"

_UNSAFE = re.compile(r"[^A-Za-z0-9._@+=-]")


def copy_of(video_id: str, folder: Path) -> Path:
    """Where a video's copy lies: under its id, as far as every file system takes it."""
    safe = _UNSAFE.sub("_", video_id).lstrip(".")[:120]
    if safe != video_id or safe != safe.lower():  # Windows and macOS take `aB` and `Ab` for the same name
        safe = f"{safe}~{int(place_of(video_id) * 2**32):08x}"
    return folder / COPIES / f"{safe}.mp4"


def compress_videos(
    videos: Sequence[Video], folder: Path, *, reading: Reading, watcher: Reporter, notes: list[str]
) -> list[Video]:
    """Make a small copy of each video that can be used, and let it take the original's place.

    Videos that share a file share its copy. Where a copy cannot be made the original stays, and a note says so.

    Args:
        videos: looked into already.
        folder: of the data set; copies go to its `compressed`.
        reading: how videos are read.
        watcher: is told how it goes.
        notes: is told what was saved.
    """
    from tvrkit.prepare.compress import compress_all

    jobs: dict[Path, Path] = {}
    for video in videos:
        if video.state == "present" and video.path is not None and video.path.parent != folder / COPIES:
            jobs.setdefault(video.path, copy_of(video.video_id, folder))
    made = compress_all(
        list(jobs.items()), workers=reading.workers, timeout_seconds=reading.timeout_seconds, watcher=watcher
    )
    if made.bytes_before:
        saved = 1 - made.bytes_after / made.bytes_before
        notes.append(
            f"Compressed: {many(made.new + made.kept, 'video')} from {in_words(made.bytes_before)} to"
            f" {in_words(made.bytes_after)}, {saved:.0%} saved ({made.new:,} now, {made.kept:,} before)."
        )
    if made.failures:
        path, reason = next(iter(made.failures.items()))
        notes.append(f"Not compressed, used as they are: {many(len(made.failures), 'video')} ({path.name}: {reason}).")
    copied = [_with_copy(video, made.done) for video in videos]
    return examine(copied, folder, reading=reading, watcher=watcher)[0]


def _with_copy(video: Video, copies: Mapping[Path, Path]) -> Video:
    if video.state != "present" or video.path is None or copies.get(video.path, video.path) == video.path:
        return video
    return replace(video, path=copies[video.path], info=None, duration_seconds=None)

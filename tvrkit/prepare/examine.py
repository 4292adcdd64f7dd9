"""Look into every video that was found: what it is, how long, and why it cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tvrkit.frames.reading import Reading
from tvrkit.prepare.probes import PROBES_NAME, probe_all
from tvrkit.prepare.videos import Video
from tvrkit.reporting import Reporter

NO_TEXT = "its name is no UTF-8 text: rename it"


def examine(
    videos: Sequence[Video], folder: Path, *, reading: Reading, watcher: Reporter, again: bool = False
) -> tuple[list[Video], int]:
    """Decode a frame of each video that is not missing.

    Args:
        videos: all of them.
        folder: of the data set, where it is remembered what could be read.
        reading: how videos are read.
        watcher: is told how it goes.
        again: look into those as well that are remembered.

    Returns:
        The same videos in the same order, with what was found out or why they cannot be used; and how many files were
        looked into now.

    Raises:
        OSError: the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spans = [video.span for video in videos if video.span is not None and not video.reason]
    probes = probe_all(spans, folder / PROBES_NAME, reading=reading, watcher=watcher, again=again)
    looked_at = []
    for video in videos:
        span = video.span
        if span is None or video.reason:
            looked_at.append(video)
        elif span in probes.failures:
            looked_at.append(replace(video, reason=probes.failures[span]))
        elif not is_text(str(video.path)):
            looked_at.append(replace(video, reason=NO_TEXT))
        else:
            seconds = round(probes.durations[span], 3)
            looked_at.append(replace(video, duration_seconds=seconds, info=probes.infos.get(span)))
    return looked_at, probes.new


def is_text(name: str) -> bool:
    """Whether a file's name can be written as UTF-8; those of old file systems may hold any byte."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Which lines of a caption file belong together: one clip for each span of each file, under a name of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tvrkit.files import absolute
from tvrkit.prepare.captions import CaptionFile
from tvrkit.prepare.entries import Entry
from tvrkit.prepare.files import Finder
from tvrkit.prepare.probes import Span
from tvrkit.prepare.report import Problem, many


@dataclass
class Clip:
    """One record in the making."""

    span: Span
    where: str
    video_id: str | None
    split: str | None
    captions: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Joined:
    """Clips in the order of the caption file, entries whose file is not there (by what they call it), and notes."""

    clips: list[Clip]
    lost: dict[str, list[tuple[Entry, str]]]
    notes: list[str]


def join(found: CaptionFile, clips: Path, videos: Sequence[Path], captions: Path | None) -> Joined:
    """Entries that mean the same span of the same file become one clip; what does not fit becomes a problem."""
    beside = None if captions is None else absolute(captions).parent
    finder = Finder(clips, beside, videos)
    joined: dict[Span, Clip] = {}
    file_of_id: dict[str, Path] = {}
    lost: dict[str, list[tuple[Entry, str]]] = defaultdict(list)
    for entry in found.entries:
        path = finder.find(entry)
        if isinstance(path, Problem):
            found.problems.append(path)
            lost[entry.video_id or entry.path or ""].append((entry, path.reason))
            continue
        if entry.video_id is not None and file_of_id.setdefault(entry.video_id, path) != path:
            first = file_of_id[entry.video_id].name
            reason = f"{entry.video_id} stands for {first} already, and here for {path.name}"
            found.problems.append(Problem("duplicate id", entry.where, reason))
            continue
        span = (path, entry.start_seconds, entry.end_seconds)
        clip = joined.setdefault(span, Clip(span, entry.where, entry.video_id, entry.split))
        _add(clip, entry, found.problems)
    notes = []
    if finder.by_name:
        notes.append(f"Found by name, for want of a path: the videos of {many(finder.by_name, 'line')}.")
    silent = [video for video in videos if video not in {clip.span[0] for clip in joined.values()}]
    if silent:
        few = ", ".join(str(video.relative_to(clips)) for video in silent[:3])
        part = f"{len(silent)} of {many(len(videos), 'video')}"
        notes.append(f"Left out because no caption mentions them: {part} ({few}{more(silent)}).")
    return Joined(list(joined.values()), lost, notes)


def _add(clip: Clip, entry: Entry, problems: list[Problem]) -> None:
    """Another line about a clip: its captions are added, what contradicts an earlier line is named."""
    called = clip.span[0].name
    if entry.split != clip.split and entry.split is not None:
        if clip.split is None:
            clip.split = entry.split
        else:
            reason = f"puts {called} into {entry.split}, and an earlier line into {clip.split}, where it stays"
            problems.append(Problem("two splits", entry.where, reason))
    again = [caption for caption in entry.captions if caption in clip.captions]
    if again and clip.where != entry.where:
        reason = f"gives {called} a caption that it has already: {again[0]!r}"
        problems.append(Problem("repeated caption", entry.where, reason))
        clip.captions += [caption for caption in entry.captions if caption not in again]
    else:
        clip.captions += entry.captions
    clip.tags = {**dict(entry.tags), **clip.tags}


def name_clips(clips: Sequence[Clip], root: Path) -> list[str]:
    """An id for each clip: its own, or its path without the suffix.

    Files that differ in their suffix alone keep it; of several spans of one file each gets its seconds.
    """
    plain = [clip.video_id or plain_name(clip.span[0], root) for clip in clips]
    files = defaultdict(set)
    for name, clip in zip(plain, clips, strict=True):
        files[name].add(clip.span[0])
    names = [
        clip.span[0].relative_to(root).as_posix() if len(files[name]) > 1 and clip.video_id is None else name
        for name, clip in zip(plain, clips, strict=True)
    ]
    counts = Counter(names)
    for i, clip in enumerate(clips):
        _, start, end = clip.span
        if counts[names[i]] > 1 and (start, end) != (None, None):
            names[i] += f"@{start or 0:g}-{'' if end is None else f'{end:g}'}"
    return names


def plain_name(path: Path, root: Path) -> str:
    """A video's path below the folder of clips, without its suffix."""
    return path.relative_to(root).with_suffix("").as_posix()


def more(items: Sequence[object]) -> str:
    """What follows three examples out of `items`."""
    return ", …" if len(items) > 3 else ""

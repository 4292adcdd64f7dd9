"""`tvrkit prepare folder`: your own clips with captions of any origin -> a manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvrkit.errors import ConfigError, DataError
from tvrkit.files import absolute
from tvrkit.frames.identity import find_videos
from tvrkit.frames.reading import Reading
from tvrkit.manifest import MANIFEST_NAME, read_manifest
from tvrkit.prepare.assemble import Origin, assemble, claim
from tvrkit.prepare.captions import CSV_SUFFIXES, JSON_SUFFIXES, CaptionFile, read_captions, read_sidecars
from tvrkit.prepare.clips import Clip, Joined, join, more, name_clips, plain_name
from tvrkit.prepare.copies import compress_videos
from tvrkit.prepare.examine import NO_TEXT, examine
from tvrkit.prepare.provenance import command_line, files_used, place_of
from tvrkit.prepare.report import PrepareReport, Problem, many
from tvrkit.prepare.videos import Video
from tvrkit.reporting import Reporter, Silent

PRESET = "folder"
KIND = "folder"
PROTOCOL = "folder"


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is prepared.

    Attributes:
        captions: a CSV or JSON lines file; None reads a text file beside each video.
        val_fraction: part of the videos without a split that goes to `val`, in [0, 1).
        test_fraction: likewise; when both are 0 all of them go to `test`, else the rest to `train`.
        strict: whether a problem is an error.
        compress: whether small copies are made, and used from then on.
        reading: how videos are read.
    """

    captions: Path | None = None
    val_fraction: float = 0.0
    test_fraction: float = 0.0
    strict: bool = False
    compress: bool = False
    reading: Reading = Reading()

    def __post_init__(self) -> None:
        parts = (self.val_fraction, self.test_fraction)
        if not all(0 <= part < 1 for part in parts) or sum(parts) > 1:
            raise ConfigError(
                f"--val-fraction and --test-fraction are parts of the videos, from 0 to 1 together, not {parts[0]:g}"
                f" and {parts[1]:g}."
            )


def prepare_folder(
    clips: Path, folder: Path, *, name: str, options: FolderOptions | None = None, watcher: Reporter | None = None
) -> PrepareReport:
    """Join captions and videos, look into every video, and write `folder`'s manifest and report.

    What cannot be used is left out and named in the report. Files that were looked into before and have not changed
    are not decoded again.

    Args:
        clips: folder of videos, searched with all that is below it.
        folder: where the data set is to lie.
        name: of the data set.
        options: see `FolderOptions`.
        watcher: is told how it goes.

    Raises:
        DataError: there are no captions or no usable video, the folder holds another kind of data set, or, when
            strict, anything was left out.
    """
    options, watcher = options or FolderOptions(), watcher or Silent()
    if not clips.is_dir():
        raise DataError(f"there is no folder {clips}: give the folder that your clips lie in.")
    clips, folder = absolute(clips), absolute(folder)
    origin = Origin(folder, name, KIND, _command(clips, name, options), PROTOCOL, PRESET, _settings(clips, options))
    try:
        claim(folder, kind=KIND)
        found_files = find_videos(clips)
        found = _read(clips, found_files, options)
        joined = join(found, clips, found_files, options.captions)
        named = _named(joined.clips, clips, options, found.problems)
        videos, new = examine([video for video, _ in named], folder, reading=options.reading, watcher=watcher)
        for video, (_, clip) in zip(videos, named, strict=True):
            if video.reason:
                found.problems.append(_problem(video, clip, clips))
        if options.compress:
            videos = compress_videos(videos, folder, reading=options.reading, watcher=watcher, notes=found.notes)
        everything = [*videos, *_lost(joined, options)]
        return assemble(
            everything,
            origin,
            new=new,
            problems=found.problems,
            notes=(*found.notes, *joined.notes, *_dropped(folder, everything), *_leaks(videos)),
            annotations=files_used([options.captions] if options.captions else []),
            strict=options.strict,
        )
    except OSError as error:
        raise DataError(f"cannot write to {error.filename or folder}: {error.strerror or error}.") from None


def _settings(clips: Path, options: FolderOptions) -> dict[str, Any]:
    return {
        "clips": str(clips),
        "captions": str(absolute(options.captions)) if options.captions else None,
        "val_fraction": options.val_fraction,
        "test_fraction": options.test_fraction,
        "compress": options.compress,
    }


def _command(clips: Path, name: str, options: FolderOptions) -> str:
    return command_line(
        "folder",
        str(clips),
        captions=options.captions and absolute(options.captions),
        name=name,
        val_fraction=options.val_fraction or None,
        test_fraction=options.test_fraction or None,
        compress=options.compress,
    )


def _read(clips: Path, videos: Sequence[Path], options: FolderOptions) -> CaptionFile:
    if options.captions is not None:
        found = read_captions(options.captions)
        if not found.entries and not found.problems:
            raise DataError(f"{options.captions} holds no captions.")
        return found
    if not videos:
        raise DataError(f"there is no video in {clips}.")
    found = read_sidecars(videos, clips)
    if not found.entries:
        there = [p.name for p in sorted(clips.iterdir()) if p.suffix.lower() in (*CSV_SUFFIXES, *JSON_SUFFIXES)]
        hint = f" ({there[0]} lies there: is it that one?)" if there else ""
        raise DataError(
            f"there are no captions for the {many(len(videos), 'video')} in {clips}: name a CSV or JSON lines file with"
            f" --captions{hint}, or put a .txt with captions beside each video; to search clips without captions, run"
            f' `tvrkit query "a dog surfing" --videos {clips}`.'
        )
    return found


def _named(
    clips: Sequence[Clip], root: Path, options: FolderOptions, problems: list[Problem]
) -> list[tuple[Video, Clip]]:
    """A video for each clip under an id that no other has."""
    named: dict[str, tuple[Video, Clip]] = {}
    for clip, video_id in zip(clips, name_clips(clips, root), strict=True):
        if video_id in named:
            problems.append(Problem("duplicate id", clip.where, f"{video_id} is the id of another video already"))
            continue
        path, start, end = clip.span
        split = clip.split or _drawn_split(plain_name(path, root), options)
        named[video_id] = (Video(video_id, split, tuple(clip.captions), path, start, end, clip.tags), clip)
    return list(named.values())


def _lost(joined: Joined, options: FolderOptions) -> list[Video]:
    """A video for each name under which there is no file."""
    return [
        Video(
            video_id=called,
            split=entries[0][0].split or _drawn_split(called.rpartition(".")[0] or called, options),
            captions=tuple(caption for entry, _ in entries for caption in entry.captions),
            reason=entries[0][1],
        )
        for called, entries in joined.lost.items()
    ]


def _problem(video: Video, clip: Clip, root: Path) -> Problem:
    assert video.path is not None
    where = str(video.path.relative_to(root))
    if (video.start_seconds, video.end_seconds) != (None, None):
        where = f"{where} ({clip.where})"  # the file may be whole, and this span of it not there
    return Problem("bad file name" if video.reason == NO_TEXT else "unreadable clip", where, video.reason)


def _drawn_split(name: str, options: FolderOptions) -> str:
    """`test`, or by the fractions: a video's place depends on its name alone, so more videos move none."""
    if not options.val_fraction and not options.test_fraction:
        return "test"
    place = place_of(name)
    if place < options.test_fraction:
        return "test"
    return "val" if place < options.test_fraction + options.val_fraction else "train"


def _dropped(folder: Path, videos: Sequence[Video]) -> list[str]:
    """A sentence when the last preparation had videos that nothing speaks of now, as when their captions went too."""
    try:
        before = read_manifest(folder / MANIFEST_NAME).records
    except DataError:
        return []
    now = {video.video_id for video in videos}
    gone = [record.video_id for record in before if record.video_id not in now]
    if not gone:
        return []
    return [f"Prepared before and not there any more: {many(len(gone), 'video')} ({', '.join(gone[:3])}{more(gone)})."]


def _leaks(videos: Sequence[Video]) -> list[str]:
    """A sentence when spans of one file lie in several splits: what was trained on is then nearly what is tested."""
    splits = defaultdict(set)
    for video in videos:
        if video.path is not None and not video.reason:
            splits[video.path].add(video.split)
    shared = [path.name for path, its in splits.items() if len(its) > 1]
    if not shared:
        return []
    return [
        f"In several splits with different spans: {many(len(shared), 'video')} ({', '.join(shared[:3])}{more(shared)})."
    ]

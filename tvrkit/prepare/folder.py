"""`tvrkit prepare folder`: your own clips with captions of any origin -> a manifest."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvrkit.errors import ConfigError, DataError
from tvrkit.frames.identity import find_videos
from tvrkit.keywords import TAGGER, tag_key_words
from tvrkit.manifest import MANIFEST_NAME, Manifest, Record, write_manifest
from tvrkit.prepare.captions import CSV_SUFFIXES, JSON_SUFFIXES, CaptionFile, read_captions, read_sidecars
from tvrkit.prepare.clips import Clip, join, more, name_clips, plain_name
from tvrkit.prepare.probes import PROBES_NAME, Probes, probe_all
from tvrkit.prepare.report import REPORT_NAME, PrepareReport, Problem, count_splits, many
from tvrkit.reporting import Reporter, Silent

PRESET = "folder"
KIND = "folder"


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is prepared.

    Attributes:
        captions: a CSV or JSON lines file; None reads a text file beside each video.
        val_fraction: part of the videos without a split that goes to `val`, in [0, 1).
        test_fraction: likewise; when both are 0 all of them go to `test`, else the rest to `train`.
        strict: whether a problem is an error.
        reader: what reads videos.
        workers: processes that read videos.
        timeout_seconds: longest that one video may take.
    """

    captions: Path | None = None
    val_fraction: float = 0.0
    test_fraction: float = 0.0
    strict: bool = False
    reader: str = "auto"
    workers: int = 2
    timeout_seconds: float = 60.0

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
    clips = Path(clips.absolute())
    _check_target(folder)
    videos = find_videos(clips)
    found = _read(clips, videos, options)
    joined, notes = join(found, clips, videos, options.captions)
    problems = found.problems
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probes = probe_all(
            [clip.span for clip in joined],
            folder / PROBES_NAME,
            reader=options.reader,
            workers=options.workers,
            timeout_seconds=options.timeout_seconds,
            watcher=watcher,
        )
        readable = _readable(joined, probes, clips, problems)
        records = _records(readable, probes, clips, options, problems)
        manifest = Manifest(name, records, preset=PRESET, tagger=TAGGER, root=folder)
        report = PrepareReport(
            name=name,
            manifest=folder / MANIFEST_NAME,
            splits=count_splits(manifest),
            new=probes.new,
            kept=len(joined) - probes.new,
            problems=tuple(problems),
            notes=(*found.notes, *notes, *_leaks(records)),
            settings={
                "kind": KIND,
                "clips": str(clips),
                "captions": str(options.captions.absolute()) if options.captions else None,
                "val_fraction": options.val_fraction,
                "test_fraction": options.test_fraction,
            },
        )
        report.write()
        _refuse(report, options.strict)
        write_manifest(manifest, folder / MANIFEST_NAME)
    except OSError as error:
        raise DataError(f"cannot write to {error.filename or folder}: {error.strerror or error}.") from None
    return report


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


def _readable(joined: Sequence[Clip], probes: Probes, clips: Path, problems: list[Problem]) -> list[Clip]:
    readable = []
    for clip in joined:
        path, *seconds = clip.span
        where = str(path.relative_to(clips))
        if seconds != [None, None]:
            where = f"{where} ({clip.where})"  # the file may be whole, and this span of it not there
        if (reason := probes.failures.get(clip.span)) is not None:
            problems.append(Problem("unreadable clip", where, reason))
        elif not _is_text(str(path)):
            problems.append(Problem("bad file name", where, "its name is no UTF-8 text: rename it"))
        else:
            readable.append(clip)
    return readable


def _records(
    clips: Sequence[Clip], probes: Probes, root: Path, options: FolderOptions, problems: list[Problem]
) -> tuple[Record, ...]:
    ids = name_clips(clips, root)
    records: dict[str, Record] = {}
    for clip, video_id in zip(clips, ids, strict=True):
        if video_id in records:
            problems.append(Problem("duplicate id", clip.where, f"{video_id} is the id of another video already"))
            continue
        path, start, end = clip.span
        records[video_id] = Record(
            video_id=video_id,
            path=str(path),
            captions=tuple(clip.captions),
            split=clip.split or _drawn_split(plain_name(path, root), options),
            start_seconds=start,
            end_seconds=end,
            duration_seconds=round(probes.durations[clip.span], 3),
            key_words=tuple(tag_key_words(clip.captions)),
            tags=clip.tags,
        )
    return tuple(records.values())


def _drawn_split(name: str, options: FolderOptions) -> str:
    """`test`, or by the fractions: a video's place depends on its name alone, so more videos move none."""
    if not options.val_fraction and not options.test_fraction:
        return "test"
    place = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") / 2**64
    if place < options.test_fraction:
        return "test"
    return "val" if place < options.test_fraction + options.val_fraction else "train"


def _leaks(records: Sequence[Record]) -> list[str]:
    """A sentence when spans of one file lie in several splits: what was trained on is then nearly what is tested."""
    splits = defaultdict(set)
    for record in records:
        splits[record.path].add(record.split)
    shared = [Path(path).name for path, its in splits.items() if len(its) > 1]
    if not shared:
        return []
    return [
        f"In several splits with different spans: {many(len(shared), 'video')} ({', '.join(shared[:3])}{more(shared)})."
    ]


def _refuse(report: PrepareReport, strict: bool) -> None:
    counts = ", ".join(f"{kind} {number}" for kind, number in report.problem_counts().items())
    place = report.manifest.parent / REPORT_NAME
    if strict and report.problems:
        first = report.problems[0]
        raise DataError(
            f"--strict: {many(len(report.problems), 'problem')} ({counts}), first {first}; {place} names them all."
        )
    if not report.splits:
        raise DataError(f"not one video can be used ({counts}), first {report.problems[0]}; {place} names them all.")


def _check_target(folder: Path) -> None:
    """Refuse to write over a data set that was not made from a folder."""
    if not (folder / MANIFEST_NAME).exists():
        return
    try:
        settings = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))["settings"]
        made_here = settings.get("kind") == KIND
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        made_here = False
    if not made_here:
        raise DataError(f"{folder} holds another data set: choose another name with --name.")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

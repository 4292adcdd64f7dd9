"""`tvrkit prepare msvd` and its like: a published benchmark's annotations and videos -> a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvrkit.errors import ConfigError, DataError
from tvrkit.files import absolute
from tvrkit.frames.reading import Reading
from tvrkit.prepare.assemble import Origin, assemble, claim
from tvrkit.prepare.benchmarks.item import Annotations, Item
from tvrkit.prepare.clips import more
from tvrkit.prepare.copies import COPIES, compress_videos, copy_of
from tvrkit.prepare.downloads.remote import local_folder
from tvrkit.prepare.examine import examine
from tvrkit.prepare.locate import Locator
from tvrkit.prepare.material import BenchmarkOptions, Material
from tvrkit.prepare.provenance import command_line, files_used, place_of
from tvrkit.prepare.report import PrepareReport, Problem, many
from tvrkit.prepare.videos import Video
from tvrkit.protocols import PROTOCOLS
from tvrkit.reporting import Reporter, Silent

if TYPE_CHECKING:
    from tvrkit.prepare.benchmarks.benchmark import Benchmark

DOWNLOADS = "downloads"


def prepare_benchmark(
    benchmark: Benchmark,
    folder: Path,
    *,
    name: str,
    options: BenchmarkOptions | None = None,
    watcher: Reporter | None = None,
) -> PrepareReport:
    """Get annotations and videos, look into every video, and write `folder`'s manifest and report.

    A video that is missing or cannot be read is left out, counted and named. What was downloaded, unpacked, looked
    into or compressed before is not done again.

    Args:
        benchmark: which one.
        folder: where the data set is to lie; downloads go to `downloads/NAME` beside it.
        name: of the data set.
        options: see `BenchmarkOptions`.
        watcher: is told how it goes.

    Raises:
        ConfigError: options that contradict each other.
        DataError: no annotations or no usable video can be had, the folder holds another data set, or, when strict,
            anything was left out.
    """
    options, watcher, folder = options or BenchmarkOptions(), watcher or Silent(), Path(folder.absolute())
    material = material_of(benchmark, folder, options, watcher)
    origin = _origin(material, folder, name)
    try:
        claim(folder, kind=benchmark.name, protocol=origin.protocol)
        if not material.has_videos() and not (folder / COPIES).is_dir():
            raise DataError(material.no_videos({}))
        annotations = material.read_annotations()
        captions = sum(len(item.captions) for item in annotations.items)
        watcher.say(f"Annotations: {many(len(annotations.items), 'video')}, {many(captions, 'caption')}.")
        failures = material.fetch_videos()
        notes = [*annotations.notes]
        candidates = _locate(annotations, material, folder, failures, notes)
        videos = [_video(item, candidates[item.video_id], options) for item in annotations.items]
        videos, new = _examine(videos, candidates, folder, options.reading, watcher)
        problems = [
            *annotations.problems,
            *(Problem("not downloaded", asset, reason) for asset, reason in failures.items()),
            *_problems(videos),
        ]
        if options.compress:
            videos = compress_videos(videos, folder, reading=options.reading, watcher=watcher, notes=notes)
        return assemble(
            videos,
            origin,
            new=new,
            problems=problems,
            notes=notes,
            annotations=files_used(annotations.files),
            strict=options.strict,
        )
    except OSError as error:
        raise DataError(f"cannot write to {error.filename or folder}: {error.strerror or error}.") from None


def material_of(
    benchmark: Benchmark, folder: Path, options: BenchmarkOptions, watcher: Reporter | None = None
) -> Material:
    """Where the files of a data set in `folder` are taken from.

    Raises:
        ConfigError: the benchmark has no such split, or needs no part of train for val.
    """
    split = options.split or next(iter(benchmark.splits))
    if split not in benchmark.splits:
        known = ", ".join(benchmark.splits)
        raise ConfigError(f"--split {split}: {benchmark.title} has {known}.")
    if options.val_fraction and "val" in PROTOCOLS[benchmark.splits[split]].sizes:
        raise ConfigError(f"--val-fraction: {benchmark.splits[split]} has a val split of its own.")
    return Material(
        benchmark, split, folder.absolute().parent / DOWNLOADS / benchmark.name, options, watcher or Silent()
    )


def default_name(benchmark: Benchmark, split: str | None) -> str:
    """`msrvtt`, or `msrvtt-7k` for a split that is not the first."""
    return benchmark.name if split in (None, next(iter(benchmark.splits))) else f"{benchmark.name}-{split}"


def _origin(material: Material, folder: Path, name: str) -> Origin:
    options, benchmark, mirror = material.options, material.benchmark, material.options.mirror
    chosen = material.split if material.split != next(iter(benchmark.splits)) else None
    given: dict[str, Any] = {
        "from_": tuple(str(absolute(path)) for path in options.videos),
        "annotations": tuple(str(absolute(path)) for path in options.annotations),
        "split": chosen,
        "name": name if name != default_name(benchmark, chosen) else None,
        "mirror": str(absolute(mirror)) if mirror and local_folder(mirror) == Path(mirror) else mirror,
        "val_fraction": options.val_fraction or None,
        "compress": options.compress,
    }
    protocol = benchmark.splits[material.split]
    return Origin(
        folder,
        name,
        benchmark.name,
        command_line(benchmark.name, **given),
        protocol,
        benchmark.preset,
        {
            "split": material.split,
            "protocol": protocol,
            "from": list(given["from_"]),
            "val_fraction": options.val_fraction,
            "compress": options.compress,
        },
        held_out=options.val_fraction > 0,
    )


def _locate(
    annotations: Annotations, material: Material, folder: Path, failures: Mapping[str, str], notes: list[str]
) -> dict[str, list[Path]]:
    """The files that may hold each video, the best first; what is worth knowing about them goes to `notes`."""
    locator = Locator(material.video_folders(), leave_out=folder)
    names = {item.video_id: (item.video_id, *item.names) for item in annotations.items}
    found = locator.locate(names)
    lone = _lone_copies([video_id for video_id, its in found.items() if not its], folder)
    if lone:
        notes.append(f"Read from their small copies, for the originals are gone: {many(len(lone), 'video')}.")
    if not locator.files and not lone:
        raise DataError(material.no_videos(failures))
    if not any(found.values()) and not lone:
        few = ", ".join(path.name for path in locator.files[:3])
        raise DataError(
            f"none of the {many(len(locator.files), 'video file')} ({few}{more(locator.files)}) is called as"
            f" {material.benchmark.title}'s annotations call its videos ({', '.join(list(names)[:3])}, …)."
        )
    several = [video_id for video_id, its in found.items() if len(its) > 1]
    if several:
        first = ", ".join(str(path) for path in found[several[0]][:2])
        notes.append(
            f"Several files of one name, of which the first that can be read is taken: {many(len(several), 'video')}"
            f" ({several[0]}: {first})."
        )
    used = {path for its in found.values() for path in its}
    silent = [path for path in locator.files if path not in used]
    if silent:
        few = ", ".join(path.name for path in silent[:3])
        notes.append(
            f"Left out because no annotation mentions them: {many(len(silent), 'file')} ({few}{more(silent)})."
        )
    return {**found, **lone}


def _lone_copies(video_ids: Sequence[str], folder: Path) -> dict[str, list[Path]]:
    """Small copies of earlier times whose originals are gone: users delete these for their size."""
    if not (folder / COPIES).is_dir():
        return {}
    copies = {video_id: copy_of(video_id, folder) for video_id in video_ids}
    return {video_id: [copy] for video_id, copy in copies.items() if copy.is_file()}


def _video(item: Item, candidates: Sequence[Path], options: BenchmarkOptions) -> Video:
    split = item.split
    # Spans of one file stay together: each is drawn by the file's name.
    drawn_by = item.names[0] if item.start_seconds is not None and item.names else item.video_id
    if split == "train" and place_of(drawn_by) < options.val_fraction:
        split = "val"
    return Video(
        item.video_id,
        split,
        item.captions,
        candidates[0] if candidates else None,
        item.start_seconds,
        item.end_seconds,
        item.tags,
        reason="" if candidates else "no file of that name",
    )


def _examine(
    videos: Sequence[Video], candidates: Mapping[str, Sequence[Path]], folder: Path, reading: Reading, watcher: Reporter
) -> tuple[list[Video], int]:
    """Look into the best file of each video, and into the next best where that one cannot be read."""
    looked_at, new = examine(videos, folder, reading=reading, watcher=watcher)
    for place in range(1, max(map(len, candidates.values()), default=0)):
        others = [
            replace(video, path=candidates[video.video_id][place], reason="")
            for video in looked_at
            if video.state == "unreadable" and len(candidates[video.video_id]) > place
        ]
        others, more_of_them = examine(others, folder, reading=reading, watcher=watcher)
        new += more_of_them
        better = {video.video_id: video for video in others if video.state == "present"}
        looked_at = [better.get(video.video_id, video) for video in looked_at]
    return looked_at, new


def _problems(videos: Sequence[Video]) -> list[Problem]:
    problems = []
    for video in videos:
        if video.state == "missing":
            problems.append(Problem("missing file", video.video_id, video.reason))
        elif video.state == "unreadable":
            problems.append(Problem("unreadable clip", f"{video.video_id} ({video.path})", video.reason))
    return problems

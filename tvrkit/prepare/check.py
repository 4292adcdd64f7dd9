"""`tvrkit prepare NAME --check`: is a prepared data set still what its manifest and report say?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tvrkit.errors import DataError
from tvrkit.frames.reading import Reading
from tvrkit.manifest import MANIFEST_NAME, Manifest, read_manifest
from tvrkit.prepare.assemble import read_report
from tvrkit.prepare.coverage import SplitCoverage, cover
from tvrkit.prepare.downloads.receipts import Receipts, sha256_of, verify_downloads
from tvrkit.prepare.examine import examine
from tvrkit.prepare.report import many
from tvrkit.prepare.videos import VIDEOS_NAME, Video
from tvrkit.reporting import Reporter, Silent

SECONDS_OFF = 0.05  # readers differ in how they count the last frame


@dataclass(frozen=True)
class Fault:
    """Something that is wrong: a kind to count by, where, why, and what mends it."""

    kind: str
    where: str
    reason: str
    mend: str


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        name: of the data set.
        manifest: where it lies.
        protocol: that it follows.
        splits: what of each can be used now, beside the protocol's numbers.
        checked: videos that were looked into.
        downloads: downloaded files that were read again.
        faults: what is wrong; none means that all is well.
    """

    name: str
    manifest: Path
    protocol: str | None
    splits: Mapping[str, SplitCoverage]
    checked: int
    downloads: int
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def fault_counts(self) -> dict[str, int]:
        """Number of faults of each kind."""
        return dict(Counter(fault.kind for fault in self.faults))

    def to_json(self) -> dict[str, Any]:
        """Everything, with each fault."""
        return {
            "ok": self.ok,
            "name": self.name,
            "manifest": str(self.manifest),
            "protocol": self.protocol,
            "splits": {split: count.to_json() for split, count in self.splits.items()},
            "checked": self.checked,
            "downloads": self.downloads,
            "faults": [vars(fault) for fault in self.faults],
        }


def check_prepared(
    folder: Path,
    *,
    name: str,
    downloads: Path | None = None,
    reading: Reading = Reading(),
    watcher: Reporter | None = None,
) -> CheckReport:
    """Decode a frame of every video again, whatever is remembered, and compare with manifest, report and protocol.

    Args:
        folder: of the data set.
        name: of the data set, for its faults' commands.
        downloads: folder of its downloads, if it has any.
        reading: how videos are read.
        watcher: is told how it goes.

    Raises:
        DataError: there is no data set.
    """
    if not folder.is_dir():
        raise DataError(f"there is no {folder}: run `tvrkit prepare {name}` first.")
    folder, watcher = Path(folder.absolute()), watcher or Silent()
    report = read_report(folder)
    settings = report.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    command = str(settings.get("command") or f"tvrkit prepare {name}")
    faults = [] if report else [Fault("report", str(folder), "its report.json is gone or damaged", command)]
    wrong_downloads, number = _check_downloads(downloads, command, watcher)
    faults += wrong_downloads
    faults += _check_annotations(report.get("annotations"), command)
    try:
        manifest = read_manifest(folder / MANIFEST_NAME)
    except DataError as error:
        faults.insert(0, Fault("manifest", str(folder / MANIFEST_NAME), str(error), command))
        return CheckReport(name, folder / MANIFEST_NAME, None, {}, 0, number, tuple(faults))
    videos = [
        Video(r.video_id, r.split, r.captions, manifest.file_of(r), r.start_seconds, r.end_seconds, r.tags)
        for r in manifest.records
    ]
    looked_at, _ = examine(videos, folder, reading=reading, watcher=watcher, again=True)
    now = [_gone(video) for video in looked_at]
    faults += _check_videos(manifest, now, folder, command)
    splits = cover(now, manifest.protocol, held_out=bool(settings.get("held_out")))
    faults += _check_counts(splits, report.get("splits"), manifest.protocol, folder, command)
    return CheckReport(name, folder / MANIFEST_NAME, manifest.protocol, splits, len(now), number, tuple(faults))


def _gone(video: Video) -> Video:
    """Without its file, if that is not there."""
    if video.path is None or video.path.is_file():
        return video
    return replace(video, path=None, reason=f"{video.path} is gone")


def _check_videos(manifest: Manifest, videos: Sequence[Video], folder: Path, command: str) -> Iterable[Fault]:
    for record, video in zip(manifest.records, videos, strict=True):
        path = manifest.file_of(record)
        ours = path.is_relative_to(folder)  # rendered or compressed here: made anew when it is gone
        if video.state == "missing":
            mend = command if ours else f"put it back and run {command}"
            yield Fault("missing file", video.video_id, video.reason, mend)
        elif video.state == "unreadable":
            mend = f"remove {path} and run {command}" if ours else f"replace {path} by a whole file and run {command}"
            yield Fault("unreadable clip", video.video_id, video.reason, mend)
        elif (was := record.duration_seconds) is not None and video.duration_seconds is not None:
            if abs(was - video.duration_seconds) > SECONDS_OFF:
                reason = f"{path} has {video.duration_seconds:g} s and had {was:g} s"
                yield Fault("other duration", video.video_id, reason, command)


def _check_counts(
    splits: Mapping[str, SplitCoverage], before: object, protocol: str | None, folder: Path, command: str
) -> Iterable[Fault]:
    """Splits that are not the protocol's: beyond the faults of single videos, what never was there."""
    before = before if isinstance(before, dict) else {}
    for split, count in splits.items():
        was = before.get(split)
        listed = was.get("listed") if isinstance(was, dict) else None
        if count.complete or count.expected is None or not (listed or count.listed):
            continue  # of a split that the annotations do not list nothing was to be prepared
        captions = f", {count.captions:,} of {count.expected_captions:,} captions" if count.expected_captions else ""
        reason = f"{count.videos:,} of {many(count.expected, 'video')}{captions} of {protocol} can be used"
        mend = f"add the videos that {folder / VIDEOS_NAME} calls missing or unreadable, and run {command}"
        if isinstance(listed, int) and listed < count.expected:
            mend = f"its annotation files list {listed:,}: get the whole ones, and run {command}"
        yield Fault("incomplete split", split, reason, mend)


def _check_downloads(downloads: Path | None, command: str, watcher: Reporter) -> tuple[list[Fault], int]:
    if downloads is None or not downloads.is_dir() or not (receipts := Receipts(downloads).all()):
        return [], 0
    watcher.say(f"Reading {many(len(receipts), 'downloaded file')} again.")
    wrong = verify_downloads(downloads)
    faults = [Fault("download", str(downloads / name), reason, command) for name, reason in wrong]
    return faults, len(receipts)


def _check_annotations(files: object, command: str) -> Iterable[Fault]:
    """Annotation files that are others by now; those that are gone did their work."""
    for entry in files if isinstance(files, list) else []:
        try:
            path, digest = Path(entry["path"]), entry["sha256"]
            if path.is_file() and sha256_of(path) != digest:
                yield Fault("changed annotations", str(path), "it was changed since the data set was prepared", command)
        except (TypeError, KeyError, OSError) as error:
            yield Fault("changed annotations", str(entry), f"cannot be compared ({error})", command)

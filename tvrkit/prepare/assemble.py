"""From videos that were looked into to a data set: manifest.jsonl, report.json, videos.csv."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvrkit.errors import DataError
from tvrkit.keywords import TAGGER, tag_key_words
from tvrkit.manifest import MANIFEST_NAME, Manifest, Record, read_manifest, write_manifest
from tvrkit.prepare.coverage import cover
from tvrkit.prepare.report import REPORT_NAME, PrepareReport, Problem, many
from tvrkit.prepare.videos import Video, path_from, write_videos

Spans = tuple[tuple[int, int], ...]  # of one caption's key words


@dataclass(frozen=True)
class Origin:
    """Where a data set lies and what it was made from.

    Attributes:
        folder: of the data set.
        name: of the data set.
        kind: what made it: `folder`, `shapes`, or a benchmark's name.
        command: the command line that makes it again.
        protocol: name of the protocol that it follows, if it follows one.
        preset: what a bare `tvrkit train` trains on it.
        settings: what else decided the result.
        held_out: whether `val` is a part of the protocol's `train` that was put aside.
    """

    folder: Path
    name: str
    kind: str
    command: str
    protocol: str | None = None
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    held_out: bool = False


def assemble(
    videos: Sequence[Video],
    origin: Origin,
    *,
    new: int,
    problems: Sequence[Problem] = (),
    notes: Sequence[str] = (),
    annotations: Sequence[Mapping[str, Any]] = (),
    strict: bool = False,
) -> PrepareReport:
    """Write the report, the list of videos and, of the videos that can be used, the manifest.

    Args:
        videos: all that were asked for, looked into; their ids differ.
        origin: see `Origin`.
        new: how many were made or looked into now.
        problems: what was left out.
        notes: sentences for the user.
        annotations: the files that captions and splits came from.
        strict: whether a problem is an error.

    Raises:
        DataError: not one video can be used, or, when strict, anything was left out; the report is written then too.
        OSError: the folder cannot be written.
    """
    report = PrepareReport(
        name=origin.name,
        manifest=origin.folder / MANIFEST_NAME,
        protocol=origin.protocol,
        splits=cover(videos, origin.protocol, held_out=origin.held_out),
        new=new,
        kept=max(0, sum(video.path is not None for video in videos) - new),
        problems=tuple(problems),
        notes=tuple(notes),
        settings={
            "kind": origin.kind,
            "command": origin.command,
            **origin.settings,
            **({"held_out": True} if origin.held_out else {}),
        },
        annotations=tuple(annotations),
    )
    write_videos(videos, origin.folder)
    report.write()
    _refuse(report, strict)
    known = _known_key_words(report.manifest)
    records = tuple(_record(video, origin.folder, known) for video in videos if video.state == "present")
    manifest = Manifest(origin.name, records, origin.preset, origin.protocol, TAGGER, root=origin.folder)
    write_manifest(manifest, report.manifest)
    return report


def claim(folder: Path, **expected: object) -> None:
    """Refuse a folder that holds a data set whose report has other settings than `expected`.

    Raises:
        DataError: it does.
    """
    if (folder / MANIFEST_NAME).exists():
        found = read_settings(folder)
        if any(found.get(key) != value for key, value in expected.items()):
            words = f" ({found['kind']})" if isinstance(found.get("kind"), str) else ""
            raise DataError(f"{folder} holds another data set{words}: choose another name with --name.")


def read_report(folder: Path) -> dict[str, Any]:
    """What report.json says; nothing where there is none that can be read."""
    try:
        report = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings in report.json."""
    settings = read_report(folder).get("settings")
    return settings if isinstance(settings, dict) else {}


def _known_key_words(path: Path) -> dict[str, Spans]:
    """Key words by caption, from the manifest that is there: tagging 200,000 captions anew takes ten seconds."""
    try:
        before = read_manifest(path) if path.exists() else None
    except DataError:
        return {}
    if before is None or before.tagger != TAGGER:
        return {}
    return {
        caption: spans
        for record in before.records
        if record.key_words is not None
        for caption, spans in zip(record.captions, record.key_words, strict=True)
    }


def _record(video: Video, folder: Path, known: Mapping[str, Spans]) -> Record:
    assert video.path is not None
    untagged = [caption for caption in video.captions if caption not in known]
    new = dict(zip(untagged, tag_key_words(untagged), strict=True))
    return Record(
        video_id=video.video_id,
        path=path_from(folder, video.path),
        captions=video.captions,
        split=video.split,
        start_seconds=video.start_seconds,
        end_seconds=video.end_seconds,
        duration_seconds=video.duration_seconds,
        key_words=tuple(new.get(caption) or known.get(caption, ()) for caption in video.captions),
        tags=video.tags,
    )


def _refuse(report: PrepareReport, strict: bool) -> None:
    counts = ", ".join(f"{kind} {number:,}" for kind, number in report.problem_counts().items())
    place = report.manifest.parent / REPORT_NAME
    if strict and report.problems:
        first = report.problems[0]
        raise DataError(
            f"--strict: {many(len(report.problems), 'problem')} ({counts}), first {first}; {place} names them all."
        )
    if not any(count.videos for count in report.splits.values()):
        reasons = f" ({counts}), first {report.problems[0]}" if report.problems else ""
        raise DataError(f"not one video can be used{reasons}; {place} names them all.")

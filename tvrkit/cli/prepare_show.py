"""What `tvrkit prepare` says at the end: coverage, what was left out, and how to go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tvrkit.cli import output

if TYPE_CHECKING:
    from tvrkit.prepare.coverage import SplitCoverage
    from tvrkit.prepare.report import PrepareReport

EXAMPLES = 3


def show(report: PrepareReport, as_json: bool) -> None:
    """Notes and problems in words, the counts as data, and the commands that go on from here."""
    folder = report.manifest.parent
    for note in report.notes:
        output.say(note)
    for kind, number in report.problem_counts().items():
        output.warn(f"{kind}: {number:,}")
        for problem in report.examples(kind, EXAMPLES):
            output.say(f"  {problem}")
        if number > EXAMPLES:
            output.say(f"  … all of them are in {folder / 'report.json'}")
    if as_json:
        output.print_json({**report.to_json(), "manifest": str(report.manifest)})
    else:
        show_coverage(report.splits, title=_title(report))
    output.say("Next:")
    for line in _next(report):
        output.say(f"  {line}")


def show_coverage(splits: Mapping[str, SplitCoverage], *, title: str, listed: str = "listed") -> None:
    """A table with a row for each split; 80 columns are enough for it. `listed`: what is said of the first count."""
    columns = ["split", "videos", "missing", "unreadable", "captions", "lost"]
    rows: list[list[object]] = [
        [split, _n(c.videos), _n(c.missing), _n(c.unreadable), _n(c.captions), _n(c.lost)]
        for split, c in splits.items()
    ]
    counts = list(splits.values())
    if any(count.expected is not None for count in counts):
        # What the benchmark has stands beside what there is.
        columns[1:1] = ["protocol", listed]
        for row, count in zip(rows, counts, strict=True):
            row[1:1] = [_n(count.expected), _n(count.listed)]
    else:
        columns.append("hours")
        for row, count in zip(rows, counts, strict=True):
            row.append(count.hours)
    output.print_table(columns, rows, title=title)


def _title(report: PrepareReport) -> str:
    place, here = report.manifest, Path.cwd()
    place = place.relative_to(here) if place.is_relative_to(here) else place
    return f"{place}, protocol {report.protocol}" if report.protocol else str(place)


def _n(number: int | None) -> str | None:
    return None if number is None else f"{number:,}"


def _next(report: PrepareReport) -> list[str]:
    """The commands that go on from here, and what stands in the way."""
    there = {split: count for split, count in report.splits.items() if count.videos}
    lines = []
    if "train" in there:
        lines.append(f"tvrkit train --data {report.name}")
        if "val" not in there:
            hint = "" if "val" in report.splits else "; --val-fraction makes a split val"
            lines.append(f"  (no videos to validate on: the last checkpoint is kept, for none can be chosen{hint})")
    split = "test" if "test" in there else next(iter(there), "test")
    chosen = "" if split == "test" else f" --split {split}"
    if "train" in there and split == "test":
        lines.append(f"tvrkit eval --data {report.name}")
    elif "train" not in there:
        lines.append(f"tvrkit eval --data {report.name}{chosen} --model PE-Core-S-16-384/meta")
    test = report.splits.get("test")
    if test is not None and test.expected is not None and not test.complete and test.listed:
        lines.append(
            f"  (test has {test.videos:,} of {test.expected:,} videos and {test.captions:,} captions of"
            f" {report.protocol}: eval refuses it, or with --allow-missing labels the result)"
        )
    return lines

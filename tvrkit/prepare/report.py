"""What a preparation did: how many videos and captions each split has, and what was left out, where and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvrkit.files import write_json

if TYPE_CHECKING:
    from tvrkit.prepare.coverage import SplitCoverage

REPORT_NAME = "report.json"
PACKAGES = ("tvrkit", "av", "numpy")  # the latter two read and render videos


@dataclass(frozen=True)
class Problem:
    """Something that was left out: a kind to count by (`missing file`), where it stands, and the reason in words."""

    kind: str
    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did.

    Attributes:
        name: the data set.
        manifest: where its manifest lies.
        protocol: name of the protocol that it follows.
        splits: how much of each is there.
        new: videos that were made or examined now.
        kept: videos that were taken over from an earlier preparation.
        problems: what was left out.
        notes: what a user should know and that was no problem: sentences.
        settings: what decided the result, for the report file; `kind` and `command` are in all of them.
        annotations: the files that captions and splits came from, each with its path, bytes and sha256.
    """

    name: str
    manifest: Path
    protocol: str | None
    splits: Mapping[str, SplitCoverage]
    new: int
    kept: int
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    annotations: tuple[Mapping[str, Any], ...] = ()

    def problem_counts(self) -> dict[str, int]:
        """Number of problems of each kind, in order of first appearance."""
        return dict(Counter(problem.kind for problem in self.problems))

    def examples(self, kind: str, number: int = 3) -> list[Problem]:
        """The first few problems of a kind."""
        return [problem for problem in self.problems if problem.kind == kind][:number]

    def to_json(self) -> dict[str, Any]:
        """Everything, with each problem named."""
        return {
            "name": self.name,
            "manifest": self.manifest.name,
            "protocol": self.protocol,
            "splits": {split: count.to_json() for split, count in self.splits.items()},
            "new": self.new,
            "kept": self.kept,
            "problem_counts": self.problem_counts(),
            "problems": [{"kind": p.kind, "where": p.where, "reason": p.reason} for p in self.problems],
            "notes": list(self.notes),
            "settings": dict(self.settings),
            "annotations": [dict(file) for file in self.annotations],
            "versions": _versions(),
        }

    def write(self) -> None:
        """Write report.json beside the manifest; what of a file name is no text stands in it as an escape."""
        write_json(self.manifest.parent / REPORT_NAME, _escaped(self.to_json()))


def many(number: int, noun: str) -> str:
    """`1 video`, `1,200 videos`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # run from a folder that was not installed
            continue
    return versions


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value

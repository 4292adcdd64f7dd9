"""What a benchmark's own files say: which videos, in which split, with which captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tvrkit.prepare.report import Problem


@dataclass(frozen=True)
class Item:
    """One video of a benchmark.

    Attributes:
        video_id: the benchmark's own name of it; its file is looked for under this name first.
        split: `train`, `val` or `test`.
        captions: at least one; in the test split each is a query.
        names: what else its file may be called, without a suffix, in the order in which to try them.
        start_seconds: where the part that counts starts; None is the file's start.
        end_seconds: where it ends; None is the file's end.
        tags: free strings such as `category`.
    """

    video_id: str
    split: str
    captions: tuple[str, ...]
    names: tuple[str, ...] = ()
    start_seconds: float | None = None
    end_seconds: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Annotations:
    """What was read of a benchmark.

    Attributes:
        items: the videos, each id once; train before val before test.
        protocol: name of the protocol that the test split follows.
        files: what was read.
        notes: what a user should know and that is no problem: sentences.
        problems: what was left out, where and why.
    """

    items: tuple[Item, ...]
    protocol: str
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def split(self, name: str) -> tuple[Item, ...]:
        """The items of one split, in order; none is no error."""
        return tuple(item for item in self.items if item.split == name)

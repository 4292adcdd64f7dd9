"""Which data sets there are: published ones, the built-in one, and what is prepared here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvrkit.errors import DataError
from tvrkit.manifest import MANIFEST_NAME, read_manifest
from tvrkit.prepare.assemble import read_report
from tvrkit.workspace import data_folder, prepared_sets


@dataclass(frozen=True)
class PreparedSet:
    """A data set that is prepared here.

    Attributes:
        name: of the set.
        kind: what made it: a benchmark's name, `shapes`, `folder`; None where nobody knows.
        protocol: that it follows.
        splits: for each split `videos`, `captions`, and as far as known `expected` and `complete`.
        compressed: whether it reads small copies.
        command: what makes it again.
    """

    name: str
    kind: str | None
    protocol: str | None
    splits: Mapping[str, Mapping[str, Any]]
    compressed: bool
    command: str | None

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**vars(self), "splits": {split: dict(count) for split, count in self.splits.items()}}

    def words(self) -> list[str]:
        """For each split its videos, and of how many where some are lacking."""
        words = []
        for split, count in self.splits.items():
            videos, expected = count.get("videos") or 0, count.get("expected")
            if videos or expected:
                of = f" of {expected:,}" if expected not in (None, videos) else ""
                words.append(f"{split} {videos:,}{of}")
        return words


def prepared(name: str) -> PreparedSet:
    """What is prepared under a name, by its report, or by its manifest where the report is gone.

    Raises:
        DataError: nothing is, or its manifest cannot be read.
    """
    folder = data_folder() / name
    report = read_report(folder)
    settings = report.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    splits, protocol = report.get("splits"), report.get("protocol")
    if not isinstance(splits, dict) or not all(isinstance(count, dict) for count in splits.values()):
        manifest = read_manifest(folder / MANIFEST_NAME)
        splits, protocol = {split: {"videos": videos} for split, videos in manifest.splits().items()}, manifest.protocol
    elif protocol is None:
        protocol = _header(folder).get("protocol")
    return PreparedSet(
        name, settings.get("kind"), protocol, splits, bool(settings.get("compress")), settings.get("command")
    )


def all_prepared() -> tuple[list[PreparedSet], dict[str, str]]:
    """Those that can be read, and for each other one the reason."""
    found, wrong = [], {}
    for name in prepared_sets():
        try:
            found.append(prepared(name))
        except DataError as error:
            wrong[name] = str(error)
    return found, wrong


def _header(folder: Path) -> dict[str, Any]:
    try:
        with (folder / MANIFEST_NAME).open(encoding="utf-8") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}

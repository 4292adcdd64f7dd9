"""Where a run's numbers go: log.jsonl always, and the trackers that the config names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tvrkit.config import Config
from tvrkit.distributed import SOLO, Team
from tvrkit.errors import StoppedError
from tvrkit.files import write_text
from tvrkit.reporting import Reporter
from tvrkit.train.trackers import Tracker, open_tracker

LOG_FILE = "log.jsonl"


class RunLog:
    """Writes one JSON object a line, and the same numbers to the trackers; a context manager.

    A disk that is full costs lines and one warning, not the training.
    """

    def __init__(self, run: Path, step: int, report: Reporter, config: Config | None = None, team: Team = SOLO) -> None:
        """Open the log of `run` at `step`; lines after it, of a part that is trained again, are taken out.

        Args:
            run: the run's folder.
            step: optimiser steps done.
            report: is told when something cannot be written.
            config: names the trackers; None is the default one.
            team: its leader alone writes.
        """
        self._path, self._report = run / LOG_FILE, report
        self._trackers: list[Tracker] = []
        self._complained = self._torn = False
        self._file = None
        if not team.leads:
            return
        run.mkdir(parents=True, exist_ok=True)
        _cut(self._path, step)
        # Unbuffered: a line that does not fit on the disk stands in nobody's way later.
        self._file = self._path.open("ab", buffering=0)
        config = config or Config()
        opened = [open_tracker(word, run, step, config, report) for word in dict.fromkeys(config.train.trackers)]
        self._trackers = [tracker for tracker in opened if tracker is not None]

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if self._file is not None:
            self._file.close()
        failed = kind is not None and not issubclass(kind, StoppedError)
        for tracker in self._trackers:
            tracker.close(failed)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Log numbers (or mappings of numbers) of a step."""
        if self._file is None:
            return
        self._append(json.dumps({"step": step, **values}, ensure_ascii=False).encode() + b"\n")
        numbers = dict(_scalars(values))
        for tracker in self._trackers:
            tracker.write(step, numbers)

    def _append(self, line: bytes) -> None:
        assert self._file is not None
        if self._torn:  # so that the rest of a torn line does not spoil this one
            line = b"\n" + line
        try:
            written = self._file.write(line)
        except OSError as error:
            self._complain(error.strerror or str(error))
            return
        self._torn = written != len(line)
        if self._torn:
            self._complain("the disk is full")

    def _complain(self, why: str) -> None:
        if not self._complained:
            self._report.warn(
                f"{self._path} cannot be written ({why}): training goes on, its numbers are missing there."
            )
        self._complained = True


def read_log(run: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a run's log; a line that a kill or a full disk cut short is left out."""
    for _, line in _lines(run / LOG_FILE):
        yield line


def _cut(path: Path, step: int) -> None:
    """Take out the lines after `step`, and those that are cut short."""
    if not path.is_file():
        return
    kept = "".join(text + "\n" for text, line in _lines(path) if line["step"] <= step)
    if kept.encode() != path.read_bytes():
        write_text(path, kept)


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict) and isinstance(line.get("step"), int):
                    yield text.rstrip("\n"), line
    except FileNotFoundError:
        return


def _scalars(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            yield prefix + name, float(value)

"""Where a run's numbers go: log.jsonl, TensorBoard where it is installed, and whoever watches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tvrkit.reporting import Reporter
from tvrkit.train.times import Clock

__all__ = ["Clock", "RunLog"]

LOG_FILE = "log.jsonl"


class RunLog:
    """Writes one JSON object a line, and the same numbers as TensorBoard scalars; a context manager."""

    def __init__(self, run: Path, step: int, report: Reporter) -> None:
        """Open the log of `run` at `step`; lines after it, of a part that is trained again, are taken out."""
        run.mkdir(parents=True, exist_ok=True)
        path = run / LOG_FILE
        kept = [line for line in _lines(path) if line["step"] <= step]
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._board = _tensorboard(run / "tensorboard", step, report)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Log numbers (or mappings of numbers) of a step."""
        self._file.write(json.dumps({"step": step, **values}, ensure_ascii=False) + "\n")
        if self._board is not None:
            for name, number in _scalars(values):
                self._board.add_scalar(name, number, step)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a log; a line that a kill cut short is left out."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def _scalars(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            yield prefix + name, float(value)


def _tensorboard(folder: Path, step: int, report: Reporter) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        report.say('No TensorBoard log: `pip install "tvrkit[tensorboard]"` brings it.')
        return None
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)

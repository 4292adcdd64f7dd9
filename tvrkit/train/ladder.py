"""A ladder of settings, each building on the one before: what every rung brings, seed by seed, and what it costs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvrkit.files import write_text
from tvrkit.train.cases import Case, Sweep
from tvrkit.train.comparison import interval, metric_of
from tvrkit.train.seeds import Summary, paired, summary
from tvrkit.train.sweep import Result

MEASURES = {"MdR": "t2v/MdR", "v2t": "v2t/R@1", "hard": "hard/caption_chosen"}
"""Columns beside R@1, and the number of a result behind each."""


@dataclass(frozen=True)
class Rung:
    """One case of a ladder.

    Attributes:
        title: its name.
        value: of t2v R@1 over seeds; None without a finished run.
        gain: over the rung that it builds on, seed by seed; None for the lowest.
        over: that rung's name where it is not the one before.
        means: by the keys of `MEASURES`, means over seeds; without those that no result has.
        milliseconds: of an optimiser step, the median over what was logged; None where nothing was.
    """

    title: str
    value: Summary | None
    gain: Summary | None
    over: str | None
    means: Mapping[str, float]
    milliseconds: float | None

    def cells(self, columns: Sequence[str]) -> list[str | None]:
        """For a table, by `columns_of`; None where there is nothing."""
        return [
            None if self.value is None else f"{self.value.mean:.1f}",
            interval(self.value),
            None if self.gain is None else f"{self.gain.mean:+.1f}",
            interval(self.gain),
            *(f"{self.means[name]:.1f}" if name in self.means else None for name in columns if name in MEASURES),
            None if self.milliseconds is None else f"{self.milliseconds:.0f}",
        ]


def columns_of(rungs: Sequence[Rung]) -> list[str]:
    """Headings for `Rung.cells`, without a measure that no rung has."""
    known = [name for name in MEASURES if any(name in rung.means for rung in rungs)]
    return ["R@1", "95 %", "gain", "95 %", *known, "ms"]


def ladder(
    sweep: Sweep, results: Sequence[Result], value: Callable[[Result, str], float | None] | None = None
) -> list[Rung]:
    """The rungs, the base first.

    Args:
        sweep: with titles.
        results: of its runs, finished or not.
        value: a result's number by its name (`t2v/R@1`); None takes those of the validation split.
    """
    value = value or Result.value
    rungs: list[Rung] = []
    known: list[dict[int, float]] = []
    for place, (title, case, over) in enumerate(zip(sweep.titles, sweep.cases, sweep.over, strict=True)):
        own = [result for result in results if result.case == case]
        known.append(_by_seed(own, "t2v/R@1", value))
        measured = {name: _by_seed(own, number, value) for name, number in MEASURES.items()}
        rungs.append(
            Rung(
                title,
                value=summary(list(known[-1].values())) if known[-1] else None,
                gain=None if over is None else paired(known[-1], known[over]),
                over=sweep.titles[over] if over is not None and over != place - 1 else None,
                means={name: statistics.fmean(seeds.values()) for name, seeds in measured.items() if seeds},
                milliseconds=_milliseconds(case, own),
            )
        )
    return rungs


def write_ladder(sweep: Sweep, rungs: Sequence[Rung], out: Path, split: str) -> Path:
    """Write `ladder-<split>.md` into `out`."""
    columns = columns_of(rungs)
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    rows += [[full_title(rung), *(cell or "-" for cell in rung.cells(columns))] for rung in rungs]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    path = out / f"ladder-{split}.md"
    words = (
        f"Split `{split}`, {len(sweep.seeds)} seeds; checkpoints chosen by {metric_of(sweep)} on"
        f" `{sweep.cases[0].config.data.val_split}`. R@1, MdR: captions that look for their video; v2t: R@1 of videos"
        " that look for a caption of theirs; hard: clips of the hard gallery whose own caption scores above"
        " its one-word edits, in percent; gain: over the rung before, or the one named, seed by seed; intervals:"
        " Student's t over seeds; ms: of a step."
    )
    write_text(path, f"# Ladder {sweep.name}\n\n{words}\n\n{table}\n")
    return path


def full_title(rung: Rung) -> str:
    """With the rung that it builds on, where that is not the one before."""
    return rung.title if rung.over is None else f"{rung.title} (over {rung.over})"


def _by_seed(results: Sequence[Result], name: str, value: Callable[[Result, str], float | None]) -> dict[int, float]:
    return {result.seed: number for result in results if (number := value(result, name)) is not None}


def _milliseconds(case: Case, results: Sequence[Result]) -> float | None:
    speeds = []
    for result in results:
        log = result.run / "log.jsonl"
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
        speeds += [line["clips_per_second"] for line in lines if line.get("clips_per_second")]
    return 1000 * case.config.train.batch_size / statistics.median(speeds) if speeds else None

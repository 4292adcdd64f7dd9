"""A ladder of settings, each building on the one before: what every rung brings, seed by seed, and what it costs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvrkit.files import write_text
from tvrkit.train.cases import Case, Sweep
from tvrkit.train.comparison import interval, metric_of
from tvrkit.train.seeds import Summary, paired, summary
from tvrkit.train.sweep import Result

COLUMNS = ("R@1", "95 %", "gain", "95 %", "MdR", "v2t", "ms")
MEASURES = ("t2v/MdR", "v2t/R@1")


@dataclass(frozen=True)
class Rung:
    """One case of a ladder.

    Attributes:
        title: its name.
        value: of t2v R@1 over seeds; None without a finished run.
        gain: over the rung below, seed by seed; None for the lowest.
        means: t2v MdR and v2t R@1, means over seeds.
        milliseconds: of an optimiser step, the median over what was logged; None where nothing was.
    """

    title: str
    value: Summary | None
    gain: Summary | None
    means: tuple[float | None, ...]
    milliseconds: float | None

    def cells(self) -> list[str | None]:
        """For a table, by `COLUMNS`; None where there is nothing."""
        number = "{:.1f}".format
        return [
            None if self.value is None else number(self.value.mean),
            interval(self.value),
            None if self.gain is None else f"{self.gain.mean:+.1f}",
            interval(self.gain),
            *(None if mean is None else number(mean) for mean in self.means),
            None if self.milliseconds is None else f"{self.milliseconds:.0f}",
        ]


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
    below: dict[int, float] | None = None
    for title, case in zip(sweep.titles, sweep.cases, strict=True):
        own = [result for result in results if result.case == case]
        known = _by_seed(own, "t2v/R@1", value)
        means = tuple(_mean(_by_seed(own, name, value)) for name in MEASURES)
        over_seeds = summary(list(known.values())) if known else None
        gain = None if below is None else paired(known, below)
        rungs.append(Rung(title, over_seeds, gain, means, _milliseconds(case, own)))
        below = known
    return rungs


def write_ladder(sweep: Sweep, rungs: Sequence[Rung], out: Path, split: str) -> Path:
    """Write `ladder-<split>.md` into `out`."""
    header = ["", *COLUMNS]
    rows = [header, ["---"] * len(header)]
    rows += [[rung.title, *(cell or "-" for cell in rung.cells())] for rung in rungs]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    path = out / f"ladder-{split}.md"
    words = (
        f"Split `{split}`, {len(sweep.seeds)} seeds; checkpoints chosen by {metric_of(sweep)} on"
        f" `{sweep.cases[0].config.data.val_split}`. R@1, MdR: captions that look for their video; v2t: R@1 of videos"
        " that look for a caption of theirs; gain: over the rung below, seed by seed; intervals: Student's t over"
        " seeds; ms: of a step."
    )
    write_text(path, f"# Ladder {sweep.name}\n\n{words}\n\n{table}\n")
    return path


def _by_seed(results: Sequence[Result], name: str, value: Callable[[Result, str], float | None]) -> dict[int, float]:
    return {result.seed: number for result in results if (number := value(result, name)) is not None}


def _mean(values: dict[int, float]) -> float | None:
    return statistics.fmean(values.values()) if values else None


def _milliseconds(case: Case, results: Sequence[Result]) -> float | None:
    speeds = []
    for result in results:
        log = result.run / "log.jsonl"
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
        speeds += [line["clips_per_second"] for line in lines if line.get("clips_per_second")]
    return 1000 * case.config.train.batch_size / statistics.median(speeds) if speeds else None

"""The results of a sweep side by side: means and intervals over seeds, differences to the base case, as files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tvrkit.files import write_json, write_text
from tvrkit.train.cases import Case, Sweep, flat
from tvrkit.train.seeds import Summary, paired, summary
from tvrkit.train.sweep import Result

MORE = ("t2v/R@1", "t2v/R@5", "t2v/R@10", "t2v/MdR", "v2t/R@1", "v2t/R@5", "v2t/R@10", "v2t/MdR")
TABLE = ("results.csv", "results.json", "results.md")


@dataclass(frozen=True)
class Line:
    """One case of the table.

    Attributes:
        case: which.
        done: runs that have a result.
        total: runs that there are to be.
        value: of the metric that chooses, over seeds; with one seed its interval is the bootstrap over queries.
        difference: to the base case, seed by seed; None for the base case, or without a seed in common.
        failures: why runs failed, by seed.
    """

    case: Case
    done: int
    total: int
    value: Summary | None
    difference: Summary | None
    failures: dict[int, str]


def metric_of(sweep: Sweep) -> str:
    """The metric by which the runs choose their checkpoint, which is the one to compare."""
    return sweep.cases[0].config.train.select_by


def compare(sweep: Sweep, results: Sequence[Result]) -> list[Line]:
    """A line for each case, the base case first."""
    metric = metric_of(sweep)
    values: list[dict[int, float]] = []
    lines = []
    for case in sweep.cases:
        own = [result for result in results if result.case == case]
        known = {result.seed: value for result in own if (value := result.value(metric)) is not None}
        values.append(known)
        failures = {result.seed: result.failure for result in own if result.failure is not None}
        difference = paired(known, values[0]) if len(values) > 1 else None
        lines.append(Line(case, len(known), len(sweep.seeds), _value(own, known, metric), difference, failures))
    return lines


def write_comparison(sweep: Sweep, results: Sequence[Result], out: Path) -> None:
    """Write results.csv (a row a run), results.json and results.md (a row a case) into `out`."""
    lines = compare(sweep, results)
    write_text(out / TABLE[0], _csv(sweep, results))
    write_json(out / TABLE[1], _tree(sweep, results, lines, out))
    write_text(out / TABLE[2], _markdown(sweep, lines))


def interval(value: Summary | None) -> str | None:
    """`58.1 to 66.2`."""
    if value is None or value.low is None or value.high is None:
        return None
    return f"{value.low:.1f} to {value.high:.1f}"


def _value(results: Sequence[Result], known: dict[int, float], metric: str) -> Summary | None:
    if not known:
        return None
    over_seeds = summary(list(known.values()))
    if over_seeds.low is not None and over_seeds.high is not None:
        # No recall is beyond these, whatever few seeds would allow.
        lowest, highest = (0.0, 100.0) if "/R@" in metric else (1.0, math.inf)
        low, high = max(lowest, over_seeds.low), min(highest, over_seeds.high)
        return Summary(over_seeds.mean, low, high, over_seeds.number)
    only = next(result for result in results if result.seed in known)
    return Summary(over_seeds.mean, only.value(f"{metric}_low"), only.value(f"{metric}_high"), 1)


def _csv(sweep: Sweep, results: Sequence[Result]) -> str:
    metrics = list(dict.fromkeys([metric_of(sweep), *MORE]))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["case", *sweep.keys, "seed", *metrics, "step", "seconds", "run", "failure"])
    for result in results:
        settings = [_cell(value) for value in values_of(sweep, result.case)]
        values = ["" if (value := result.value(metric)) is None else value for metric in metrics]
        step = "" if result.metrics is None else result.metrics.get("step", "")
        seconds = round(result.seconds, 1) if result.metrics is not None else ""
        row = [result.case.name, *settings, result.seed, *values, step, seconds, result.run.name, result.failure or ""]
        writer.writerow(row)
    return buffer.getvalue()


def _tree(sweep: Sweep, results: Sequence[Result], lines: Sequence[Line], out: Path) -> dict[str, Any]:
    cases = []
    for line in lines:
        runs = [
            {
                "seed": result.seed,
                "run": result.run.relative_to(out).as_posix(),
                "seconds": result.seconds,
                "metrics": result.metrics,
                "failure": result.failure,
            }
            for result in results
            if result.case == line.case
        ]
        cases.append(
            {
                "case": line.case.name,
                "settings": dict(line.case.settings),
                "value": None if line.value is None else asdict(line.value),
                "difference": None if line.difference is None else asdict(line.difference),
                "runs": runs,
            }
        )
    split = sweep.cases[0].config.data.val_split
    return {
        "sweep": sweep.name,
        "metric": metric_of(sweep),
        "split": split,
        "seeds": list(sweep.seeds),
        "cases": cases,
    }


def _markdown(sweep: Sweep, lines: Sequence[Line]) -> str:
    metric, split = metric_of(sweep), sweep.cases[0].config.data.val_split
    header = ["case" if not sweep.keys else "", *sweep.keys, "seeds", metric, "95 %", "- base", "95 %"]
    rows = [header, ["---"] * len(header)]
    for line in lines:
        settings = [_cell(value).replace("|", "\\|") for value in values_of(sweep, line.case)]
        rows.append(["base" if not line.case.settings else "", *settings, *(cell or "-" for cell in cells(line))])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"# Sweep {_cell(sweep.name)}\n\nChosen and compared on the split `{split}`; {how(sweep)}\n\n{table}\n"


def values_of(sweep: Sweep, case: Case) -> list[Any]:
    """What a case has for each of the settings that the sweep is about."""
    settings = flat(case.config)
    return [settings[key] for key in sweep.keys]


def how(sweep: Sweep) -> str:
    """What the intervals are."""
    if len(sweep.seeds) > 1:
        return "intervals are Student's t over seeds, differences are taken seed by seed."
    return "the interval of one seed is the bootstrap over queries, and says nothing of seeds."


def cells(line: Line) -> list[str | None]:
    """Seeds, value, interval, difference, interval, as words; None where there is none."""
    seeds = str(line.done) if line.done == line.total else f"{line.done} of {line.total}"
    value = None if line.value is None else f"{line.value.mean:.1f}"
    difference = None if line.difference is None else f"{line.difference.mean:+.1f}"
    return [seeds, value, interval(line.value), difference, interval(line.difference)]


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("\n", " ")

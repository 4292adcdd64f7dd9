"""A sweep: the same training under several settings and seeds, each a run of its own, compared on validation.

Runs lie in one folder, `<settings>-seed<n>`. A finished one holds `result.json` and is not trained again, a half-done
one is resumed, so that the same command goes on where it was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tvrkit.config import Config
from tvrkit.errors import ConfigError, StoppedError, TvrkitError
from tvrkit.files import whole_folder, write_json
from tvrkit.manifest import read_manifest
from tvrkit.reporting import Reporter
from tvrkit.train.cases import Case, Sweep, flat
from tvrkit.train.run import has_checkpoint, read_run_config
from tvrkit.workspace import RUN_FILE, manifest_path

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class Result:
    """What came of a run: `metrics` of the best checkpoint on the validation split, or why there are none."""

    case: Case
    seed: int
    run: Path
    metrics: Mapping[str, Any] | None = None
    seconds: float = 0.0
    failure: str | None = None

    def value(self, metric: str) -> float | None:
        """`t2v/R@1` and its like."""
        direction, _, name = metric.partition("/")
        found = None if self.metrics is None else self.metrics.get(direction, {}).get(name)
        return None if found is None else float(found)


def run_of(out: Path, case: Case, seed: int) -> Path:
    """The folder of a run."""
    return out / f"{case.name}-seed{seed}"


def read_result(out: Path, case: Case, seed: int) -> Result | None:
    """What a finished run left; None where it is not finished.

    Raises:
        ConfigError: the folder holds a run with other settings.
    """
    run = run_of(out, case, seed)
    if (run / RUN_FILE).is_file():
        _require_same(run, case, seed)
    try:
        told = json.loads((run / RESULT_FILE).read_text(encoding="utf-8"))
        return Result(case, seed, run, told["metrics"], float(told["seconds"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return None  # the run itself has its numbers still


def progress_of(out: Path, case: Case, seed: int) -> str:
    """`done`, `begun` or `to do`."""
    if read_result(out, case, seed) is not None:
        return "done"
    return "begun" if (run_of(out, case, seed) / RUN_FILE).is_file() else "to do"


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    device: str = "cpu",
    report: Reporter,
    on_result: Callable[[list[Result]], None] = lambda results: None,
) -> list[Result]:
    """Train what is not trained yet, and gather all results.

    Args:
        sweep: what to train.
        out: folder of its runs.
        device: where.
        report: who is told.
        on_result: called after each run with all results so far.

    Returns:
        One for each run. One that failed has its reason, and the others go on.

    Raises:
        ConfigError: `out` holds runs with other settings.
        DataError: the data set is not there or has no validation split.
        StoppedError: a signal asked to stop; the run under way is saved.
    """
    require_validation(sweep)
    runs = list(sweep.runs())
    done = [read_result(out, case, seed) for case, seed in runs]  # all of them first: nothing starts beside a stranger
    results: list[Result] = []
    for number, ((case, seed), known) in enumerate(zip(runs, done, strict=True), 1):
        if known is None:
            report.say(f"Run {number} of {len(runs)}: {case.name}, seed {seed}.")
            known = _train(sweep, case, seed, run_of(out, case, seed), device, report)
        results.append(known)
        on_result(results)
    return results


def _train(sweep: Sweep, case: Case, seed: int, run: Path, device: str, report: Reporter) -> Result:
    from tvrkit.train.loop import train
    from tvrkit.train.state import BEST, CHECKPOINTS, LAST, METRICS_NAME, NUMBERS

    try:
        # A run that died before its first checkpoint begins anew.
        train(_with_seed(case, seed), run, resume=has_checkpoint(run), device=device, report=report)
        metrics = json.loads((whole_folder(run / CHECKPOINTS / BEST) / METRICS_NAME).read_text(encoding="utf-8"))
        numbers = whole_folder(run / CHECKPOINTS / LAST) / NUMBERS
        seconds = float(json.loads(numbers.read_text(encoding="utf-8"))["seconds"])
        write_json(run / RESULT_FILE, {"metrics": metrics, "seconds": seconds})
        return Result(case, seed, run, metrics, seconds)
    except StoppedError as error:
        words = f"the sweep {sweep.name} was stopped and the run under way is saved: the same command goes on."
        raise StoppedError(words, error.exit_code) from None
    except Exception as error:  # whatever is wrong with one case, the others are to be had
        text = " ".join(str(error).split())
        reason = text if isinstance(error, TvrkitError) else f"{type(error).__name__}: {text}"
        report.warn(f"{case.name}, seed {seed}: {reason}")
        return Result(case, seed, run, failure=reason)


def require_validation(sweep: Sweep) -> None:
    """Make sure that there is a split to compare on.

    Raises:
        DataError: the data set is not there.
        ConfigError: it has no validation split, or that is the test split.
    """
    data = sweep.cases[0].config.data
    manifest = read_manifest(manifest_path(data.dataset))
    if data.val_split == "test" or data.val_split not in manifest.splits():
        raise ConfigError(
            f"a sweep compares on a validation split, and {manifest.name} has no split {data.val_split!r} that could"
            " be one: set data.val_split, or prepare the data set with one."
        )


def _with_seed(case: Case, seed: int) -> Config:
    return replace(case.config, train=replace(case.config.train, seed=seed))


def _require_same(run: Path, case: Case, seed: int) -> None:
    own, there = (flat(config) for config in (_with_seed(case, seed), read_run_config(run)))
    own["data.dataset"] = str(manifest_path(own["data.dataset"]).resolve())
    other = [key for key in own if own[key] != there.get(key)]
    if other:
        raise ConfigError(
            f"{run} is a run with other settings ({other[0]} is {there.get(other[0])!r}, not {own[other[0]]!r}):"
            " give the sweep a folder of its own by --out, or remove that run."
        )

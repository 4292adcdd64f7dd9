"""What `tvrkit eval` leaves behind: JSON, the numbers in a run, scores, a page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tvrkit
from tvrkit.cli import output
from tvrkit.errors import TvrkitError
from tvrkit.files import atomic_path, write_json
from tvrkit.frames.reading import Reading
from tvrkit.workspace import RUN_FILE

if TYPE_CHECKING:
    from tvrkit.evaluate import Evaluation, HardGallery
    from tvrkit.manifest import Manifest
    from tvrkit.metrics import Difference

EVALUATIONS = "evaluations"


@dataclass(frozen=True)
class Row:
    """What one model measured.

    Attributes:
        name: in tables.
        evaluation: the plain one.
        hard: the hard gallery, where there is one.
        normalised: the same scores after a normalisation over other queries.
    """

    name: str
    evaluation: Evaluation
    hard: HardGallery | None = None
    normalised: tuple[Evaluation, ...] = ()


@dataclass(frozen=True)
class Measured:
    """One thing asked for: its own row, and the baseline's below it.

    Attributes:
        source: the words that name it: a path, an open_clip name, a file of scores.
        folder: the run or exported folder that it is, if it is one.
        rows: its own first.
        kind: the key under which JSON names it.
    """

    source: str
    folder: Path | None
    rows: tuple[Row, ...]
    kind: str = "model"


@dataclass(frozen=True)
class Comparison:
    """Two of them on the same queries: t2v and v2t -> metric -> difference."""

    a: Measured
    b: Measured
    differences: Mapping[str, Mapping[str, Difference]]

    @property
    def names(self) -> tuple[str, str]:
        """Of the rows."""
        return self.a.rows[0].name, self.b.rows[0].name


def letter_of(place: int) -> str:
    """The short name of one of several: A to Z, then A1, B1 and so on."""
    return chr(ord("A") + place % 26) + (str(place // 26) if place >= 26 else "")


def metrics_of(folder: Path) -> dict[str, Any]:
    """metrics.json of a run's best checkpoint or an exported folder; empty where there is none."""
    from tvrkit.core.checkpoint import METRICS_NAME, checkpoint_of

    try:
        metrics = json.loads((checkpoint_of(folder) / METRICS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, TvrkitError):
        return {}
    return metrics if isinstance(metrics, dict) else {}


def chosen_by(folder: Path | None) -> str:
    """A few words on which step it is and which split chose it."""
    metrics = metrics_of(folder) if folder is not None else {}
    if "step" not in metrics:
        return ""
    if metrics.get("split") is None:
        return f" (step {metrics['step']}, the last one: there was no validation split to choose by)"
    return f" (step {metrics['step']}, chosen by {metrics.get('selected_by')} on the split {metrics['split']})"


def compare_with_first(measured: Sequence[Measured]) -> list[Comparison]:
    """The first against each of the others.

    Raises:
        DataError: their queries or galleries differ.
    """
    from tvrkit.evaluate import compare_evaluations

    first = measured[0]
    return [
        Comparison(first, other, compare_evaluations(first.rows[0].evaluation, other.rows[0].evaluation))
        for other in measured[1:]
    ]


def result_of(measured: Sequence[Measured], comparisons: Sequence[Comparison] = ()) -> dict[str, Any]:
    """For JSON: of one, its own numbers and the baseline's beside them; of several, a list and the comparisons."""
    version = {"tvrkit": tvrkit.__version__}
    if len(measured) == 1:
        return version | _result(measured[0])
    first = measured[0].rows[0].evaluation
    return {
        **version,
        **{key: getattr(first, key) for key in ("dataset", "split", "protocol")},
        "models": [_result(one) for one in measured],
        "comparisons": [
            {"a": pair.a.source, "b": pair.b.source}
            | {
                direction: {name: difference.to_dict() for name, difference in metrics.items()}
                for direction, metrics in pair.differences.items()
            }
            for pair in comparisons
        ],
    }


def _result(one: Measured, *, plain: bool = False) -> dict[str, Any]:
    result = {one.kind: one.source, **_numbers(one.rows[0], plain)}
    if one.folder is not None and (metrics := metrics_of(one.folder)):
        result["checkpoint"] = {key: metrics.get(key) for key in ("step", "split", "selected_by")}
    if len(one.rows) > 1:
        result["zero_shot"] = _numbers(one.rows[1], plain)
    return result


def _numbers(row: Row, plain: bool) -> dict[str, Any]:
    numbers = row.evaluation.to_dict() | ({"hard": row.hard.to_dict()} if row.hard else {})
    if row.normalised and not plain:
        numbers["normalised"] = [evaluation.to_dict() for evaluation in row.normalised]
    return numbers


def keep(one: Measured) -> None:
    """Leave the plain numbers in the run, where `tvrkit export` finds them for the model card."""
    if one.folder is not None and (one.folder / RUN_FILE).is_file():
        result = {"tvrkit": tvrkit.__version__} | _result(one, plain=True)
        name = "-".join(re.sub(r"[^\w.]+", "_", str(result[key])) for key in ("dataset", "split"))
        write_json(one.folder / EVALUATIONS / f"{name}.json", result)


def write_scores(path: Path, evaluation: Evaluation) -> None:
    """Write the scores (T, V) as .npy, and what its rows and columns are as .json beside it."""
    import numpy as np

    path = path if path.suffix == ".npy" else path.with_name(f"{path.name}.npy")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, evaluation.similarity.numpy())
    about = {key: getattr(evaluation, key) for key in ("dataset", "split", "protocol")}
    rows = [{"video_id": record.video_id, "caption": text} for record in evaluation.records for text in record.captions]
    columns = [record.video_id for record in evaluation.records]
    write_json(path.with_suffix(".json"), {**about, "rows": rows, "columns": columns})
    output.say(f"Scores: {path} {tuple(evaluation.similarity.shape)}, captions by videos.")


def write_page(
    path: Path,
    measured: Sequence[Measured],
    comparisons: Sequence[Comparison],
    manifest: Manifest | None,
    options: Mapping[str, Any],
) -> None:
    """Write the same as a page, with the worst queries."""
    from tvrkit.report.page import write_report

    everything = [row for one in measured for row in one.rows]
    rows = [(row.name, row.evaluation) for row in everything]
    rows += [(row.name, evaluation) for row in everything for evaluation in row.normalised]
    first = measured[0].rows[0].evaluation
    write_report(
        path,
        rows,
        title=f"{first.dataset}, {first.split}: {', '.join(one.source for one in measured)}",
        manifest=manifest,
        comparisons={" and ".join(pair.names): pair.differences for pair in comparisons},
        hard=[(row.name, row.hard) for row in everything if row.hard is not None],
        notes=[f"{one.rows[0].name}: {one.source}{chosen_by(one.folder)}" for one in measured],
        reading=Reading(options["workers"], options["reader"], options["timeout"]),
    )
    output.say(f"Report: {path}")

"""What `tvrkit eval` shows and leaves behind."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tvrkit
from tvrkit.cli import output
from tvrkit.errors import TvrkitError
from tvrkit.files import atomic_path, write_json
from tvrkit.workspace import RUN_FILE

if TYPE_CHECKING:
    from tvrkit.evaluate import Evaluation, HardGallery
    from tvrkit.manifest import Manifest

EVALUATIONS = "evaluations"


@dataclass(frozen=True)
class Row:
    """What one model measured."""

    name: str
    evaluation: Evaluation
    hard: HardGallery | None


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


def result_of(source: str, folder: Path | None, rows: Sequence[Row]) -> dict[str, Any]:
    """For JSON: the model's own numbers, and the baseline's beside them."""

    def numbers(row: Row) -> dict[str, Any]:
        return row.evaluation.to_dict() | ({"hard": row.hard.to_dict()} if row.hard else {})

    result = {"tvrkit": tvrkit.__version__, "model": source, **numbers(rows[0])}
    if folder is not None and (metrics := metrics_of(folder)):
        result["checkpoint"] = {key: metrics.get(key) for key in ("step", "split", "selected_by")}
    if len(rows) > 1:
        result["zero_shot"] = numbers(rows[1])
    return result


def keep(folder: Path, result: dict[str, Any]) -> None:
    """Leave the numbers in the run, where `tvrkit export` finds them for the model card."""
    if (folder / RUN_FILE).is_file():
        name = "-".join(re.sub(r"[^\w.]+", "_", str(result[key])) for key in ("dataset", "split"))
        write_json(folder / EVALUATIONS / f"{name}.json", result)


def write_scores(path: Path, evaluation: Evaluation, manifest: Manifest) -> None:
    """Write the scores (T, V) as .npy, and what its rows and columns are as .json beside it."""
    import numpy as np

    path = path if path.suffix == ".npy" else path.with_name(f"{path.name}.npy")
    records = [r for r in manifest.split(evaluation.split) if r.video_id not in evaluation.missing]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, evaluation.similarity.numpy())
    captions = [{"video_id": record.video_id, "caption": text} for record in records for text in record.captions]
    write_json(path.with_suffix(".json"), {"rows": captions, "columns": [record.video_id for record in records]})
    output.say(f"Scores: {path} {tuple(evaluation.similarity.shape)}, captions by videos.")


def print_tables(rows: Sequence[Row]) -> None:
    """Both directions, one row a model, and the hard gallery where there is one."""
    first = rows[0].evaluation
    protocol = f", protocol {first.protocol}" if first.protocol else ""
    for direction, words in (
        ("t2v", "{queries} captions look for their video among {gallery}"),
        ("v2t", "{queries} videos look for a caption of theirs among those of {gallery}"),
    ):
        counts = getattr(first, direction).to_dict()
        columns = ("model", "R@1", "95 %", "R@5", "R@10", "MdR", "MnR", "ties")
        output.print_table(
            columns,
            [(row.name, *_cells(getattr(row.evaluation, direction).to_dict())) for row in rows],
            title=f"{first.dataset}, {first.split}{protocol}: {direction}, {words.format(**counts)}",
        )
    if first.missing:
        some = ", ".join(first.missing[:5]) + (" …" if len(first.missing) > 5 else "")
        output.warn(
            f"{len(first.missing)} videos could not be read and are left out with their captions ({some}):"
            " these numbers cannot be compared with those of the whole set."
        )
    galleries = [(row.name, row.hard) for row in rows if row.hard is not None]
    if galleries:
        _print_hard(galleries)


def _cells(metrics: dict[str, float]) -> tuple[Any, ...]:
    interval = f"{metrics['R@1_low']:.1f}-{metrics['R@1_high']:.1f}"
    rounded = {name: round(metrics[name], 1) for name in ("R@1", "R@5", "R@10", "MdR", "MnR")}
    return (rounded["R@1"], interval, *(rounded[n] for n in ("R@5", "R@10", "MdR", "MnR")), metrics["ties"])


def _print_hard(galleries: Sequence[tuple[str, HardGallery]]) -> None:
    first = galleries[0][1]
    rows: list[tuple[Any, ...]] = [
        ("caption beats every one-word edit", first.clips, *(round(h.caption_chosen, 1) for _, h in galleries)),
        ("clip found in its family", first.clips, *(round(h.clip_found, 1) for _, h in galleries)),
    ]
    for kind, (_, questions) in first.by_edit.items():
        rows.append(
            (f"right of two captions: {kind}", questions, *(round(h.by_edit[kind][0], 1) for _, h in galleries))
        )
    output.print_table(
        ("hard gallery, % right", "asked", *(name for name, _ in galleries)),
        rows,
        title=f"{first.families} families of clips whose captions differ in one word",
    )

"""The README.md of an exported model: what it is, what it was measured on, and nothing that was not measured."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tvrkit

CARD_NAME = "README.md"
_COLUMNS = ("R@1", "R@5", "R@10", "MdR", "MnR", "queries", "gallery")


def model_card(
    name: str,
    facts: Mapping[str, Any],
    metrics: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
    training: Mapping[str, Any],
    *,
    about_shapes: bool,
) -> str:
    """Write the card.

    Args:
        name: of the export.
        facts: rows of the table that says what the model is.
        metrics: metrics.json of the checkpoint: the validation that chose it, `step`, `selected_by`; may be empty.
        evaluations: what `tvrkit eval --json` gave for this checkpoint; may be empty.
        training: rows on how it was trained; may be empty.
        about_shapes: whether it knows the built-in shapes only.

    Returns:
        Markdown. Names from outside (data sets, splits, paths) are shown as they are and can neither format nor link.
    """
    parts = [
        "---\nlibrary_name: tvrkit\ntags:\n- text-video-retrieval\n- video-search\n---",
        f"# {plain(name) or 'model'}",
        f"A text-video retrieval model, exported by tvrkit {plain(tvrkit.__version__)}.",
    ]
    if about_shapes:
        parts.append(
            "**It knows the coloured shapes of the built-in benchmark and nothing else.** Of real videos its scores"
            " mean nothing."
        )
    parts += [_USE, "## What it is", _pairs(facts), "## How it was chosen", _chosen(metrics)]
    if training:
        parts += ["## How it was trained", _pairs(training)]
    parts += ["## What it was measured on", *_measured(metrics, evaluations), _LIMITS]
    return "\n\n".join(parts) + "\n"


def plain(text: Any) -> str:
    """Text that Markdown and HTML show as it is, on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    line = html.escape(line, quote=False)
    line = re.sub(r"[\\`*\[\]#!|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)
    # Bare addresses become links even so, unless their signs are entities.
    return line.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


_USE = """## Use

```python
import tvrkit

model = tvrkit.load("path/to/this/folder")
```

```sh
tvrkit query "what you look for" --videos ./clips --model path/to/this/folder
```"""

_LIMITS = """## Limits

Figures are those that tvrkit measured of this checkpoint on the data named beside them; other videos, other sampling
of frames and other captions give others. The weights are derived from the backbone's and from the training data: the
licences of both apply."""


def _chosen(metrics: Mapping[str, Any]) -> str:
    if metrics.get("zero_shot"):
        return "It was not trained by tvrkit: it is the backbone as it was published, and the mean of a video's frames."
    if not metrics.get("dataset"):
        return "There is no record of how this checkpoint was chosen."
    where = f"step {plain(metrics.get('step', '?'))} of training on {plain(metrics['dataset'])}"
    if not metrics.get("split"):
        return f"It is the last checkpoint, {where}: there was no validation split to choose by."
    return (
        f"It is the best checkpoint, {where}, by {plain(metrics.get('selected_by', 't2v/R@1'))} on the split"
        f" {plain(metrics['split'])}."
    )


def _measured(metrics: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [row for evaluation in evaluations for row in _rows(evaluation, "")]
    for evaluation in evaluations:
        zero_shot = evaluation.get("zero_shot")
        if isinstance(zero_shot, Mapping):
            named = {**zero_shot, "dataset": evaluation["dataset"], "split": evaluation["split"]}
            rows += _rows(named, ", backbone alone (zero-shot)")
    if isinstance(metrics.get("t2v"), Mapping) and metrics.get("split"):
        rows += _rows(metrics, ", which chose the checkpoint")
    if not rows:
        yield "Nothing was measured. `tvrkit eval` measures it, and `tvrkit export` then writes the numbers here."
        return
    head = ["data set and split", "protocol", "direction", *_COLUMNS]
    yield "\n".join(_line(cells) for cells in (head, ["---"] * len(head), *rows))
    yield "Recall in %, ranks from 1; ties are shared. t2v finds videos by captions, v2t captions by videos."
    for evaluation in evaluations:
        if evaluation.get("missing"):
            yield (
                f"Of {plain(evaluation['dataset'])}, {len(evaluation['missing'])} unreadable videos were left out:"
                " these numbers are not comparable with others'."
            )
        elif isinstance(coverage := evaluation.get("coverage"), Mapping) and coverage.get("complete") is False:
            yield (
                f"INCOMPLETE: {plain(evaluation['dataset'])} {plain(evaluation['split'])} was not the whole set of its"
                " protocol, so these numbers are not comparable with others'."
            )
    yield from _hard(evaluations)


def _rows(result: Mapping[str, Any], note: str) -> list[list[str]]:
    where = f"{plain(result.get('dataset', ''))} {plain(result.get('split', ''))}{note}"
    protocol = plain(result.get("protocol") or "-")
    return [
        [where, protocol, direction, *(_number(result[direction].get(column)) for column in _COLUMNS)]
        for direction in ("t2v", "v2t")
        if isinstance(result.get(direction), Mapping)
    ]


def _hard(evaluations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for evaluation in evaluations:
        hard = evaluation.get("hard")
        if isinstance(hard, Mapping) and "caption_chosen" in hard:
            yield (
                f"One-word edits of {plain(evaluation['dataset'])}: the true caption beats every edited one for"
                f" {_number(hard['caption_chosen'])} % of {plain(hard.get('clips', '?'))} clips, and the right clip of"
                f" its family is found for {_number(hard.get('clip_found'))} %."
            )


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.1f}"


def _pairs(rows: Mapping[str, Any]) -> str:
    lines = [["", ""], ["---", "---"], *([plain(key), plain(value)] for key, value in rows.items())]
    return "\n".join(_line(cells) for cells in lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

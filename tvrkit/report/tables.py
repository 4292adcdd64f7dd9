"""The numbers: results in both directions, the hard gallery, comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvrkit.evaluate import Evaluation, HardGallery
from tvrkit.metrics import Difference
from tvrkit.report.parts import Html, count, join, number, rank, table, tag, text

_INTERVAL = "95\N{NO-BREAK SPACE}%"
# A difference that chance alone makes less often than this is called one.
_LEVEL = 0.05


def row_name(name: str, evaluation: Evaluation) -> Html:
    """A row's name, with what was done to its scores."""
    if label(name, evaluation) == name:
        return text(name, 100)
    return join([text(name, 100), tag("small", f"with {evaluation.normalisation}")], "")


def label(name: str, evaluation: Evaluation) -> str:
    """The same without markup."""
    known = evaluation.normalisation is None or evaluation.normalisation in name
    return name if known else f"{name}, {evaluation.normalisation}"


def result_table(direction: str, rows: Sequence[tuple[str, Evaluation]]) -> Html:
    """One direction, `t2v` or `v2t`, a row a model."""
    metrics = [getattr(evaluation, direction).to_dict() for _, evaluation in rows]
    recalls = [key for key in metrics[0] if key.startswith("R@") and key[2:].isdigit()]
    average = any(m.get("mAP") is not None for m in metrics)
    columns = ["model", recalls[0], _INTERVAL, *recalls[1:], "MdR", "MnR", *(["mAP"] if average else []), "ties"]
    lines = []
    for (name, evaluation), m in zip(rows, metrics, strict=True):
        interval = f"{m[f'{recalls[0]}_low']:.1f}–{m[f'{recalls[0]}_high']:.1f}"
        shown = row_name(name, evaluation)
        if (m["queries"], m["gallery"]) != (metrics[0]["queries"], metrics[0]["gallery"]):
            words = f"other queries: {m['queries']:,} among {m['gallery']:,}"
            shown = join([shown, tag("small", words)], "")
        line = [shown, number(m[recalls[0]]), interval, *(number(m[key]) for key in recalls[1:])]
        line += [rank(m["MdR"]), number(m["MnR"])]
        if average:
            line.append(number(m["mAP"]) if m.get("mAP") is not None else "")
        lines.append([*line, f"{m['ties']:,}"])
    return table(f"{title_of(direction)}: {asked(direction, metrics[0])}", columns, lines)


def title_of(direction: str) -> str:
    """Of `t2v` or `v2t`."""
    return {"t2v": "Text to video", "v2t": "Video to text"}[direction]


def asked(direction: str, metrics: Mapping[str, float]) -> str:
    """Who asks, and among what."""
    queries, gallery = int(metrics["queries"]), int(metrics["gallery"])
    if direction == "t2v":
        return f"{count(queries, 'caption')} each looking for its video among {gallery:,}"
    return f"{count(queries, 'video')} each looking for a caption of its own among those of {gallery:,}"


def changed_words(rows: Sequence[tuple[str, Evaluation]]) -> list[str]:
    """For each normalised row, what the normalisation changed."""
    lines = []
    for name, evaluation in rows:
        if evaluation.normalisation is None:
            continue
        line = f"{name}: {evaluation.normalisation}"
        if evaluation.changed is not None:
            parts = [
                f"{evaluation.changed[d]:,} of {getattr(evaluation, d).num_queries:,} in {d}" for d in ("t2v", "v2t")
            ]
            line += f"; it changed the rank of {' and '.join(parts)}"
        lines.append(line + ". Such a row has seen more than its own query: compare it only with rows made likewise.")
    return lines


def hard_table(galleries: Sequence[tuple[str, HardGallery]]) -> Html:
    """Captions that differ in one word."""
    first = galleries[0][1]
    rows: list[list[str]] = [
        ["caption beats every one-word edit", f"{first.clips:,}", *(number(h.caption_chosen) for _, h in galleries)],
        ["clip found in its family", f"{first.clips:,}", *(number(h.clip_found) for _, h in galleries)],
    ]
    for kind, (_, questions) in first.by_edit.items():
        values = [number(h.by_edit[kind][0]) if kind in h.by_edit else "" for _, h in galleries]
        rows.append([f"right of two captions: {kind}", f"{questions:,}", *values])
    title = f"{count(first.families, 'family', 'families')} of clips whose captions differ in one word, % right"
    return table(title, ["question", "asked", *(name for name, _ in galleries)], rows)


def comparison_table(title: str, direction: str, differences: Mapping[str, Difference]) -> Html:
    """Paired differences of two rows in one direction."""
    rows: list[list[Any]] = []
    for key, d in differences.items():
        interval = f"{_signed(d.low)} to {_signed(d.high)}"
        rows.append(
            [key, number(d.a), number(d.b), _signed(d.difference), interval, p_words(d.p_value), verdict(key, d)]
        )
    columns = ["metric", "first", "second", "second − first", _INTERVAL, "p", "in words"]
    return table(f"{title}, {title_of(direction).lower()}", columns, rows, left=(6,))


def _signed(value: float) -> str:
    return f"{value:+,.1f}".replace("-", "−")


def p_words(p: float) -> str:
    """A p-value with as many digits as it has."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict(key: str, d: Difference) -> str:
    """What a difference says; of a rank, lower is better."""
    if d.difference == 0:
        return "the same"
    if d.p_value >= _LEVEL:
        return "may be chance"
    better = "second" if (d.difference > 0) == key.startswith("R@") else "first"
    return f"the {better} is better, hardly by chance"

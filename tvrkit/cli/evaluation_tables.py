"""What `tvrkit eval` prints, within 80 columns: numbers to stdout, warnings to stderr."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from tvrkit.cli import output
from tvrkit.cli.evaluation import Comparison, Measured, Row, letter_of

if TYPE_CHECKING:
    from tvrkit.evaluate import Evaluation, HardGallery

DIRECTIONS = {
    "t2v": "{queries:,} captions look for their video among {gallery:,}",
    "v2t": "{queries:,} videos look for a caption of theirs among those of {gallery:,}",
}
NAME_WIDTH = 10  # what is left of 80 columns
SIGNIFICANT = 0.05
TOO_MANY_TIES = 0.1
DSL, QUERY_BANK = "+ DSL", "+ QB-Norm"


def print_tables(measured: Sequence[Measured]) -> None:
    """What was measured, then each direction with a row for each model and normalisation, then the hard galleries."""
    first = measured[0].rows[0].evaluation
    names, legend = _names(measured)
    _line(_what(first))
    for line in legend:
        _line(line)
    for direction, words in DIRECTIONS.items():
        _print_direction(measured, names, direction, words)
    for line in _normalisations(measured, names):
        _line(line)
    galleries = [(names[row.name], row.hard) for one in measured for row in one.rows if row.hard is not None]
    if galleries:
        _print_hard(galleries)


def warn_of(measured: Sequence[Measured]) -> None:
    """What a reader must not overlook, on stderr: gaps, and a normalisation that did nothing."""
    for row in (row for one in measured for row in one.rows):
        evaluation = row.evaluation
        if evaluation.missing:
            some = ", ".join(evaluation.missing[:5]) + (" …" if len(evaluation.missing) > 5 else "")
            output.warn(
                f"{row.name}: {len(evaluation.missing)} videos could not be read and are left out with their captions"
                f" ({some}): these numbers cannot be compared with those of the whole set."
            )
        elif not evaluation.coverage.complete:
            words = evaluation.coverage.words()
            output.warn(f"{row.name}: {words}: these numbers cannot be compared with those of the whole set.")
        for normalised in row.normalised:
            _warn_of_normalised(row, normalised)


def _warn_of_normalised(row: Row, normalised: Evaluation) -> None:
    for direction, changed in (normalised.changed or {}).items():
        plain, other = (getattr(e, direction) for e in (row.evaluation, normalised))
        if not changed and plain.num_queries > 1:
            output.warn(f"{row.name}: {normalised.normalisation} changed the rank of no query of {direction}.")
        elif other.num_ties - plain.num_ties > TOO_MANY_TIES * plain.num_queries:
            output.warn(
                f"{row.name}: {normalised.normalisation} made {other.num_ties:,} of {plain.num_queries:,} queries of"
                f" {direction} tie, {plain.num_ties:,} did before: the scores are too far apart for it; is the model's"
                " own scale in them already (then --temperature 1)?"
            )


def print_comparisons(comparisons: Sequence[Comparison]) -> None:
    """The first against each of the others: every difference with its interval and p-value, and a sentence."""
    for pair in comparisons:
        a, b = pair.names
        rows = [
            (
                f"{direction} {name}",
                _number(d.a),
                _number(d.b),
                f"{d.difference:+.1f}",
                f"{d.low:+.1f} to {d.high:+.1f}",
                _p(d.p_value),
            )
            for direction, metrics in pair.differences.items()
            for name, d in metrics.items()
        ]
        _line(f"{b} against {a}, query by query; of MnR less is better", bold=True)
        output.print_table(("", a, b, f"{b} - {a}", "95 %", "p"), rows)
        for line in _verdicts(pair):
            _line(line)


def _verdicts(pair: Comparison) -> Iterator[str]:
    b = pair.names[1]
    for direction, metrics in pair.differences.items():
        found, queries = metrics["R@1"], getattr(pair.a.rows[0].evaluation, direction).num_queries
        if found.p_value >= SIGNIFICANT:
            p_value = _p(found.p_value, True)
            yield f"{direction}: at R@1 no difference that these {queries:,} queries can show ({p_value})."
            continue
        low, high = (found.low, found.high) if found.difference > 0 else (-found.high, -found.low)
        word = "more" if found.difference > 0 else "fewer"
        yield (
            f"{direction}: {b} finds {abs(found.difference):.1f} points {word} at R@1,"
            f" 95 % {low:.1f} to {high:.1f}, {_p(found.p_value, True)}."
        )


def _what(first: Evaluation) -> str:
    coverage = first.coverage
    counts = coverage.words().removesuffix(f" of {coverage.protocol}")
    protocol = f"protocol {first.protocol}" if first.protocol else "no protocol"
    whole = coverage.complete and not first.missing
    return f"{first.dataset}, {first.split}, {protocol}: {counts}{'' if whole else ': INCOMPLETE'}"


def _names(measured: Sequence[Measured]) -> tuple[dict[str, str], list[str]]:
    """The name of each row in the tables, and lines that say what the short ones stand for."""
    rows = [row.name for one in measured for row in one.rows]
    if len(measured) > 1:
        legend = [f"  {one.rows[0].name}  {one.source}" for one in measured]
        if any(len(one.rows) > 1 for one in measured):
            legend.append("  0-shot: the backbone of the model above as it was pretrained")
        return dict(zip(rows, rows, strict=True)), legend
    if all(len(name) <= NAME_WIDTH for name in rows):
        return dict(zip(rows, rows, strict=True)), []
    letters = [letter_of(place) for place in range(len(rows))]
    return dict(zip(rows, letters, strict=True)), [f"  {a}  {name}" for a, name in zip(letters, rows, strict=True)]


def _print_direction(measured: Sequence[Measured], names: dict[str, str], direction: str, words: str) -> None:
    found = []
    for row in (row for one in measured for row in one.rows):
        found.append((names[row.name], getattr(row.evaluation, direction).to_dict()))
        found += [(_label(e), getattr(e, direction).to_dict()) for e in row.normalised]
    columns = [c for c in ("R@1", "95 %", "R@5", "R@10", "R@50", "MdR", "MnR", "mAP", "ties") if _has(c, found)]
    rows = [(name, *(_cell(column, metrics) for column in columns)) for name, metrics in found]
    _line(f"{direction}: {words.format(**found[0][1])}", bold=True)
    output.print_table(("", *columns), rows, tight=True)


def _has(column: str, found: Sequence[tuple[str, dict[str, Any]]]) -> bool:
    return column == "95 %" or any(column in metrics for _, metrics in found)


def _cell(column: str, metrics: dict[str, Any]) -> str | None:
    if column == "95 %":
        return f"{_short(metrics['R@1_low'])}-{_short(metrics['R@1_high'])}"
    value = metrics.get(column)
    if value is None:
        return None
    return str(value) if column == "ties" else _number(value)


def _number(value: float) -> str:
    """One decimal, and none where it takes too much room."""
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def _short(value: float) -> str:
    return "100" if value >= 99.95 else f"{value:.1f}"


def _p(value: float, sentence: bool = False) -> str:
    digits = "< 0.001" if value < 0.001 else f"{value:.3f}"
    return digits if not sentence else f"p {digits}" if value < 0.001 else f"p = {digits}"


def _label(evaluation: Evaluation) -> str:
    return DSL if (evaluation.normalisation or "").startswith("dual softmax") else QUERY_BANK


def _normalisations(measured: Sequence[Measured], names: dict[str, str]) -> Iterator[str]:
    """What the extra rows saw, and what they changed."""
    for number, evaluation in enumerate(measured[0].rows[0].normalised):
        label = _label(evaluation)
        sees = "all queries of the test set at once" if label == DSL else "training captions and videos for every query"
        yield f"{label}: {evaluation.normalisation}. It looks at {sees}: not to be compared with rows without it."
        for row in (row for one in measured for row in one.rows):
            changed = row.normalised[number].changed or {}
            counts = (f"{n:,} of {getattr(evaluation, d).num_queries:,} in {d}" for d, n in changed.items())
            yield f"  It changed the ranks of {names[row.name]}: {', '.join(counts)}."


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
    _line(f"{first.families} families of clips whose captions differ in one word", bold=True)
    output.print_table(("hard gallery, % right", "asked", *(name for name, _ in galleries)), rows, tight=True)


def _line(text: str, *, bold: bool = False) -> None:
    """Words within 80 columns; what has no place to break stays whole."""
    lines = textwrap.fill(output.printable(text), 80, subsequent_indent="  ", break_long_words=False)
    click.secho(lines, bold=bold)

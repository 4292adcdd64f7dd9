"""Answers on the terminal: a table of 80 columns, or JSON lines; the same for one question, many, and the shell."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tvrkit.cli import output
from tvrkit.cli.updating import one_line
from tvrkit.errors import ConfigError
from tvrkit.index.answer_json import explanation_json, hit_json
from tvrkit.index.ask import Ask
from tvrkit.index.hits import Answer, FoundMoment, Hit, moment

if TYPE_CHECKING:
    from tvrkit.index.explain import Explanation

_UNSURE = " ?"


def words_of(ask: Ask) -> str | None:
    """The first words that are looked for; None where pictures or videos alone are."""
    return next((part.value for part in ask.parts if part.kind == "text" and part.weight > 0), None)


def title_of(ask: Ask) -> str:
    """A question in one line: what is looked for, and what is not wanted."""
    pieces = []
    for i, part in enumerate(ask.parts):
        sign = "without" if part.weight < 0 else "with" if i else ""
        kind = "" if part.kind == "text" else f"{'like' if part.kind == 'video' else 'image'} "
        pieces.append(f"{sign} {kind}{part.value}".strip())
    return ", ".join(pieces)


def at_least(answer: Answer, least: float | None) -> Answer:
    """An answer without what is less sure than that.

    Raises:
        ConfigError: nothing is known of how sure it is.
    """
    if least is None:
        return answer
    if any(hit.confidence is None for hit in answer.hits):
        raise ConfigError("--min-confidence: how sure an answer is, is known for one text and no other parts.")
    kept: list[Hit] = []
    for hit in answer.hits:
        moments = tuple(found for found in hit.moments if (found.confidence or 0.0) >= least)
        if moments:
            kept.append(replace(hit, rank=len(kept) + 1, moments=moments))
    return replace(answer, hits=tuple(kept))


def tell_confidence(answer: Answer) -> None:
    """Say it where nothing stands out."""
    if answer.confident is False:
        output.say("No confident match: nothing here fits well. The nearest, marked with ?, are:")


def json_of(hit: Hit, answer: Answer, explanation: Explanation | None = None) -> dict[str, Any]:
    """One hit as JSON, with the heat map of its best moment where there is one."""
    found = hit_json(hit, answer.threshold)
    if explanation is not None:
        found["explanation"] = explanation_json(explanation)
    return found


def print_hits(answer: Answer, explanations: Mapping[int, Explanation] = {}) -> None:
    """One JSON object a hit, a line each; `explanations` by rank."""
    for hit in answer.hits:
        output.print_json(json_of(hit, answer, explanations.get(hit.rank)))


def print_answer(answer: Answer, explanations: Mapping[int, Explanation] = {}) -> None:
    """The table, a line a moment, and the heat maps below it."""
    from tvrkit.cli.heat_map import print_heat_map

    sure = all(hit.confidence is not None for hit in answer.hits)
    rank_width = max(len(str(hit.rank)) for hit in answer.hits)
    rows = []
    for hit in answer.hits:
        for i, found in enumerate(hit.moments):
            first = i == 0
            rows.append(
                (
                    f"{hit.rank:>{max(4, rank_width)}}" if first else "",
                    _confidence(found, answer.threshold) if sure else f"{found.score:6.3f}",
                    shown(hit.path) if first else "",
                    f"{moment(found.start_seconds)}-{moment(found.end_seconds)}",
                    moment(found.best_seconds),
                    moment(hit.duration_seconds) if first else "",
                )
            )
    columns = ("Rank", "Sure" if sure else "Score", "File", "Moment", "Best", "Length")
    output.print_table(columns, rows, tight=True)
    for hit in answer.hits:
        if hit.rank in explanations:
            print_heat_map(explanations[hit.rank], explained(hit))


def explained(hit: Hit) -> str:
    """What a heat map stands below: the hit, and its best moment, which is the one explained."""
    best = hit.moments[0]
    return f"{hit.rank}. {shown(hit.path)}, {moment(best.start_seconds)}-{moment(best.end_seconds)}"


def shown(path: str) -> str:
    """A path on one line, from the current folder on where it lies below."""
    if "://" not in path:
        try:
            below = os.path.relpath(path)
        except ValueError:  # another drive
            below = os.pardir
        path = path if below.startswith(os.pardir) else below
    return one_line(path)


def explain_hits(answer: Answer, explain: Callable[[Hit], Explanation]) -> dict[int, Explanation]:
    """The heat map of every hit's best moment, by rank."""
    return {hit.rank: explain(hit) for hit in answer.hits}


def _confidence(found: FoundMoment, threshold: float | None) -> str:
    if found.confidence is None:
        return "   -"
    unsure = threshold is not None and found.confidence < threshold
    percent = 100 * found.confidence
    # Rounded up it could stand at the threshold, and be below it.
    return f"{int(percent) if unsure else round(percent):3d} %{_UNSURE if unsure else ''}"

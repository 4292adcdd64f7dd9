"""Words against frames as an HTML table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvrkit.index.hits import moment
from tvrkit.index.markup import escape

if TYPE_CHECKING:
    from tvrkit.index.explain import Explanation


def heat_table(explanation: Explanation) -> str:
    """A row a word, a cell a frame: the stronger, the better they fit; a ring around each word's best frame."""
    rows = explanation.similarity.tolist()
    seconds = explanation.pts_seconds.tolist()
    low, high = min(map(min, rows)), max(map(max, rows))
    lines = []
    for word, weight, row, best in zip(
        explanation.words, explanation.weights.tolist(), rows, explanation.best_frame.tolist(), strict=True
    ):
        cells = "".join(
            f'<td{" class=top" if i == best else ""} title="{value:.2f} at {moment(seconds[i])}">'
            f'<i style="opacity:{(value - low) / (high - low) if high > low else 1:.2f}"></i></td>'
            for i, value in enumerate(row)
        )
        name = f"<b>{escape(word)}</b>" if weight > 1 else escape(word)
        lines.append(f"<tr><th scope=row>{name}</th>{cells}</tr>")
    span = f"{moment(seconds[0])}-{moment(seconds[-1])}"
    return (
        f'<table class="heat"><caption>words x frames, {span}; key words bold, best frame ringed</caption>'
        f"{''.join(lines)}</table>"
    )

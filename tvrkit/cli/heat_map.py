"""Words against frames, drawn with characters: one line a word, time from left to right."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tvrkit.cli.output import printable
from tvrkit.index.hits import moment

if TYPE_CHECKING:
    from tvrkit.index.explain import Explanation

WIDTH = 80
_LABEL = 18  # widest name of a word; a longer one loses its end
_CELL = 4  # widest frame
_SHADES, _PLAIN_SHADES = " ░▒▓█", " .:+#"
_MARK, _PLAIN_MARK = "◆", "@"
_MORE = "…"
_TENTHS_BELOW = 10.0  # seconds that the frames span: whole seconds would not tell them apart
_COLOURS = (236, 24, 31, 178, 226)  # of the 256: dark, blue, yellow, so that they differ without red and green


def print_heat_map(explanation: Explanation, title: str) -> None:
    """Draw it on stdout: shades from the least to the greatest similarity, and each word's best frame.

    On a terminal it has colours, which say nothing more.
    """
    fancy = _can_encode(_SHADES + _MARK + _MORE)
    lines, shades = heat_map(explanation, fancy=fancy)
    click.echo(printable(title))
    coloured = sys.stdout.isatty()
    for line, levels in zip(lines, shades, strict=True):
        parts = [
            click.style(c, fg=_COLOURS[level]) if coloured and level is not None else c
            for c, level in zip(line, levels, strict=True)
        ]
        click.echo("".join(parts))
    click.echo()


def heat_map(explanation: Explanation, *, fancy: bool = True) -> tuple[list[str], list[list[int | None]]]:
    """The lines, at most 80 columns wide, and for each of their characters its shade, 0 to 4, where it has one.

    Args:
        explanation: what to draw. Where there are more frames than columns, a column shows the best of several.
        fancy: whether the terminal can show block characters.
    """
    rows = explanation.similarity.tolist()
    seconds = explanation.pts_seconds.tolist()
    clock = _tenths if seconds[-1] - seconds[0] < _TENTHS_BELOW else moment
    names = [
        _label(word, weight, fancy)
        for word, weight in zip(explanation.words, explanation.weights.tolist(), strict=True)
    ]
    indent = max(map(_width, names)) + 2
    tail = len(f"  -0.00 at {clock(max(seconds))}")
    cell = max(1, min(_CELL, (WIDTH - indent - tail) // len(seconds)))
    columns = min(len(seconds), (WIDTH - indent - tail) // cell)
    starts = [len(seconds) * i // columns for i in range(columns)] + [len(seconds)]
    low, high = min(map(min, rows)), max(map(max, rows))
    lines = [" " * indent + _axis([clock(seconds[first]) for first in starts[:-1]], cell)]
    shades: list[list[int | None]] = [[None] * len(lines[0])]
    for name, row, best in zip(names, rows, explanation.best_frame.tolist(), strict=True):
        strip, levels = "", []
        for first, after in zip(starts[:-1], starts[1:], strict=True):
            level = _level(max(row[first:after]), low, high)
            mark = first <= best < after
            strip += _cell(level, cell, mark, fancy)
            levels += [level] * cell
        end = f"  {row[best]:.2f} at {clock(seconds[best])}"
        lines.append(" " * (indent - 2 - _width(name)) + f"{name}  {strip}{end}")
        shades.append([None] * (len(lines[-1]) - len(strip + end)) + levels + [None] * len(end))
    return lines, shades


def _label(word: str, weight: float, fancy: bool) -> str:
    word = printable(word).replace("\n", " ").replace("\t", " ")
    mark = f" x{weight:.0f}" if weight > 1 else ""
    if _width(word + mark) > _LABEL:
        more = _MORE if fancy else "..."
        while _width(word + more + mark) > _LABEL:
            word = word[:-1]
        word += more
    return word + mark


def _width(text: str) -> int:
    """Columns that it takes: two for a character of East Asia."""
    from rich.cells import cell_len

    return cell_len(text)


def _level(value: float, low: float, high: float) -> int:
    return len(_SHADES) - 1 if high <= low else min(len(_SHADES) - 1, int((value - low) / (high - low) * len(_SHADES)))


def _cell(level: int, width: int, mark: bool, fancy: bool) -> str:
    shade = (_SHADES if fancy else _PLAIN_SHADES)[level] * width
    if not mark:
        return shade
    middle = (width - 1) // 2
    return shade[:middle] + (_MARK if fancy else _PLAIN_MARK) + shade[middle + 1 :]


def _axis(times: Sequence[str], cell: int) -> str:
    """Times above the columns, as many as do not touch."""
    line = ""
    for i, words in enumerate(times):
        if i == 0 or len(line) + 2 <= i * cell <= len(times) * cell - len(words):
            line = line.ljust(i * cell) + words
    return line


def _tenths(seconds: float) -> str:
    return f"{moment(seconds)}.{int(seconds * 10) % 10}"


def _can_encode(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

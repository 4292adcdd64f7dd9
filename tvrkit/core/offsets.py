"""Carrying character spans from a caption to what a tokenizer's cleaning makes of it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from tvrkit.manifest import Span

_PIECE = re.compile(r"\w+|\s+|[^\w\s]")
_WINDOW = 24  # pieces to look ahead: more than cleaning rewrites in one stretch, few enough for any caption length


def carry_spans(spans: Sequence[Span], original: str, cleaned: str) -> list[Span]:
    """Where spans of `original` lie in `cleaned`, which mends, unescapes, lower-cases or strips it.

    Equal words are matched with each other; a stretch that cleaning rewrote is mapped in proportion. A span of which
    nothing is left is dropped.
    """
    if len(original) == len(cleaned) and original.lower() == cleaned.lower():
        return list(spans)
    edges = _matching_edges(original, cleaned)
    starts = [edge[0] for edge in edges]
    carried = []
    for start, end in spans:
        new_start = _carry(start, edges, starts, after=True)
        new_end = _carry(end, edges, starts, after=False)
        if new_end > new_start:
            carried.append((new_start, new_end))
    return carried


def _matching_edges(original: str, cleaned: str) -> list[tuple[int, int]]:
    """Pairs of positions that correspond, rising in both texts, from (0, 0) to the two lengths."""
    before, after = _pieces(original), _pieces(cleaned)
    edges = [(0, 0)]
    i = j = 0
    while i < len(before) and j < len(after):
        if before[i].text != after[j].text:
            step = _next_match(before[i : i + _WINDOW], after[j : j + _WINDOW])
            if step is None:
                break
            i, j = i + step[0], j + step[1]
        edges.append((before[i].start, after[j].start))
        edges.append((before[i].end, after[j].end))
        i, j = i + 1, j + 1
    edges.append((len(original), len(cleaned)))
    return edges


@dataclass(frozen=True)
class _Piece:
    text: str
    start: int
    end: int


def _pieces(text: str) -> list[_Piece]:
    # Every run of white space is one space to any cleaning, and letter case is nothing.
    return [
        _Piece(" " if match.group().isspace() else match.group().lower(), match.start(), match.end())
        for match in _PIECE.finditer(text)
    ]


def _next_match(before: list[_Piece], after: list[_Piece]) -> tuple[int, int] | None:
    """How far to go in both until they agree again: at a word if they do soon, else at a space or a sign."""
    best: tuple[bool, int, int] | None = None
    for i, left in enumerate(before):
        for j, right in enumerate(after):
            if left.text == right.text:
                found = (not left.text[0].isalnum(), i + j, i)
                best = found if best is None else min(best, found)
    return None if best is None else (best[2], best[1] - best[2])


def _carry(position: int, edges: list[tuple[int, int]], starts: list[int], *, after: bool) -> int:
    """Map one position; where a deletion gives it two places, `after` chooses the later."""
    index = bisect_right(starts, position) - 1
    left, right = edges[index]
    if position == left:
        while not after and index > 0 and edges[index - 1][0] == left:
            index -= 1
        return edges[index][1]
    next_left, next_right = edges[index + 1]
    return right + round((position - left) * (next_right - right) / (next_left - left))

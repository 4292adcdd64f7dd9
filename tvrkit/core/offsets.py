"""Carrying character spans from a caption to what a tokenizer's cleaning makes of it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from difflib import SequenceMatcher

from tvrkit.manifest import Span

_PIECE = re.compile(r"\w+|\s+|[^\w\s]")


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
    before = [(match.start(), match.group().lower()) for match in _PIECE.finditer(original)]
    after = [(match.start(), match.group().lower()) for match in _PIECE.finditer(cleaned)]
    before.append((len(original), ""))
    after.append((len(cleaned), ""))
    # Every run of white space is one space to any cleaning.
    matcher = SequenceMatcher(
        None, [" " if p.isspace() else p for _, p in before], [" " if p.isspace() else p for _, p in after], False
    )
    edges = [(0, 0)]
    for i, j, count in matcher.get_matching_blocks():
        for step in range(count):
            (left, left_piece), (right, right_piece) = before[i + step], after[j + step]
            edges.append((left, right))
            edges.append((left + len(left_piece), right + len(right_piece)))
    edges.append((len(original), len(cleaned)))
    return edges


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

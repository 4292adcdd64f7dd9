"""Scored moments to videos with their best ones. Imports no torch."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple


class Scored(NamedTuple):
    """One moment and its score."""

    identity: str
    number: int
    score: float
    start_seconds: float
    end_seconds: float


def best_videos(
    scored: Iterable[Scored], top: int, moments: int, path_of: Callable[[str], str]
) -> list[tuple[Scored, ...]]:
    """The `top` videos with the best moments, each with up to `moments` of its own.

    A moment that has more than half of its time (or of the other's, if that is shorter) in common with a better one of
    its video is left out. Equal videos stand in the order of their paths, equal moments in that of time.

    Args:
        scored: in any order, none twice.
        top: most videos.
        moments: most moments of each.
        path_of: identity -> path.

    Returns:
        For each video its moments, best first.
    """
    videos: dict[str, list[Scored]] = {}
    for moment in scored:
        videos.setdefault(moment.identity, []).append(moment)
    best = {identity: max(moment.score for moment in found) for identity, found in videos.items()}
    return [tuple(_apart(videos[identity], moments)) for identity in best_of(best, top, path_of)]


def best_of(scores: Mapping[str, float], top: int, path_of: Callable[[str], str]) -> list[str]:
    """The `top` identities with the greatest scores; equal ones stand in the order of their paths."""
    least = min(heapq.nlargest(top, scores.values()), default=0.0)
    # A path is only asked for where it may decide.
    possible = [identity for identity, score in scores.items() if score >= least]
    return sorted(possible, key=lambda identity: (-scores[identity], path_of(identity)))[:top]


def _apart(found: list[Scored], most: int) -> list[Scored]:
    kept: list[Scored] = []
    for moment in sorted(found, key=lambda moment: (-moment.score, moment.number)):
        if len(kept) == most:
            break
        if not any(_overlap(moment, other) for other in kept):
            kept.append(moment)
    return kept


def _overlap(a: Scored, b: Scored) -> bool:
    common = min(a.end_seconds, b.end_seconds) - max(a.start_seconds, b.start_seconds)
    shorter = min(a.end_seconds - a.start_seconds, b.end_seconds - b.start_seconds)
    return common > shorter / 2 or (a.start_seconds, a.end_seconds) == (b.start_seconds, b.end_seconds)

"""Answers as the JSON that `query --json`, `shell` and `serve` give out alike. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvrkit.index.hits import FoundMoment, Hit

if TYPE_CHECKING:
    from tvrkit.index.explain import Explanation


def hit_json(hit: Hit, threshold: float | None) -> dict[str, Any]:
    """One hit as plain values.

    Args:
        hit: of an `Answer`.
        threshold: that answer's; what is beside it decides `confident`, which is None where nothing is known.
    """
    return {
        "rank": hit.rank,
        "score": hit.score,
        "confidence": hit.confidence,
        "confident": None if threshold is None or hit.confidence is None else hit.confidence >= threshold,
        "video": hit.identity,
        "path": hit.path,
        "other_paths": list(hit.other_paths),
        "duration_seconds": hit.duration_seconds,
        "best_seconds": hit.best_seconds,
        "moments": [_moment(found) for found in hit.moments],
    }


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """A heat map as plain values: rows of `similarity` are words, columns are frames."""
    return {
        "words": list(explanation.words),
        "weights": explanation.weights.tolist(),
        "pts_seconds": explanation.pts_seconds.tolist(),
        "similarity": explanation.similarity.tolist(),
        "best_frame": explanation.best_frame.tolist(),
    }


def _moment(found: FoundMoment) -> dict[str, Any]:
    return {
        "number": found.number,
        "start_seconds": found.start_seconds,
        "end_seconds": found.end_seconds,
        "best_seconds": found.best_seconds,
        "score": found.score,
        "confidence": found.confidence,
    }

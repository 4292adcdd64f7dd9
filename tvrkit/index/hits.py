"""An answer to a query."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Hit:
    """One found video.

    Attributes:
        rank: 1 is the best.
        score: the model's similarity, unscaled; of use to compare answers to one query by one model.
        path: of the file.
        best_seconds: where in the file the frame lies that speaks most for it.
        duration_seconds: of the file.
    """

    rank: int
    score: float
    path: Path
    best_seconds: float
    duration_seconds: float


def moment(seconds: float) -> str:
    """mm:ss, and h:mm:ss from an hour on; rounded down, so that a player put there still shows the moment."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"

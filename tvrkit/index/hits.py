"""An answer to a question. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FoundMoment:
    """A moment of a found video.

    Attributes:
        number: of the moment within its video, from 0: with the video's identity it names the moment.
        start_seconds: where it begins in the file.
        end_seconds: where it ends.
        best_seconds: time of the frame that, were it the whole moment, would score highest.
        score: as `Hit.score`.
        confidence: how likely it is that it fits, 0 to 1; None where nothing is known (see `Answer.threshold`).
    """

    number: int
    start_seconds: float
    end_seconds: float
    best_seconds: float
    score: float
    confidence: float | None = None


@dataclass(frozen=True)
class Hit:
    """One found video, which is its content: files with the same content are one hit.

    Attributes:
        rank: 1 is the best.
        score: of its best moment: the model's similarity, unscaled, or for several parts the weighted sum of their
            standard scores; of use to compare answers to one question by one model.
        confidence: of its best moment.
        identity: of the content.
        path: of the file, absolute, or its address.
        other_paths: of files with the same content.
        duration_seconds: of the file.
        moments: its best ones that do not overlap much, best first; at least one.
    """

    rank: int
    score: float
    confidence: float | None
    identity: str
    path: str
    other_paths: tuple[str, ...]
    duration_seconds: float
    moments: tuple[FoundMoment, ...]

    @property
    def best_seconds(self) -> float:
        """Where in the file the frame lies that speaks most for it."""
        return self.moments[0].best_seconds


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        hits: best first; none where no video is allowed.
        threshold: the confidence from which on a hit is a confident match; None where confidence is not known.
        videos: how many were searched among.
        moments: how many moments those have.
        exact: whether every one of them was scored in full.
        notes: sentences for the user, such as that the query was cut.
    """

    hits: tuple[Hit, ...]
    threshold: float | None
    videos: int
    moments: int
    exact: bool
    notes: tuple[str, ...] = ()

    @property
    def confident(self) -> bool | None:
        """Whether something stands out; None where confidence is not known."""
        if self.threshold is None or not self.hits or self.hits[0].confidence is None:
            return None
        return self.hits[0].confidence >= self.threshold


def moment(seconds: float) -> str:
    """mm:ss, and h:mm:ss from an hour on; rounded down, so that a player put there still shows the moment."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"

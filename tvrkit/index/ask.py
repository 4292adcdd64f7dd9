"""A question: words, pictures and videos with their weights, and among which videos to look. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from tvrkit.errors import ConfigError
from tvrkit.files import absolute

KINDS = ("text", "image", "video")

AVOID_WEIGHT = 0.5
"""How much what is not wanted counts when nothing is said: less than what is wanted, or the answer would be whatever
has least to do with it."""


@dataclass(frozen=True)
class Part:
    """One thing that is looked for, or is not wanted.

    Attributes:
        kind: `text`, `image` or `video`.
        value: the words, or the path of the file.
        weight: how much it counts beside the others; below 0 it counts against.
    """

    kind: str
    value: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"a part of a query is one of {', '.join(KINDS)}, not {self.kind!r}.")
        if not self.value.strip():
            raise ConfigError('the query is empty: say what to look for, as in `tvrkit query "a dog surfing"`.')
        if not 0 < abs(self.weight) <= 1000:
            raise ConfigError(f"the weight of a part of a query must not be 0 or beyond 1000: {self.weight}.")


@dataclass(frozen=True)
class Where:
    """Among which videos to look; None and () allow all.

    Attributes:
        inside: folders, files or address prefixes, absolute; a video lies in one of them.
        min_seconds: shortest duration.
        max_seconds: longest duration.
        after: oldest time of the file's last change, seconds since 1970.
        before: newest, exclusive.
    """

    inside: tuple[str, ...] = ()
    min_seconds: float | None = None
    max_seconds: float | None = None
    after: float | None = None
    before: float | None = None

    def __post_init__(self) -> None:
        for low, high, what in (
            (self.min_seconds, self.max_seconds, "no video is longer than {0:g} s and shorter than {1:g} s"),
            (self.after, self.before, "no video was changed after the one date and before the other"),
        ):
            if low is not None and high is not None and low > high:
                raise ConfigError(what.format(low, high) + ": swap the two.")


@dataclass(frozen=True)
class Ask:
    """A question.

    Attributes:
        parts: at least one with a weight above 0.
        where: among which videos.
        top: most videos in the answer.
        moments: most moments of each.
        candidates: moments that the second stage looks at; None chooses.
        exact: score every moment in full.
    """

    parts: tuple[Part, ...]
    where: Where = field(default_factory=Where)
    top: int = 10
    moments: int = 3
    candidates: int | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        if not any(part.weight > 0 for part in self.parts):
            raise ConfigError("a query of nothing but what is not wanted finds nothing: say what to look for as well.")
        if self.top < 1 or self.moments < 1 or (self.candidates is not None and self.candidates < 1):
            raise ConfigError("top, moments and candidates must be at least 1.")


def text(words: str, **settings: object) -> Ask:
    """A question of words alone."""
    return Ask((Part("text", words),), **settings)  # type: ignore[arg-type]


def as_absolute(place: str) -> str:
    """A path as the index knows it; an address (s3://…) as it is."""
    return place if "://" in place else str(absolute(place))

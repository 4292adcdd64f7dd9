"""Dissolves and fades: one picture turns into another within a second or two, neither moving nor being cut.

While shot A dissolves into B each frame is a mixture, so in the space of signatures all of them lie on the straight
line from A to B. Motion leaves that line at once: a frame half-way through a pan is not the mean of its ends.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from tvrkit.frames.signature import coarse

_STEP = 0.1  # seconds between the frames that are looked at
_LENGTHS = (4, 8, 16)  # steps that a transition takes at most
_LEAST = 10.0  # mean difference of its ends, of 255
_OFF_LINE = 0.4  # distance of its frames from the line, as a part of that between the ends
_ALIKE = 0.5  # correlation of its ends above which only the light has changed
_BETWEEN = (0.15, 0.85)  # where on the line at least two frames lie: a cut has none there
_FLAT = 4.0  # standard deviation of brightness of a picture that shows nothing
_PATIENCE = 4  # steps without a better match after which a transition is over

LONGEST_SECONDS = (max(_LENGTHS) + _PATIENCE + 2) * _STEP
"""A transition is told no later than this after its middle."""


@dataclass(frozen=True)
class _Kept:
    seconds: float
    picture: np.ndarray  # see `coarse`
    flat: bool  # shows nothing


@dataclass(frozen=True)
class _Match:
    size: float  # distance of the ends
    at: float  # seconds of its middle
    step: int


class GradualDetector:
    """Takes signatures in order of time, and says once a transition is over where it had its middle.

    A fade from black or white counts where it begins; one to black or white does not, for something else follows it.
    """

    def __init__(self) -> None:
        self._kept: deque[_Kept] = deque(maxlen=max(_LENGTHS) + 1)
        self._next = -np.inf
        self._step = 0
        self._best: _Match | None = None

    def push(self, seconds: float, signature: np.ndarray) -> list[float]:
        """Take the next frame; the middles of transitions that are over."""
        if seconds < self._next:
            return []
        self._next = max(self._next + _STEP, seconds + _STEP / 2)
        self._step += 1
        picture = coarse(signature)
        self._kept.append(_Kept(seconds, picture, bool(_brightness(picture).std() < _FLAT)))
        found = [match for length in _LENGTHS if (match := self._match(length)) is not None]
        best = max(found, key=lambda match: match.size, default=None)
        if best is not None and (self._best is None or best.size > self._best.size):
            self._best = best
        elif self._best is not None and self._step - self._best.step >= _PATIENCE:
            return self.finish()
        return []

    def finish(self) -> list[float]:
        """The middle of the transition that has not been told yet, if there is one."""
        best, self._best = self._best, None
        return [] if best is None else [best.at]

    def _match(self, length: int) -> _Match | None:
        """The transition that ends with the newest frame and takes so many steps."""
        if len(self._kept) <= length:
            return None
        first, last = self._kept[-1 - length], self._kept[-1]
        line = last.picture - first.picture
        size = float(np.abs(line).mean())
        if size < _LEAST or last.flat:
            return None
        middle = self._kept[-1 - length // 2].picture
        if _off_line(middle[None] - first.picture, line)[1].max() > _OFF_LINE:  # most often: the rest is dear
            return None
        inner = [self._kept[at] for at in range(-length, -1)]
        pictures = np.stack([kept.picture for kept in inner])
        along, off = _off_line(pictures - first.picture, line)
        between = int(((along > _BETWEEN[0]) & (along < _BETWEEN[1])).sum())
        # From black to something is half of a fade, and so half as long.
        if off.max() > _OFF_LINE or between < (1 if first.flat else 2) or np.diff(along).min() < -0.1:
            return None
        if first.flat:
            return _Match(size, inner[int(np.argmax(along > 0.02))].seconds, self._step)
        if any(kept.flat for kept in inner) or not _mixed(first.picture, last.picture, pictures, along):
            return None
        return _Match(size, inner[int(np.argmax(along >= 0.5))].seconds, self._step)


def _mixed(first: np.ndarray, last: np.ndarray, inner: np.ndarray, along: np.ndarray) -> bool:
    """Whether the frame half-way is a mixture of two other pictures: it has less contrast than either.

    So has no frame of a slow pan, which for smooth pictures keeps near the line, nor of a light that is turned up.
    """
    half = int(np.abs(along - 0.5).argmin())
    part = float(along[half])
    one, other, middle = (_brightness(picture) for picture in (first, last, inner[half]))
    ((of_one, both), (_, of_other)) = np.cov(one, other)
    if both > _ALIKE * np.sqrt(of_one * of_other):
        return False
    mixture = (1 - part) ** 2 * of_one + part**2 * of_other + 2 * part * (1 - part) * both
    picture = (1 - part) * of_one + part * of_other
    return bool(middle.var() < (mixture + picture) / 2)


def _off_line(vectors: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where on a line the nearest points to (n, d) vectors lie, 0 to 1, and how far they are from it."""
    along = vectors @ line / float(line @ line)
    off = np.linalg.norm(vectors - along[:, None] * line, axis=1) / float(np.linalg.norm(line))
    return along, off


def _brightness(picture: np.ndarray) -> np.ndarray:
    return picture[: len(picture) // 3]

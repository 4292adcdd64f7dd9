"""Which sampled frames show something, and something new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import PIL.Image

_SIDE = 64  # cells a side that a frame is averaged over: grain goes, a moving mouth stays
_BLACK = 24  # brightest cell of a frame in which nothing can be seen, of 255
_UNIFORM = 8  # a frame whose cells differ by no more is blank
_SAME = 3  # cells of the same picture differ by no more: a keyframe is coded anew


@dataclass(frozen=True)
class Picture:
    """A frame as it is wanted, and how it looks.

    Attributes:
        image: what the transform made of it.
        look: (64, 64, 3) int16, colours of its cells.
    """

    image: np.ndarray
    look: np.ndarray

    @property
    def blank(self) -> bool:
        """Whether it is black, or of one colour."""
        darkest, brightest = self.look.min(axis=(0, 1)), self.look.max(axis=(0, 1))
        return bool(brightest.max() <= _BLACK or (brightest - darkest).max() <= _UNIFORM)


def looker(convert: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], Picture]:
    """What makes a `Picture` of an upright (H, W, 3) RGB frame."""

    def look(pixels: np.ndarray) -> Picture:
        cells = PIL.Image.fromarray(pixels).resize((_SIDE, _SIDE), PIL.Image.Resampling.BOX)
        return Picture(convert(pixels), np.asarray(cells, np.int16))

    return look


def worth_keeping(pictures: list[Picture]) -> list[int]:
    """Positions of those that are not blank and do not repeat the last one that was kept; maybe none."""
    kept: list[int] = []
    for at, picture in enumerate(pictures):
        if not picture.blank and not (kept and np.abs(picture.look - pictures[kept[-1]].look).max() <= _SAME):
            kept.append(at)
    return kept

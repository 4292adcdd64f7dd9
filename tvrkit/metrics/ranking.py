"""Where the right item stands, without sorting: ties are shared, and a score that is no number is an error.

With g scores strictly above the right one and e others equal to it, the right item stands at any of the places
g + 1 ... g + 1 + e with equal chance: that expected credit counts, so a metric depends on neither the order of
items nor on chance, and a model that gives every item one score gets exactly what guessing gets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tvrkit.metrics.matrix import checked, column_blocks, row_blocks


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the right item of each of Q queries stands.

    Attributes:
        above: (Q,) int64, items that score strictly above the right one.
        equal: (Q,) int64, other items with the same score as the right one.
        unit: (Q,) int64, the column of the video that a query belongs to: what is drawn anew in a bootstrap.
        num_items: what is ranked for a query.
    """

    above: np.ndarray
    equal: np.ndarray
    unit: np.ndarray
    num_items: int

    def __len__(self) -> int:
        return len(self.above)

    def credit(self, k: int) -> np.ndarray:
        """(Q,) float64 in [0, 1]: the chance that the right item is among the first k."""
        return np.clip((k - self.above) / (self.equal + 1), 0.0, 1.0)

    @property
    def place(self) -> np.ndarray:
        """(Q,) float64: the expected place of the right item, 1 is the first."""
        return self.above + 1 + self.equal / 2


def text_to_video_ranks(similarity: ArrayLike | Tensor, video_of_text: ArrayLike | Tensor | None = None) -> Ranks:
    """Every text is a query, every video an item.

    Args:
        similarity: (T, V), higher is better.
        video_of_text: (T,) the column of each text's video; any number of texts a video. None: text i, video i.

    Raises:
        DataError: a score is NaN or infinite (says how many), or a text's video is not among the columns.
    """
    scores, owner = checked(similarity, video_of_text)
    counts = [_above_and_equal(rows, rows.gather(1, owner[span, None])) for span, rows in row_blocks(scores)]
    return _ranks(counts, owner, scores.shape[1])


def video_to_text_ranks(similarity: ArrayLike | Tensor, video_of_text: ArrayLike | Tensor | None = None) -> Ranks:
    """Every video that has a text is a query; a video's texts count by their best, its own and the others' alike.

    Arguments and errors as for `text_to_video_ranks`; the matrix is (T, V) here too.
    """
    scores, owner = checked(similarity, video_of_text)
    captioned, group = owner.unique(return_inverse=True)
    counts = []
    for span, _ in column_blocks(scores[:, : len(captioned)]):
        columns = scores[:, captioned[span]]
        best = columns.new_full((len(captioned), columns.shape[1]), -torch.inf)
        best.scatter_reduce_(0, group[:, None].expand_as(columns), columns, "amax")
        own = best.diagonal(-span.start)[: columns.shape[1]]
        counts.append(_above_and_equal(best.T, own[:, None]))
    return _ranks(counts, captioned, len(captioned))


def _above_and_equal(rows: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """How many of each row are above, and how many others equal to, its own score (N, 1)."""
    return (rows > own).sum(dim=1), (rows == own).sum(dim=1) - 1


def _ranks(counts: list[tuple[Tensor, Tensor]], unit: Tensor, num_items: int) -> Ranks:
    above, equal = (torch.cat(part).cpu().numpy() for part in zip(*counts, strict=True))
    return Ranks(above, equal, unit.cpu().numpy(), num_items)

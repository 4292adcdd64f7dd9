"""Average precision where several items are right: a video's own captions among all captions.

Letters: T texts, V videos.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from tvrkit.metrics.matrix import checked, column_blocks


def average_precision(
    similarity: ArrayLike | Tensor, video_of_text: ArrayLike | Tensor | None = None
) -> np.ndarray | None:
    """Average precision of every video that has a text, over all texts one by one; None if no video has two.

    Where scores tie, the mean over all orders of the tied texts counts, in closed form (McSherry and Najork,
    Computing information retrieval performance measures efficiently in the presence of tied scores, ECIR 2008).

    Args:
        similarity: (T, V), higher is better.
        video_of_text: as in `text_to_video_ranks`.

    Returns:
        (Q,) float64 in (0, 1], videos in the order of their columns.

    Raises:
        DataError: as `text_to_video_ranks`.
    """
    scores, owner = checked(similarity, video_of_text)
    of_text = owner.cpu().numpy()
    texts_of = np.split(np.argsort(of_text, kind="stable"), np.cumsum(np.bincount(of_text, minlength=scores.shape[1])))
    if max(map(len, texts_of)) < 2:
        return None
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(scores) + 1))])
    result = []
    for span, columns in column_blocks(scores):
        for column, texts in zip(columns.T.contiguous().cpu().numpy(), texts_of[span], strict=True):
            if len(texts):
                result.append(_of_one(np.sort(column), np.sort(column[texts]), harmonic))
    return np.array(result)


def _of_one(everything: np.ndarray, right: np.ndarray, harmonic: np.ndarray) -> float:
    """Expected average precision of one query.

    A right item that ties with n - 1 others, r - 1 of them right, stands at each of the n places below the N items
    above it with equal chance. At the j-th of them, with R right items above the tie, the precision is expected to be
    (R + 1 + (j - 1) (r - 1) / (n - 1)) / (N + j); the sum over j is one of harmonic numbers.

    Args:
        everything: (T,) scores of all items, ascending.
        right: (m,) scores of the right ones, ascending.
        harmonic: (T + 1,) harmonic numbers, from 0.
    """
    above, tied = _above_and_tied(everything, right)
    right_above, right_tied = _above_and_tied(right, right)
    alone = tied == 1
    # 1 / (N + 1) + ... + 1 / (N + n), and the sum of (j - 1) / (N + j).
    shares = np.where(alone, 1 / (above + 1), harmonic[above + tied] - harmonic[above])
    steps = tied - (above + 1) * shares
    slope = np.where(alone, 0.0, (right_tied - 1) / np.maximum(tied - 1, 1))
    return float((((right_above + 1) * shares + slope * steps) / tied).mean())


def _above_and_tied(scores: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of the ascending scores are above each value, and how many equal to it."""
    after = np.searchsorted(scores, values, side="right")
    return len(scores) - after, after - np.searchsorted(scores, values, side="left")

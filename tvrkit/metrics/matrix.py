"""A matrix of scores that can be ranked, and which text belongs to which of its videos.

Letters: T texts, V videos.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tvrkit.errors import DataError

# Scores looked at together: bounds what is needed beside the matrix (16 MB in float32).
BLOCK = 2**22


def finite(similarity: ArrayLike | Tensor) -> Tensor:
    """A non-empty float32 or float64 matrix of finite numbers; whole numbers become float64, so that none is rounded.

    Raises:
        DataError: it is no such matrix, or a score is NaN or infinite (says how many).
    """
    scores = similarity.detach() if isinstance(similarity, Tensor) else _from_array(np.asarray(similarity))
    if scores.is_complex():
        raise DataError("a similarity matrix holds real numbers, not complex ones.")
    if scores.dtype != torch.float64:
        scores = scores.float() if scores.is_floating_point() else scores.double()
    if scores.ndim != 2 or 0 in scores.shape:
        raise DataError(f"a similarity matrix has texts and videos, not the shape {tuple(scores.shape)}.")
    bad, first = 0, None
    for span, rows in row_blocks(scores):
        if bool(rows.isfinite().all()):
            continue
        places = (~rows.isfinite()).nonzero()
        first = first or (int(places[0, 0]) + span.start, int(places[0, 1]))
        bad += len(places)
    if first is not None:
        raise DataError(
            f"{bad} of {scores.numel()} similarity scores are NaN or infinite, the first in row {first[0]}, column"
            f" {first[1]}: a metric of the rest would be of a smaller set; mend the features of that text or video."
        )
    return scores


def _from_array(array: np.ndarray) -> Tensor:
    """A tensor of the same numbers, sharing memory where torch can."""
    if array.dtype.kind not in "biufc":
        raise DataError(f"a similarity matrix holds numbers, not values of the type {array.dtype}.")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if not array.flags.writeable or not array.dtype.isnative or min(array.strides, default=0) < 0:
        array = array.astype(array.dtype.newbyteorder("="), copy=True)
    return torch.as_tensor(array if array.dtype.kind != "u" else array.astype(np.float64))


def checked(similarity: ArrayLike | Tensor, video_of_text: ArrayLike | Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores (T, V) as of `finite`, and the column of each text's video (T,) int64.

    Raises:
        DataError: as `finite`, or a text's video is not among the columns.
    """
    scores = finite(similarity)
    texts, videos = scores.shape
    if video_of_text is None:
        if texts != videos:
            raise DataError(f"{texts} texts and {videos} videos: without `video_of_text` text i belongs to video i.")
        return scores, torch.arange(texts, device=scores.device)
    owner = torch.as_tensor(video_of_text, device=scores.device)
    if owner.shape != (texts,) or owner.is_floating_point() or owner.dtype == torch.bool:
        raise DataError(
            f"video_of_text must hold one whole number for each of {texts} texts, not"
            f" {tuple(owner.shape)} of {owner.dtype}."
        )
    missing = (owner < 0) | (owner >= videos)
    if bool(missing.any()):
        text = int(missing.nonzero()[0, 0])
        raise DataError(
            f"the videos of {int(missing.sum())} texts are not among the {videos} of the gallery, the first is"
            f" text {text} (video {int(owner[text])}): every query needs its video there."
        )
    return scores, owner.long()


def row_blocks(scores: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some rows at a time, at most `BLOCK` scores."""
    height = max(1, BLOCK // scores.shape[1])
    for start in range(0, len(scores), height):
        yield slice(start, min(start + height, len(scores))), scores[start : start + height]


def column_blocks(scores: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some columns at a time, at most `BLOCK` scores."""
    width = max(1, BLOCK // len(scores))
    for start in range(0, scores.shape[1], width):
        yield slice(start, min(start + width, scores.shape[1])), scores[:, start : start + width]

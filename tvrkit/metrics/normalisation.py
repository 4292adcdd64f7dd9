"""Scores mended by looking at other queries: dual softmax and query bank norm. Their figures need a label."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tvrkit.errors import DataError
from tvrkit.metrics.matrix import column_blocks, finite, row_blocks


def dual_softmax(similarity: ArrayLike | Tensor, temperature: float = 100.0) -> Tensor:
    """Dual softmax (DSL): similarity x softmax over the *query* axis of temperature x similarity.

    It looks at all queries of the test set together, so its figures belong in a row of their own, labelled
    (Cheng et al., CAMoE, arXiv 2109.04290).

    Args:
        similarity: (Q, G) queries by gallery items: (T, V) for text-to-video; for video-to-text its transpose, as in
            `video_to_text_metrics(dual_softmax(similarity.T).T)`: each direction has its own query axis.
        temperature: tau, about 100 for cosines, 1 for scores that are multiplied by CLIP's 100 already.

    Returns:
        (Q, G).
    """
    scores = finite(similarity)
    result = torch.empty_like(scores)
    for span, columns in column_blocks(scores):
        result[:, span] = columns * (temperature * columns).softmax(dim=0)
    return result


def query_bank_norm(similarity: ArrayLike | Tensor, bank: ArrayLike | Tensor, beta: float = 20.0) -> Tensor:
    """QB-Norm (dynamic inverted softmax): items that many bank queries like have to be liked more to win.

    A query whose best item is also the best of some bank query has its row replaced by
    exp(beta s) / sum over the bank of exp(beta s); other rows stay. Scores compare within a row only
    (Bogolin et al., CVPR 2022).

    Args:
        similarity: (Q, G) queries by gallery items; for video-to-text the transpose of (T, V).
        bank: (N, G) training queries by the same items: captions for text-to-video, videos for video-to-text.
        beta: inverse temperature.

    Returns:
        (Q, G).

    Raises:
        DataError: the two have different items, or a score is NaN or infinite.
    """
    scores, queries = finite(similarity), finite(bank)
    if scores.shape[1] != queries.shape[1]:
        raise DataError(
            f"the query bank has scores for {queries.shape[1]} items, the similarity for {scores.shape[1]}:"
            " both must rank the same gallery."
        )
    total = torch.full_like(scores[0], -torch.inf)
    popular = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
    for _, rows in row_blocks(queries):
        total = torch.logaddexp(total, (beta * rows).logsumexp(dim=0))
        popular[rows.argmax(dim=1)] = True
    result = scores.clone()
    for span, rows in row_blocks(scores):
        change = popular[rows.argmax(dim=1), None]
        result[span] = torch.where(change, (beta * rows - total).exp(), rows)
    return result

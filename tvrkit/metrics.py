"""Retrieval metrics in both directions, without sorting: ties are shared, and a score that is no number is an error.

With g scores strictly above the right one and e others equal to it, the right item stands at any of the places
g + 1 ... g + 1 + e with equal chance: that expected credit counts, so a metric depends on neither the order of
items nor on chance, and a model that gives every item one score gets exactly what guessing gets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tvrkit.errors import DataError

# Scores looked at together: bounds what is needed beside the matrix (16 MB in float32).
_BLOCK = 2**22


@dataclass(frozen=True)
class RetrievalMetrics:
    """One direction of retrieval.

    Attributes:
        recall_at: k -> R@k in percent.
        median_rank: MdR, 1-based.
        mean_rank: MnR, 1-based.
        num_queries: texts (t2v), or videos that have a caption (v2t).
        num_items: things ranked for a query: videos (t2v), or captioned videos by their best caption (v2t).
        num_ties: queries whose right item shares its score with another.
        interval: k -> 95 % bootstrap interval of R@k in percent, over videos (with all their captions).
    """

    recall_at: dict[int, float]
    median_rank: float
    mean_rank: float
    num_queries: int
    num_items: int
    num_ties: int
    interval: dict[int, tuple[float, float]]

    def to_dict(self) -> dict[str, float]:
        """Flat, for JSON and tables: R@k, MdR, MnR, queries, gallery, ties, R@k_low and R@k_high of the first k."""
        first = min(self.recall_at)
        low, high = self.interval[first]
        return {
            **{f"R@{k}": value for k, value in self.recall_at.items()},
            "MdR": self.median_rank,
            "MnR": self.mean_rank,
            "queries": self.num_queries,
            "gallery": self.num_items,
            "ties": self.num_ties,
            f"R@{first}_low": low,
            f"R@{first}_high": high,
        }


def text_to_video_metrics(
    similarity: ArrayLike | Tensor,
    video_of_text: ArrayLike | Tensor | None = None,
    *,
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
    resamples: int = 1000,
) -> RetrievalMetrics:
    """Every text is a query, every video an item.

    Args:
        similarity: (T, V), higher is better.
        video_of_text: (T,) the column of each text's video; any number of texts a video. None: text i, video i.
        ks: which R@k.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        DataError: a score is NaN or infinite (says how many), or a text's video is not among the columns.
    """
    scores, owner = _checked(similarity, video_of_text)
    counts = [_above_and_equal(rows, rows.gather(1, owner[span, None])) for span, rows in _row_blocks(scores)]
    above, equal = (torch.cat(part) for part in zip(*counts, strict=True))
    return _summarise(above, equal, owner, scores.shape[1], ks, seed, resamples)


def video_to_text_metrics(
    similarity: ArrayLike | Tensor,
    video_of_text: ArrayLike | Tensor | None = None,
    *,
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
    resamples: int = 1000,
) -> RetrievalMetrics:
    """Every video that has a text is a query; a video's texts count by their best, its own and the others' alike.

    Arguments and errors as for `text_to_video_metrics`; the matrix is (T, V) here too.
    """
    scores, owner = _checked(similarity, video_of_text)
    captioned, group = owner.unique(return_inverse=True)
    above, equal = [], []
    width = max(1, _BLOCK // len(scores))
    for start in range(0, len(captioned), width):
        queries = captioned[start : start + width]
        columns = scores[:, queries]
        best = columns.new_full((len(captioned), len(queries)), -torch.inf)
        best.scatter_reduce_(0, group[:, None].expand_as(columns), columns, "amax")
        own = best.diagonal(-start)[: len(queries)]
        counts = _above_and_equal(best.T, own[:, None])
        above.append(counts[0])
        equal.append(counts[1])
    queries = torch.arange(len(captioned))
    return _summarise(torch.cat(above), torch.cat(equal), queries, len(captioned), ks, seed, resamples)


def dual_softmax(similarity: ArrayLike | Tensor, temperature: float = 100.0) -> Tensor:
    """Dual softmax (DSL): similarity x softmax over the *query* axis of temperature x similarity.

    It looks at all queries of the test set together, so its figures belong in a row of their own, labelled.

    Args:
        similarity: (Q, G) queries by gallery items: (T, V) for text-to-video; for video-to-text its transpose, as in
            `video_to_text_metrics(dual_softmax(similarity.T).T)`: each direction has its own query axis.
        temperature: tau, about 100 for cosines.

    Returns:
        (Q, G).
    """
    scores = _finite(similarity)
    result = torch.empty_like(scores)
    width = max(1, _BLOCK // len(scores))
    for start in range(0, scores.shape[1], width):
        part = slice(start, start + width)
        result[:, part] = scores[:, part] * (temperature * scores[:, part]).softmax(dim=0)
    return result


def query_bank_norm(similarity: ArrayLike | Tensor, bank: ArrayLike | Tensor, beta: float = 20.0) -> Tensor:
    """QB-Norm (dynamic inverted softmax): items that many bank queries like have to be liked more to win.

    A query whose best item is also the best of some bank query has its row replaced by
    exp(beta s) / sum over the bank of exp(beta s); other rows stay. Scores compare within a row only.

    Args:
        similarity: (Q, G) queries by gallery items; for video-to-text the transpose of (T, V).
        bank: (N, G) training queries by the same items: captions for text-to-video, videos for video-to-text.
        beta: inverse temperature.

    Returns:
        (Q, G).

    Raises:
        DataError: the two have different items, or a score is NaN or infinite.
    """
    scores, queries = _finite(similarity), _finite(bank)
    if scores.shape[1] != queries.shape[1]:
        raise DataError(
            f"the query bank has scores for {queries.shape[1]} items, the similarity for {scores.shape[1]}:"
            " both must rank the same gallery."
        )
    total = torch.full_like(scores[0], -torch.inf)
    popular = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
    for _, rows in _row_blocks(queries):
        total = torch.logaddexp(total, (beta * rows).logsumexp(dim=0))
        popular[rows.argmax(dim=1)] = True
    result = scores.clone()
    for span, rows in _row_blocks(scores):
        change = popular[rows.argmax(dim=1), None]
        result[span] = torch.where(change, (beta * rows - total).exp(), rows)
    return result


def _finite(similarity: ArrayLike | Tensor) -> Tensor:
    """A non-empty float32 or float64 matrix of finite numbers."""
    scores = similarity.detach() if isinstance(similarity, Tensor) else torch.as_tensor(np.asarray(similarity))
    if scores.dtype != torch.float64:
        scores = scores.float()
    if scores.ndim != 2 or 0 in scores.shape:
        raise DataError(f"a similarity matrix has texts and videos, not the shape {tuple(scores.shape)}.")
    bad, first = 0, None
    for span, rows in _row_blocks(scores):
        places = (~rows.isfinite()).nonzero()
        if first is None and len(places):
            first = (int(places[0, 0]) + span.start, int(places[0, 1]))
        bad += len(places)
    if first is not None:
        raise DataError(
            f"{bad} of {scores.numel()} similarity scores are NaN or infinite, the first in row {first[0]}, column"
            f" {first[1]}: a metric of the rest would be of a smaller set; mend the features of that text or video."
        )
    return scores


def _checked(similarity: ArrayLike | Tensor, video_of_text: ArrayLike | Tensor | None) -> tuple[Tensor, Tensor]:
    scores = _finite(similarity)
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


def _row_blocks(scores: Tensor) -> Iterator[tuple[slice, Tensor]]:
    height = max(1, _BLOCK // scores.shape[1])
    for start in range(0, len(scores), height):
        yield slice(start, min(start + height, len(scores))), scores[start : start + height]


def _above_and_equal(rows: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """How many of each row are above, and how many others equal to, its own score (N, 1)."""
    return (rows > own).sum(dim=1), (rows == own).sum(dim=1) - 1


def _summarise(
    above: Tensor, equal: Tensor, owner: Tensor, num_items: int, ks: Sequence[int], seed: int, resamples: int
) -> RetrievalMetrics:
    g, e, unit = (part.cpu().numpy() for part in (above, equal, owner))
    credit = {k: np.clip((k - g) / (e + 1), 0.0, 1.0) for k in ks}
    place = g + 1 + e / 2
    return RetrievalMetrics(
        recall_at={k: 100 * float(value.mean()) for k, value in credit.items()},
        median_rank=float(np.median(place)),
        mean_rank=float(place.mean()),
        num_queries=len(g),
        num_items=num_items,
        num_ties=int((e > 0).sum()),
        interval=_bootstrap(credit, unit, seed, resamples),
    )


def _bootstrap(credit: dict[int, Any], unit: Any, seed: int, resamples: int) -> dict[int, tuple[float, float]]:
    """95 % percentile intervals in percent; what is drawn anew are units, each with all its queries."""
    _, of_query = np.unique(unit, return_inverse=True)
    size = np.bincount(of_query)
    sums = np.stack([np.bincount(of_query, weights=value) for value in credit.values()], axis=1)
    generator = np.random.default_rng(seed)
    step = max(1, _BLOCK // len(size))
    drawn = []
    for start in range(0, resamples, step):
        times = generator.multinomial(len(size), np.full(len(size), 1 / len(size)), size=min(step, resamples - start))
        drawn.append(100 * (times @ sums) / (times @ size)[:, None])
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5], axis=0)
    return {k: (float(low[i]), float(high[i])) for i, k in enumerate(credit)}

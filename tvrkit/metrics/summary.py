"""The numbers of one direction of retrieval, with a bootstrap interval over videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from tvrkit.metrics import matrix
from tvrkit.metrics.precision import average_precision
from tvrkit.metrics.ranking import Ranks, text_to_video_ranks, video_to_text_ranks

KS = (1, 5, 10, 50)


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
        mean_average_precision: mAP in percent, of v2t where a video has several captions, which all are right: over
            all captions one by one. None elsewhere, as there is one right item.
    """

    recall_at: dict[int, float]
    median_rank: float
    mean_rank: float
    num_queries: int
    num_items: int
    num_ties: int
    interval: dict[int, tuple[float, float]]
    mean_average_precision: float | None = None

    def to_dict(self) -> dict[str, float]:
        """Flat, for JSON and tables: R@k, MdR, MnR, mAP, queries, gallery, ties, R@k_low and R@k_high of the first k.

        mAP only where there is one.
        """
        first = min(self.recall_at)
        low, high = self.interval[first]
        precision = self.mean_average_precision
        return {
            **{f"R@{k}": value for k, value in self.recall_at.items()},
            "MdR": self.median_rank,
            "MnR": self.mean_rank,
            **({} if precision is None else {"mAP": precision}),
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
    ks: Sequence[int] = KS,
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
    return summarise(text_to_video_ranks(similarity, video_of_text), ks=ks, seed=seed, resamples=resamples)


def video_to_text_metrics(
    similarity: ArrayLike | Tensor,
    video_of_text: ArrayLike | Tensor | None = None,
    *,
    ks: Sequence[int] = KS,
    seed: int = 0,
    resamples: int = 1000,
) -> RetrievalMetrics:
    """Every video that has a text is a query; a video's texts count by their best, its own and the others' alike.

    Arguments and errors as for `text_to_video_metrics`; the matrix is (T, V) here too.
    """
    ranks = video_to_text_ranks(similarity, video_of_text)
    precision = average_precision(similarity, video_of_text)
    return summarise(ranks, precision, ks=ks, seed=seed, resamples=resamples)


def summarise(
    ranks: Ranks,
    precision: np.ndarray | None = None,
    *,
    ks: Sequence[int] = KS,
    seed: int = 0,
    resamples: int = 1000,
) -> RetrievalMetrics:
    """The numbers of ranks that are known already.

    Args:
        ranks: of one direction.
        precision: (Q,) of `average_precision`, if there is one.
        ks: which R@k.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    credit = {k: ranks.credit(k) for k in ks}
    return RetrievalMetrics(
        recall_at={k: 100 * float(value.mean()) for k, value in credit.items()},
        median_rank=float(np.median(ranks.place)),
        mean_rank=float(ranks.place.mean()),
        num_queries=len(ranks),
        num_items=ranks.num_items,
        num_ties=int((ranks.equal > 0).sum()),
        interval=_intervals(credit, ranks.unit, seed, resamples),
        mean_average_precision=None if precision is None else 100 * float(precision.mean()),
    )


def _intervals(
    credit: dict[int, np.ndarray], unit: np.ndarray, seed: int, resamples: int
) -> dict[int, tuple[float, float]]:
    values = np.stack([100 * value for value in credit.values()], axis=1)
    low, high = bootstrap_interval(values, unit, seed, resamples)
    return {k: (float(low[i]), float(high[i])) for i, k in enumerate(credit)}


def bootstrap_interval(
    values: np.ndarray, unit: np.ndarray, seed: int, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile intervals of the mean of each column; what is drawn anew are units, each with all its queries.

    Args:
        values: (Q, M) of Q queries.
        unit: (Q,) which queries belong together.
        seed: of what is drawn.
        resamples: how often.

    Returns:
        Lower and upper ends, (M,) each.
    """
    sums, size = sums_of_units(values, unit)
    generator = np.random.default_rng(seed)
    step = max(1, matrix.BLOCK // len(size))
    drawn = []
    for start in range(0, resamples, step):
        times = generator.multinomial(len(size), np.full(len(size), 1 / len(size)), size=min(step, resamples - start))
        drawn.append((times @ sums) / (times @ size)[:, None])
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5], axis=0)
    return low, high


def sums_of_units(values: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums (U, M) of the values (Q, M) of each unit's queries, and how many they are (U,)."""
    _, of_query = np.unique(unit, return_inverse=True)
    sums = np.stack([np.bincount(of_query, weights=column) for column in values.T], axis=1)
    return sums, np.bincount(of_query)

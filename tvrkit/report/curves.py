"""What the charts show, as numbers."""

from __future__ import annotations

import numpy as np

from tvrkit.metrics import Ranks
from tvrkit.metrics.summary import bootstrap_interval

_POINTS = 120


def log_spaced(num_items: int, points: int = _POINTS) -> list[int]:
    """Whole numbers from 1 to `num_items`, about as many as asked, evenly apart on a logarithmic axis."""
    return sorted({round(float(k)) for k in np.geomspace(1, max(1, num_items), points)})


def recall(ranks: Ranks, ks: list[int]) -> list[float]:
    """R@k in percent."""
    return [100 * float(ranks.credit(k).mean()) for k in ks]


def recall_band(ranks: Ranks, ks: list[int]) -> tuple[list[float], list[float]]:
    """95 % interval of R@k in percent for each k, over videos; those of the tables come from the same draws."""
    values = np.stack([100 * ranks.credit(k) for k in ks], axis=1)
    low, high = bootstrap_interval(values, ranks.unit, seed=0, resamples=1000)
    return low.tolist(), high.tolist()


def rank_bins(num_items: int) -> list[tuple[int, int]]:
    """First and last place of each bin: 1, 2-5, 6-10, 11-50, 51-100 … up to `num_items`."""
    bins, edge = [(1, 1)], 1
    for last in (factor * 10**power for power in range(12) for factor in (5, 10)):
        if edge >= num_items:
            break
        bins.append((edge + 1, min(last, num_items)))
        edge = last
    return bins


def bin_counts(ranks: Ranks, bins: list[tuple[int, int]]) -> list[int]:
    """Queries whose right answer stands in each bin; a place that a tie puts between two bins is in the later one."""
    place = np.searchsorted([last for _, last in bins], ranks.place)
    return np.bincount(place, minlength=len(bins)).tolist()

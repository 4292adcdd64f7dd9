"""Two models on the same queries: is the difference more than the choice of test videos could make?"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from tvrkit.errors import DataError
from tvrkit.metrics import matrix
from tvrkit.metrics.ranking import Ranks
from tvrkit.metrics.summary import bootstrap_interval, sums_of_units

RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """One metric of two models a and b on the same queries.

    Attributes:
        a: the first one's value.
        b: the second one's.
        difference: b - a.
        low: lower end of its 95 % bootstrap interval, over videos.
        high: upper end.
        p_value: two-sided, of the hypothesis that for each video it is chance which model ranked it how.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def compare_ranks(a: Ranks, b: Ranks, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Difference]:
    """Compare two models query by query: R@1, R@5, R@10 in percent (more is better) and MnR (less is better).

    A video's captions resemble each other, so a video with all its queries is one observation: it is drawn as a whole
    in the paired bootstrap, and in the randomisation test its differences change their sign together. The p-value is
    (1 + c) / (1 + n), of c sign patterns of n that make the difference as large as it is (Smucker, Allan and
    Carterette, A comparison of statistical significance tests for information retrieval evaluation, CIKM 2007).

    Args:
        a: of the first model.
        b: of the second, for the same queries in the same order.
        seed: of both.
        resamples: of each, n.

    Raises:
        DataError: they do not rank the same items for the same queries.
    """
    if a.num_items != b.num_items or not np.array_equal(a.unit, b.unit):
        raise DataError(
            f"only ranks of the same queries in the same gallery can be compared, not {len(a)} queries among"
            f" {a.num_items} items with {len(b)} among {b.num_items}, or another order of them."
        )
    values_a, values_b = _values(a), _values(b)
    change = np.stack([values_b[name] - values_a[name] for name in values_a], axis=1)
    low, high = bootstrap_interval(change, a.unit, seed, resamples)
    p_values = _sign_flips(sums_of_units(change, a.unit)[0], seed, resamples)
    means = change.mean(axis=0)
    return {
        name: Difference(
            a=float(values_a[name].mean()),
            b=float(values_b[name].mean()),
            difference=float(means[i]),
            low=float(low[i]),
            high=float(high[i]),
            p_value=float(p_values[i]),
        )
        for i, name in enumerate(values_a)
    }


def _values(ranks: Ranks) -> dict[str, np.ndarray]:
    """What each query contributes to each metric."""
    return {**{f"R@{k}": 100 * ranks.credit(k) for k in (1, 5, 10)}, "MnR": ranks.place}


def _sign_flips(sums: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Two-sided p-values (M,) of sums (U, M), whose rows may change their sign together under the hypothesis."""
    sums = sums[(sums != 0).any(axis=1)]
    seen = np.abs(sums.sum(axis=0)) - 1e-9 * np.abs(sums).sum(axis=0)  # the same sum in another order is as large
    generator = np.random.default_rng(seed)
    step = max(1, matrix.BLOCK // max(1, len(sums)))
    as_large = np.zeros(sums.shape[1], dtype=np.int64)
    for start in range(0, resamples, step):
        shape = (min(step, resamples - start), len(sums))
        signs = 1.0 - 2.0 * generator.integers(2, size=shape, dtype=np.int8)
        as_large += (np.abs(signs @ sums) >= seen).sum(axis=0)
    return (1 + as_large) / (1 + resamples)

"""What the charts show."""

from __future__ import annotations

import numpy as np
import pytest

from tvrkit.metrics import Ranks, summarise
from tvrkit.report.curves import bin_counts, log_spaced, rank_bins, recall, recall_band


def ranks(above: list[int], equal: list[int] | None = None, num_items: int = 100) -> Ranks:
    return Ranks(np.array(above), np.array(equal or [0] * len(above)), np.arange(len(above)), num_items)


@pytest.mark.parametrize(
    ("items", "bins"),
    [
        (1, [(1, 1)]),
        (2, [(1, 1), (2, 2)]),
        (5, [(1, 1), (2, 5)]),
        (6, [(1, 1), (2, 5), (6, 6)]),
        (70, [(1, 1), (2, 5), (6, 10), (11, 50), (51, 70)]),
        (1000, [(1, 1), (2, 5), (6, 10), (11, 50), (51, 100), (101, 500), (501, 1000)]),
    ],
)
def test_bins_reach_to_the_last_place(items: int, bins: list[tuple[int, int]]) -> None:
    assert rank_bins(items) == bins


def test_every_query_is_in_one_bin() -> None:
    # Places 1, 2, 5, 6, 1.5 (a tie of the first two) and 100.
    some = ranks([0, 1, 4, 5, 0, 99], [0, 0, 0, 0, 1, 0])
    assert bin_counts(some, rank_bins(100)) == [1, 3, 1, 0, 1]
    everything = ranks(list(range(2990)), num_items=2990)
    bins = rank_bins(2990)
    assert bin_counts(everything, bins) == [last - first + 1 for first, last in bins]


def test_points_of_the_axis_are_whole_and_start_and_end_right() -> None:
    for items in (1, 2, 3, 10, 1000, 60_000):
        ks = log_spaced(items)
        assert ks[0] == 1 and ks[-1] == items and ks == sorted(set(ks)) and len(ks) <= 120
    assert log_spaced(1000)[:10] == list(range(1, 11))


def test_recall_and_its_band_are_those_of_the_tables() -> None:
    random = np.random.default_rng(0)
    some = Ranks(random.integers(0, 50, 200), random.integers(0, 3, 200), np.arange(200) // 4, 100)
    metrics = summarise(some)
    assert recall(some, [1, 5, 10]) == pytest.approx([metrics.recall_at[k] for k in (1, 5, 10)])
    low, high = recall_band(some, [1, 5, 100])
    assert (low[0], high[0]) == pytest.approx(metrics.interval[1]) and (low[2], high[2]) == (100, 100)
    assert (low[1], high[1]) == pytest.approx(metrics.interval[5])

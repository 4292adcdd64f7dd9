"""Paired comparison: values by hand, an exact test beside the random one, and p-values that are fair under the null."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tvrkit.errors import DataError
from tvrkit.metrics import Ranks, compare_ranks, text_to_video_ranks


def ranks(above, unit=None, equal=None, items=1000):
    above = np.asarray(above)
    return Ranks(
        above,
        np.zeros_like(above) if equal is None else np.asarray(equal),
        np.arange(len(above)) if unit is None else np.asarray(unit),
        items,
    )


def test_by_hand():
    a, b = ranks([0, 3, 0, 20]), ranks([0, 0, 7, 4], equal=[1, 0, 0, 0])
    got = compare_ranks(a, b, resamples=50)
    assert list(got) == ["R@1", "R@5", "R@10", "MnR"]
    # R@1: 1 0 1 0 against 1/2 1 0 0. MnR: 1 4 1 21 against 3/2 1 8 5.
    assert (got["R@1"].a, got["R@1"].b, got["R@1"].difference) == (50.0, 37.5, -12.5)
    assert (got["R@5"].a, got["R@5"].b) == (75.0, 75.0)
    assert (got["MnR"].a, got["MnR"].b, got["MnR"].difference) == (6.75, 3.875, -2.875)
    assert got["R@1"].low <= -12.5 <= got["R@1"].high
    assert list(got["R@1"].to_dict()) == ["a", "b", "difference", "low", "high", "p_value"]


def test_no_difference_is_no_evidence():
    same = ranks(np.random.default_rng(0).integers(30, size=60))
    for difference in compare_ranks(same, same, resamples=99).values():
        assert (difference.difference, difference.low, difference.high) == (0.0, 0.0, 0.0)
        assert difference.p_value == 1.0


def test_it_is_seeded_and_turns_round():
    generator = np.random.default_rng(1)
    a, b = ranks(generator.integers(20, size=80)), ranks(generator.integers(18, size=80))
    first, again, other = (compare_ranks(a, b, resamples=500, seed=seed) for seed in (0, 0, 1))
    assert first == again and first != other
    back = compare_ranks(b, a, resamples=500)
    for name, difference in first.items():
        assert back[name].difference == -difference.difference
        assert back[name].p_value == difference.p_value
        assert back[name].low == pytest.approx(-difference.high)


@pytest.mark.parametrize(("wins", "losses"), [(9, 2), (14, 6), (30, 12), (5, 5), (7, 0)])
def test_for_one_caption_a_video_it_is_the_exact_sign_test(wins, losses):
    """R@1 of single queries changes by one: the sign flips then are McNemar's test, whose p-value is a binomial's."""
    b = ranks([0] * wins + [3] * losses + [0] * 40 + [3] * 60)
    a = ranks([3] * wins + [0] * losses + [0] * 40 + [3] * 60)
    decided = wins + losses
    tail = sum(math.comb(decided, k) for k in range(max(wins, losses), decided + 1)) / 2**decided
    exact = min(1.0, 2 * tail)
    got = compare_ranks(a, b, resamples=20_000)["R@1"]
    assert got.difference == pytest.approx(100 * (wins - losses) / (100 + decided))
    assert got.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_videos_change_sign_with_all_their_captions():
    """Six videos of several captions each, against all 64 patterns of signs."""
    generator = np.random.default_rng(3)
    unit = np.repeat(np.arange(6), [4, 1, 3, 5, 2, 6])
    a, b = ranks(generator.integers(9, size=21), unit), ranks(generator.integers(5, size=21), unit)
    change = np.bincount(unit, weights=b.place - a.place)
    flipped = [abs(np.dot(signs, change)) for signs in itertools.product([-1, 1], repeat=6)]
    exact = np.mean([value >= abs(change.sum()) - 1e-9 for value in flipped])
    got = compare_ranks(a, b, resamples=20_000)["MnR"].p_value
    assert got == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))
    # Were every caption an observation of its own, the same difference would seem surer than it is.
    copied = [ranks(np.tile(r.above, 20), np.tile(unit, 20)) for r in (a, b)]
    assert compare_ranks(*copied, resamples=20_000)["MnR"].p_value == pytest.approx(got, abs=0.02)
    alone = [ranks(np.tile(r.above, 20)) for r in (a, b)]
    assert compare_ranks(*alone, resamples=2000)["MnR"].p_value < got / 3


def test_p_values_are_fair_where_there_is_nothing_to_find():
    """Two models alike but for chance: a p-value below x comes up in about x of all data sets, and not in more."""
    generator = np.random.default_rng(4)
    p_values = []
    for trial in range(300):
        hard = generator.random(60) * 12
        a, b = (ranks(generator.poisson(hard)) for _ in range(2))
        p_values.append(compare_ranks(a, b, seed=trial, resamples=199)["MnR"].p_value)
    for level in (0.05, 0.2, 0.5, 0.8):
        share = np.mean(np.array(p_values) <= level)
        assert share == pytest.approx(level, abs=3.5 * math.sqrt(level * (1 - level) / 300))


def test_the_interval_is_that_of_paired_differences():
    """Narrower than if the two had seen different videos, and about the normal approximation's."""
    generator = np.random.default_rng(5)
    hard = generator.random(400) * 40
    a, b = ranks(generator.poisson(hard)), ranks(generator.poisson(hard))
    got = compare_ranks(a, b)["MnR"]
    spread = 1.96 * (b.place - a.place).std() / 20
    assert got.low == pytest.approx(got.difference - spread, abs=0.1 * spread)
    assert got.high == pytest.approx(got.difference + spread, abs=0.1 * spread)
    assert spread < 1.96 * math.hypot(a.place.std(), b.place.std()) / 20 / 2


def test_a_real_difference_is_found():
    generator = np.random.default_rng(6)
    noise = generator.random((300, 300))
    better = noise + 0.7 * np.eye(300)
    got = compare_ranks(text_to_video_ranks(noise + 0.5 * np.eye(300)), text_to_video_ranks(better), resamples=1000)
    assert got["R@1"].low > 0 and got["R@1"].p_value == pytest.approx(1 / 1001)
    assert got["MnR"].high < 0


@pytest.mark.parametrize(
    "other",
    [ranks([0, 1]), ranks([0, 1, 2], items=999), ranks([0, 1, 2], unit=[0, 2, 1])],
    ids=["queries", "items", "order"],
)
def test_other_queries_or_items_cannot_be_compared(other):
    with pytest.raises(DataError, match="same queries in the same gallery"):
        compare_ranks(ranks([0, 1, 2]), other)

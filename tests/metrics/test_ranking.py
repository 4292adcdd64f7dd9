"""Ranks against a loop that deals out tied places one by one, values by hand, and what no ranking may depend on."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import peak_bytes

from tvrkit.metrics import (
    text_to_video_metrics,
    text_to_video_ranks,
    video_to_text_metrics,
    video_to_text_ranks,
)


def naive_places(scores, own):
    """All places (1-based) the right item can take when ties are broken by chance."""
    above = sum(1 for score in scores if score > scores[own])
    same = sum(1 for score in scores if score == scores[own])
    return [above + 1 + extra for extra in range(same)]


def naive_metrics(rows_and_owns, ks=(1, 5, 10, 50)):
    places = [naive_places(row, own) for row, own in rows_and_owns]
    recall = {
        k: 100 * float(sum(Fraction(sum(p <= k for p in options), len(options)) for options in places)) / len(places)
        for k in ks
    }
    means = sorted(sum(options) / len(options) for options in places)
    middle = (means[(len(means) - 1) // 2] + means[len(means) // 2]) / 2
    return recall, middle, sum(means) / len(means), sum(len(options) > 1 for options in places)


def naive_t2v(matrix, owner):
    return naive_metrics([(list(row), owner[i]) for i, row in enumerate(matrix)])


def naive_v2t(matrix, owner):
    captioned = sorted(set(owner))
    queries = []
    for video in captioned:
        best = [max(matrix[i][video] for i in range(len(owner)) if owner[i] == other) for other in captioned]
        queries.append((best, captioned.index(video)))
    return naive_metrics(queries)


def assert_same(got, expected):
    recall, median, mean, ties = expected
    assert got.recall_at == pytest.approx(recall)
    assert got.median_rank == pytest.approx(median)
    assert got.mean_rank == pytest.approx(mean)
    assert got.num_ties == ties


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    videos=st.integers(1, 12),
    texts=st.integers(1, 20),
    levels=st.integers(1, 9),
    block=st.sampled_from([1, 7, 2**22]),
)
def test_metrics_equal_loops_with_many_ties(seed, videos, texts, levels, block):
    generator = np.random.default_rng(seed)
    matrix = generator.integers(levels, size=(texts, videos)).astype(np.float32) / levels
    owner = generator.integers(videos, size=texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tvrkit.metrics.matrix.BLOCK", block)
        t2v = text_to_video_metrics(matrix, owner, resamples=20)
        v2t = video_to_text_metrics(torch.from_numpy(matrix), torch.from_numpy(owner), resamples=20)
    assert_same(t2v, naive_t2v(matrix.tolist(), owner.tolist()))
    assert_same(v2t, naive_v2t(matrix.tolist(), owner.tolist()))
    assert (t2v.num_queries, t2v.num_items) == (texts, videos)
    assert v2t.num_queries == v2t.num_items == len(set(owner.tolist()))


def test_by_hand():
    # Texts 0 and 1 belong to video 0, text 2 to video 1; video 2 has no caption.
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.3, 0.3, 0.8], [0.5, 0.2, 0.1]])
    t2v = text_to_video_metrics(similarity, [0, 0, 1], ks=(1, 2))
    # Places: text 0 first; text 1 second or third; text 2 second.
    assert t2v.recall_at == pytest.approx({1: 100 / 3, 2: 100 * (1 + 0.5 + 1) / 3})
    assert (t2v.median_rank, t2v.mean_rank) == (2.0, pytest.approx((1 + 2.5 + 2) / 3))
    assert (t2v.num_queries, t2v.num_items, t2v.num_ties) == (3, 3, 1)
    v2t = video_to_text_metrics(similarity, [0, 0, 1], ks=(1, 2))
    # Video 0: own best .9 against .5. Video 1: own .2, the other's best .3. Video 2 asks nothing.
    assert v2t.recall_at == {1: 50.0, 2: 100.0}
    assert (v2t.median_rank, v2t.mean_rank) == (1.5, 1.5)
    assert (v2t.num_queries, v2t.num_items, v2t.num_ties) == (2, 2, 0)


def test_one_score_for_everything_is_guessing():
    got = text_to_video_metrics(torch.full((50, 50), 0.3))
    assert got.recall_at == pytest.approx({1: 2.0, 5: 10.0, 10: 20.0, 50: 100.0})
    assert got.mean_rank == got.median_rank == 25.5
    assert got.num_ties == got.num_queries == 50


def test_perfect_and_worst():
    perfect = text_to_video_metrics(torch.eye(20))
    assert perfect.recall_at == {1: 100.0, 5: 100.0, 10: 100.0, 50: 100.0}
    assert perfect.interval[1] == (100.0, 100.0)
    worst = video_to_text_metrics(-torch.eye(20))
    assert worst.recall_at == {1: 0.0, 5: 0.0, 10: 0.0, 50: 100.0}
    assert worst.mean_rank == 20.0


@pytest.mark.parametrize("metrics", [text_to_video_metrics, video_to_text_metrics])
def test_order_of_items_and_queries_does_not_matter(metrics):
    generator = torch.Generator().manual_seed(0)
    matrix = (4 * torch.rand(30, 12, generator=generator)).round()
    owner = torch.randint(12, (30,), generator=generator)
    texts, videos = torch.randperm(30, generator=generator), torch.randperm(12, generator=generator)
    moved = metrics(matrix[texts][:, videos], videos.argsort()[owner[texts]])
    plain = metrics(matrix, owner)
    assert moved.recall_at == pytest.approx(plain.recall_at)
    assert moved.mean_rank == pytest.approx(plain.mean_rank)
    assert moved.num_ties == plain.num_ties


def test_never_more_than_a_block_beside_the_matrix(monkeypatch):
    monkeypatch.setattr("tvrkit.metrics.matrix.BLOCK", 2**14)
    matrix = torch.rand(1500, 500)
    owner = torch.arange(500).repeat_interleave(3)
    for metrics in (text_to_video_metrics, video_to_text_metrics):
        peak = peak_bytes(lambda metrics=metrics: metrics(matrix, owner, resamples=2))
        assert peak < matrix.numel() * 4 / 4


def test_ranks_by_hand():
    """Texts 0 and 1 belong to video 2, text 2 to video 0; video 1 has no caption."""
    similarity = torch.tensor([[0.1, 0.5, 0.5], [0.9, 0.8, 0.7], [0.3, 0.3, 0.3]])
    t2v = text_to_video_ranks(similarity, [2, 2, 0])
    assert (t2v.above.tolist(), t2v.equal.tolist(), t2v.unit.tolist()) == ([0, 2, 0], [1, 0, 2], [2, 2, 0])
    assert (t2v.num_items, len(t2v)) == (3, 3)
    assert t2v.credit(1).tolist() == [0.5, 0.0, 1 / 3]
    assert t2v.credit(2).tolist() == [1.0, 0.0, 2 / 3]
    assert t2v.place.tolist() == [1.5, 3.0, 2.0]
    v2t = video_to_text_ranks(similarity, [2, 2, 0])
    # Video 0: its own .3, video 2's best .9. Video 2: its own best .7, video 0's .3.
    assert (v2t.above.tolist(), v2t.equal.tolist(), v2t.unit.tolist()) == ([1, 0], [0, 0], [0, 2])
    assert v2t.num_items == 2


MATRICES = st.tuples(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 25), st.sampled_from([2, 5, 10**6]))


def draw(seed, videos, texts, levels):
    generator = np.random.default_rng(seed)
    return generator.integers(levels, size=(texts, videos)) / 8.0 - 1.0, generator.integers(videos, size=texts)


def same_ranks(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("above", "equal", "unit"))


@settings(max_examples=50)
@given(
    MATRICES,
    st.sampled_from([lambda s: 3 * s - 7, lambda s: s**3, lambda s: np.float64(s) / 2**40, lambda s: s * abs(s) * 5]),
)
def test_only_the_order_of_scores_counts(shape, monotone):
    matrix, owner = draw(*shape)
    for ranks in (text_to_video_ranks, video_to_text_ranks):
        assert same_ranks(ranks(matrix, owner), ranks(monotone(matrix), owner))


@settings(max_examples=50)
@given(MATRICES)
def test_the_order_of_queries_and_items_moves_ranks_with_them(shape):
    matrix, owner = draw(*shape)
    generator = np.random.default_rng(shape[0] + 1)
    texts, videos = generator.permutation(len(owner)), generator.permutation(matrix.shape[1])
    place = np.argsort(videos)
    moved, new_owner = matrix[texts][:, videos], place[owner[texts]]
    t2v, other = text_to_video_ranks(matrix, owner), text_to_video_ranks(moved, new_owner)
    assert np.array_equal(t2v.above[texts], other.above) and np.array_equal(t2v.equal[texts], other.equal)
    assert np.array_equal(place[t2v.unit[texts]], other.unit)
    v2t, other = video_to_text_ranks(matrix, owner), video_to_text_ranks(moved, new_owner)
    found = {int(place[unit]): (a, e) for unit, a, e in zip(v2t.unit, v2t.above, v2t.equal, strict=True)}
    assert found == {int(unit): (a, e) for unit, a, e in zip(other.unit, other.above, other.equal, strict=True)}


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 99), st.floats(-3, 3, width=32))
def test_one_score_for_everything_is_chance_in_both_directions(videos, texts, seed, score):
    owner = np.random.default_rng(seed).integers(videos, size=texts)
    for metrics, gallery in (
        (text_to_video_metrics, videos),
        (video_to_text_metrics, len(set(owner.tolist()))),
    ):
        got = metrics(np.full((texts, videos), score), owner, resamples=2)
        assert got.recall_at == pytest.approx({k: 100 * min(1.0, k / gallery) for k in (1, 5, 10, 50)})
        assert got.mean_rank == got.median_rank == (gallery + 1) / 2

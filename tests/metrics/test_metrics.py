"""Metrics against a loop that deals out tied places one by one, and against values worked by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tvrkit.errors import DataError
from tvrkit.metrics import (
    dual_softmax,
    query_bank_norm,
    text_to_video_metrics,
    video_to_text_metrics,
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


def test_to_dict():
    got = text_to_video_metrics(torch.eye(4)).to_dict()
    assert list(got) == [
        "R@1", "R@5", "R@10", "R@50", "MdR", "MnR", "queries", "gallery", "ties", "R@1_low", "R@1_high",
    ]  # fmt: skip
    assert got["gallery"] == 4


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


def test_bootstrap_is_seeded_and_about_right():
    generator = torch.Generator().manual_seed(1)
    matrix = torch.rand(400, 400, generator=generator) + 0.9 * torch.eye(400)
    first, again, other = (text_to_video_metrics(matrix, seed=seed) for seed in (0, 0, 1))
    assert first.interval == again.interval
    assert first.interval != other.interval
    p = first.recall_at[1] / 100
    spread = 1.96 * 100 * math.sqrt(p * (1 - p) / 400)
    assert first.interval[1][0] == pytest.approx(100 * p - spread, abs=1.0)
    assert first.interval[1][1] == pytest.approx(100 * p + spread, abs=1.0)


def test_bootstrap_draws_videos_with_all_their_captions():
    """Twenty copies of a caption say no more than one: the interval must not shrink."""
    generator = torch.Generator().manual_seed(2)
    matrix = torch.rand(100, 100, generator=generator) + 0.8 * torch.eye(100)
    once = text_to_video_metrics(matrix)
    copied = text_to_video_metrics(matrix.repeat_interleave(20, 0), torch.arange(100).repeat_interleave(20))
    assert copied.recall_at == pytest.approx(once.recall_at)
    assert copied.interval[1] == pytest.approx(once.interval[1])


@pytest.mark.parametrize("metrics", [text_to_video_metrics, video_to_text_metrics])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_an_error(metrics, value):
    matrix = torch.eye(6)
    matrix[2, 1:4] = value
    with pytest.raises(DataError, match="3 of 36 similarity scores are NaN or infinite.*row 2, column 1"):
        metrics(matrix)


def test_bad_correspondences_are_errors():
    matrix = torch.zeros(3, 2)
    with pytest.raises(DataError, match="3 texts and 2 videos"):
        text_to_video_metrics(matrix)
    with pytest.raises(DataError, match=r"videos of 1 texts are not among the 2.*text 2 \(video 5\)"):
        text_to_video_metrics(matrix, [0, 1, 5])
    with pytest.raises(DataError, match="one whole number for each of 3 texts"):
        video_to_text_metrics(matrix, [0, 1])
    with pytest.raises(DataError, match="one whole number"):
        video_to_text_metrics(matrix, [0.0, 1.0, 1.0])
    with pytest.raises(DataError, match=r"\(0, 2\)"):
        text_to_video_metrics(torch.zeros(0, 2), [])


def test_half_precision_scores_are_compared_as_they_are():
    matrix = (torch.rand(20, 20) + torch.eye(20)).bfloat16()
    assert text_to_video_metrics(matrix) == text_to_video_metrics(matrix.float())


def test_dual_softmax_is_its_formula_in_each_direction(monkeypatch):
    monkeypatch.setattr("tvrkit.metrics.matrix.BLOCK", 8)
    generator = np.random.default_rng(0)
    matrix = generator.random((5, 4))
    weights = np.exp(100 * matrix)
    np.testing.assert_allclose(dual_softmax(matrix), matrix * weights / weights.sum(0), rtol=1e-10)
    np.testing.assert_allclose(dual_softmax(matrix.T).T, matrix * weights / weights.sum(1, keepdims=True), rtol=1e-10)


def test_dual_softmax_mends_a_hub_in_each_direction():
    """Video 0 is every text's favourite, but its own text likes it best; and the same with the sides changed."""
    hub = torch.tensor([[0.9, 0.1, 0.1], [0.6, 0.5, 0.1], [0.6, 0.1, 0.5]])
    assert text_to_video_metrics(hub, ks=(1,)).recall_at[1] == pytest.approx(100 / 3)
    assert text_to_video_metrics(dual_softmax(hub), ks=(1,)).recall_at[1] == 100.0
    popular_text = hub.T
    assert video_to_text_metrics(popular_text, ks=(1,)).recall_at[1] == pytest.approx(100 / 3)
    # A softmax over a query's own items keeps their order, so the wrong axis would change nothing here.
    wrong = dual_softmax(popular_text)
    assert video_to_text_metrics(wrong, ks=(1,)).recall_at[1] == pytest.approx(100 / 3)
    right = dual_softmax(popular_text.T).T
    assert video_to_text_metrics(right, ks=(1,)).recall_at[1] == 100.0


def test_query_bank_norm_by_hand(monkeypatch):
    monkeypatch.setattr("tvrkit.metrics.matrix.BLOCK", 3)
    bank = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1]])
    # Only item 0 is some bank query's best: query 0, whose best it is, is normalised, query 1 is not.
    scores = np.array([[0.6, 0.5, 0.1], [0.2, 0.1, 0.7]])
    expected = scores.copy()
    expected[0] = np.exp(20 * scores[0]) / np.exp(20 * bank).sum(0)
    got = query_bank_norm(scores, bank)
    np.testing.assert_allclose(got, expected, rtol=1e-10)
    assert got[0].argmax() == 1  # the hub lost
    flipped = query_bank_norm(scores.T, np.array([[0.5, 0.1], [0.6, 0.2]])).T
    assert not np.allclose(flipped, got)
    with pytest.raises(DataError, match="2 items, the similarity for 3"):
        query_bank_norm(scores, bank[:, :2])


def test_never_more_than_a_block_beside_the_matrix(monkeypatch):
    monkeypatch.setattr("tvrkit.metrics.matrix.BLOCK", 2**14)
    matrix = torch.rand(1500, 500)
    owner = torch.arange(500).repeat_interleave(3)
    for metrics in (text_to_video_metrics, video_to_text_metrics):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            metrics(matrix, owner, resamples=2)
        held = peak = 0
        for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
            if event.name() == "[memory]":
                held += event.nbytes()
                peak = max(peak, held)
        assert peak < matrix.numel() * 4 / 4

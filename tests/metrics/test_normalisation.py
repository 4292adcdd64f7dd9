"""Dual softmax and query bank norm by their formulas, and that each direction has a query axis of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tvrkit.errors import DataError
from tvrkit.metrics import dual_softmax, query_bank_norm, text_to_video_metrics, video_to_text_metrics


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


def test_dual_softmax_needs_its_temperature():
    """Cosines as towers of this kind give them, with favourites on both sides: what pays at 100 hardly shows at 1."""
    generator = torch.Generator().manual_seed(0)
    favourites = torch.randn(500, 1, generator=generator) + torch.randn(1, 500, generator=generator)
    matrix = 0.15 + 0.03 * torch.randn(500, 500, generator=generator) + 0.005 * favourites + 0.1 * torch.eye(500)
    for metrics, mended in (
        (text_to_video_metrics, dual_softmax),
        (video_to_text_metrics, lambda scores, tau: dual_softmax(scores.T, tau).T),
    ):
        plain, cold, hot = (
            metrics(scores, resamples=2).recall_at[1] for scores in (matrix, mended(matrix, 1.0), mended(matrix, 100.0))
        )
        assert hot - plain > 4 > 2 * abs(cold - plain), (plain, cold, hot)

"""Average precision against the plain definition, under every order that ties allow."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tvrkit.metrics import average_precision, text_to_video_metrics, video_to_text_metrics


def plain_precision(right):
    """Average precision of one order: `right` says of each place whether its item is a right one."""
    hits = [place for place, is_right in enumerate(right, start=1) if is_right]
    return sum(Fraction(number, place) for number, place in enumerate(hits, start=1)) / len(hits)


def every_order(scores, right):
    """The mean over all orders of the items that put higher scores first."""
    orders = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            orders.append(plain_precision([right[item] for item in order]))
    return float(sum(orders) / len(orders))


@settings(max_examples=60)
@given(st.data(), st.integers(2, 7), st.integers(1, 4))
def test_ties_count_as_the_mean_over_all_their_orders(data, texts, levels):
    videos = data.draw(st.integers(1, texts - 1), label="videos")
    owner = list(range(videos)) + [data.draw(st.integers(0, videos - 1)) for _ in range(texts - videos)]
    score = st.integers(1, levels)
    row = st.lists(score, min_size=videos, max_size=videos)
    matrix = np.array(data.draw(st.lists(row, min_size=texts, max_size=texts)))
    expected = [every_order(matrix[:, v], [one == v for one in owner]) for v in range(videos)]
    np.testing.assert_allclose(average_precision(matrix, owner), expected, rtol=1e-12)


def test_by_hand():
    # Video 0's captions are texts 0 and 2: places 1 and 3, so (1/1 + 2/3) / 2. Video 1's caption is second: 1/2.
    matrix = torch.tensor([[0.9, 0.5], [0.4, 0.3], [0.2, 0.1]])
    np.testing.assert_allclose(average_precision(matrix, [0, 1, 0]), [5 / 6, 1 / 2])
    # All tied, two of three right: the right ones at places 1 2, 1 3 or 2 3.
    expected = (1 + (1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 3
    np.testing.assert_allclose(average_precision(torch.zeros(3, 2), [0, 1, 0])[0], expected)


def test_without_ties_it_is_the_plain_definition_at_any_size(monkeypatch):
    monkeypatch.setattr("tvrkit.metrics.matrix.BLOCK", 5000)
    generator = np.random.default_rng(0)
    matrix = generator.permutation(2000 * 30).reshape(2000, 30).astype(np.float64)
    owner = generator.integers(25, size=2000)  # 5 videos have no caption
    expected = []
    for video in range(25):
        order = np.argsort(-matrix[:, video])
        expected.append(float(plain_precision((owner == video)[order].tolist())))
    np.testing.assert_allclose(average_precision(matrix, owner), expected, rtol=1e-11)
    assert video_to_text_metrics(matrix, owner, resamples=2).mean_average_precision == pytest.approx(
        100 * float(np.mean(expected))
    )


def test_it_depends_on_the_order_of_scores_alone():
    generator = np.random.default_rng(1)
    matrix, owner = generator.integers(6, size=(200, 10)) / 6 - 0.4, generator.integers(10, size=200)
    expected = average_precision(matrix, owner)
    np.testing.assert_array_equal(average_precision(matrix**3 * 5, owner), expected)
    texts, videos = generator.permutation(200), generator.permutation(10)
    moved = average_precision(matrix[texts][:, videos], np.argsort(videos)[owner[texts]])
    np.testing.assert_allclose(moved, expected[videos], rtol=1e-12)


def test_there_is_none_where_every_video_has_one_right_caption():
    assert average_precision(torch.eye(4)) is None
    assert text_to_video_metrics(torch.eye(4)).mean_average_precision is None
    assert average_precision(torch.eye(4)[:3], [0, 2, 3]) is None

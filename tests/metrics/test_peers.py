"""The same numbers as CLIP4Clip where scores do not tie, and where its way of counting and ours part.

Its evaluation, as its repository ArrowLuo/CLIP4Clip shows it: sort a row, look for the places at which the value of the
right item stands, and take each such place for a query; videos with several captions get a page of scores each, filled
up with -inf. What follows is that procedure in words of our own, so that a change on either side shows.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tvrkit.errors import DataError
from tvrkit.metrics import text_to_video_metrics, video_to_text_metrics


def by_sorting(matrix):
    """0-based places of everything in row i of a square matrix that has the value of (i, i); NaN equals nothing."""
    places = []
    for row, values in enumerate(matrix):
        descending = sorted((value for value in values if not np.isnan(value)), reverse=True)
        places += [place for place, value in enumerate(descending) if value == matrix[row][row]]
    return np.array(places)


def by_pages(matrix, owner):
    """0-based places of t2v and v2t where videos have several captions, which lie together."""
    videos = matrix.shape[1]
    t2v = [int((row > row[owner[text]]).sum()) for text, row in enumerate(matrix)]
    best = np.stack([matrix[owner == video].max(axis=0) for video in range(videos)], axis=1)
    return np.array(t2v), by_sorting(best)


def figures(places):
    return {
        **{f"R@{k}": 100 * np.mean(places < k) for k in (1, 5, 10)},
        "MdR": np.median(places) + 1,
        "MnR": np.mean(places) + 1,
    }


def ours(metrics):
    return {name: metrics.to_dict()[name] for name in ("R@1", "R@5", "R@10", "MdR", "MnR")}


def untied(texts, videos, owner, seed):
    """Scores of which no two are equal, better than chance."""
    generator = np.random.default_rng(seed)
    matrix = generator.permutation(texts * videos).reshape(texts, videos) / (texts * videos)
    matrix[np.arange(texts), owner] += 0.35 * generator.random(texts)
    assert len(np.unique(matrix)) == matrix.size
    return matrix


@pytest.mark.parametrize("seed", range(5))
def test_one_caption_a_video_without_ties(seed):
    matrix = untied(200, 200, np.arange(200), seed)
    assert ours(text_to_video_metrics(matrix, resamples=2)) == pytest.approx(figures(by_sorting(matrix)))
    assert ours(video_to_text_metrics(matrix, resamples=2)) == pytest.approx(figures(by_sorting(matrix.T)))


@pytest.mark.parametrize("seed", range(5))
def test_several_captions_a_video_without_ties(seed):
    owner = np.repeat(np.arange(40), np.random.default_rng(seed).integers(1, 9, size=40))
    matrix = untied(len(owner), 40, owner, seed)
    t2v, v2t = by_pages(matrix, owner)
    assert ours(text_to_video_metrics(matrix, owner, resamples=2)) == pytest.approx(figures(t2v))
    assert ours(video_to_text_metrics(matrix, owner, resamples=2)) == pytest.approx(figures(v2t))


def test_sorting_counts_a_tie_once_for_every_place():
    """A model that tells nothing apart: they count N * N queries, we count N and say that all are ties."""
    matrix = np.full((50, 50), 0.3)
    assert len(by_sorting(matrix)) == 50 * 50
    got = text_to_video_metrics(matrix)
    assert (got.num_queries, got.num_ties) == (50, 50)
    # One row that ties everywhere outweighs all others there: 9 perfect queries and one tie of 10 give 10 of 19.
    matrix = np.eye(10)
    matrix[0] = 1.0
    assert figures(by_sorting(matrix))["R@1"] == pytest.approx(100 * 10 / 19)
    assert text_to_video_metrics(matrix).recall_at[1] == pytest.approx(100 * 9.1 / 10)


def test_coarse_scores_change_their_figure_and_hardly_ours():
    """Scores rounded to bfloat16, as half precision leaves them."""
    generator = torch.Generator().manual_seed(0)
    matrix = 0.3 * torch.rand(500, 500, generator=generator) + torch.eye(500) * torch.rand(500, generator=generator) / 2
    coarse = matrix.bfloat16().float()
    exact = text_to_video_metrics(matrix).recall_at[1]
    assert figures(by_sorting(matrix.numpy()))["R@1"] == pytest.approx(exact)
    assert abs(text_to_video_metrics(coarse).recall_at[1] - exact) < 2
    assert len(by_sorting(coarse.numpy())) > 600
    assert abs(figures(by_sorting(coarse.numpy()))["R@1"] - exact) > 10


def test_sorting_drops_queries_without_a_number_and_rises():
    matrix = untied(100, 100, np.arange(100), 0)
    places = by_sorting(matrix)
    broken = matrix.copy()
    broken[np.argsort(-places)[:20]] = np.nan  # a dead text tower for the hardest queries
    dropped = by_sorting(broken)
    assert len(dropped) == 80 and figures(dropped)["R@1"] > figures(places)["R@1"]
    with pytest.raises(DataError, match="2000 of 10000 similarity scores are NaN"):
        text_to_video_metrics(broken)

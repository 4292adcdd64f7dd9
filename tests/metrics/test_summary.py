"""What is summed up of ranks, and its bootstrap interval."""

from __future__ import annotations

import math

import pytest
import torch

from tvrkit.metrics import text_to_video_metrics, video_to_text_metrics


def test_to_dict():
    got = text_to_video_metrics(torch.eye(4)).to_dict()
    assert list(got) == [
        "R@1", "R@5", "R@10", "R@50", "MdR", "MnR", "queries", "gallery", "ties", "R@1_low", "R@1_high",
    ]  # fmt: skip
    assert got["gallery"] == 4


def test_to_dict_has_the_average_precision_where_several_captions_are_right():
    several = video_to_text_metrics(torch.eye(2).repeat_interleave(2, 0), [0, 0, 1, 1])
    assert several.to_dict()["mAP"] == several.mean_average_precision == 100.0
    assert "mAP" not in text_to_video_metrics(torch.eye(2).repeat_interleave(2, 0), [0, 0, 1, 1]).to_dict()
    assert video_to_text_metrics(torch.eye(3)).mean_average_precision is None


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

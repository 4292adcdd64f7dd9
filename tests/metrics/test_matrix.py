"""What is taken for a matrix of scores, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tvrkit.errors import DataError
from tvrkit.metrics import text_to_video_metrics, text_to_video_ranks, video_to_text_metrics


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


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", ">f4", "longdouble", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "bool"]
)
def test_any_kind_of_real_number_is_a_score(dtype):
    matrix = np.array([[1, 0], [1, 1]]).astype(dtype)
    ranks = text_to_video_ranks(matrix)
    assert (ranks.above.tolist(), ranks.equal.tolist()) == ([0, 0], [0, 1])


def test_whole_numbers_are_not_rounded():
    """2**24 and its successor are one number in float32."""
    matrix = np.array([[2**24, 2**24 + 1], [0, 1]])
    assert text_to_video_ranks(matrix).above.tolist() == [1, 0]
    assert text_to_video_ranks(torch.from_numpy(matrix)).above.tolist() == [1, 0]


def test_a_file_mapped_into_memory_is_read_only_and_stays_as_it_is(tmp_path):
    np.save(tmp_path / "scores.npy", np.eye(3, dtype=np.float32)[::-1])
    mapped = np.load(tmp_path / "scores.npy", mmap_mode="r")
    assert text_to_video_ranks(mapped).above.tolist() == [1, 0, 1]
    assert text_to_video_ranks(np.eye(3)[:, ::-1]).above.tolist() == [1, 0, 1]


@pytest.mark.parametrize("matrix", [np.eye(2) * 1j, torch.eye(2) * 1j, np.array([["a", "b"], ["c", "d"]])])
def test_what_is_no_real_number_is_an_error(matrix):
    with pytest.raises(DataError, match="numbers, not"):
        text_to_video_ranks(matrix)

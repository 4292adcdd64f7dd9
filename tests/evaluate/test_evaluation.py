"""Any matrix of scores as an evaluation, what is refused, and two of them compared."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tvrkit.errors import DataError
from tvrkit.evaluate import compare_evaluations, evaluate_scores
from tvrkit.manifest import Record
from tvrkit.metrics import text_to_video_metrics, video_to_text_metrics


def scores(texts, videos, seed=0, owner=None):
    generator = np.random.default_rng(seed)
    matrix = generator.random((texts, videos)).astype(np.float32)
    matrix[np.arange(texts), np.arange(texts) if owner is None else owner] += 0.6
    return matrix


def test_a_matrix_of_anybodys_scores():
    matrix = scores(60, 60)
    evaluation = evaluate_scores(matrix, dataset="theirs", split="test")
    assert evaluation.t2v == text_to_video_metrics(matrix) and evaluation.v2t == video_to_text_metrics(matrix)
    assert (evaluation.dataset, evaluation.split, evaluation.protocol) == ("theirs", "test", None)
    assert torch.equal(evaluation.similarity, torch.from_numpy(matrix))
    assert evaluation.video_of_text.tolist() == list(range(60))
    assert evaluation.coverage.complete and evaluation.coverage.words() == "60 videos and 60 captions"
    assert evaluation.words().startswith(f"t2v R@1 {evaluation.t2v.recall_at[1]:.1f}, R@5")


def test_groups_of_captions_have_an_average_precision():
    owner = np.repeat(np.arange(20), 3)
    evaluation = evaluate_scores(scores(60, 20, owner=owner), owner, dataset="theirs", split="test")
    result = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert list(result) == ["dataset", "split", "protocol", "coverage", "t2v", "v2t"]
    assert list(result["v2t"])[:7] == ["R@1", "R@5", "R@10", "R@50", "MdR", "MnR", "mAP"]
    assert "mAP" not in result["t2v"]
    assert (result["t2v"]["queries"], result["v2t"]["queries"], result["v2t"]["gallery"]) == (60, 20, 20)


def test_the_whole_of_a_protocol_is_measured_and_less_or_more_is_not():
    whole = evaluate_scores(scores(300, 300), dataset="shapes", split="val", protocol="shapes")
    assert whole.coverage.complete and whole.coverage.expected_videos == 300
    fewer = {"dataset": "shapes", "split": "val", "protocol": "shapes"}
    message = r"shapes/val is not .* 299 of 300 videos and 299 of 300 captions of shapes: .*--allow-missing"
    with pytest.raises(DataError, match=message):
        evaluate_scores(scores(299, 299), **fewer)
    labelled = evaluate_scores(scores(299, 299), **fewer, allow_missing=True)
    assert not labelled.coverage.complete and labelled.to_dict()["coverage"]["expected_videos"] == 300
    owner = np.arange(600) % 300
    with pytest.raises(DataError, match="600 instead of 300 captions"):
        evaluate_scores(scores(600, 300, owner=owner), owner, **fewer)


def test_videos_that_are_missing_are_refused_or_named():
    named = {"dataset": "mine", "split": "test", "missing": ["a", "b"]}
    with pytest.raises(DataError, match="2 videos of mine/test are missing from the scores"):
        evaluate_scores(scores(9, 9), **named)
    labelled = evaluate_scores(scores(9, 9), **named, allow_missing=True)
    assert labelled.missing == ("a", "b") and labelled.to_dict()["missing"] == ["a", "b"]


def test_scores_that_are_no_numbers_are_refused():
    matrix = scores(9, 9)
    matrix[3] = np.nan
    with pytest.raises(DataError, match="9 of 81 similarity scores are NaN"):
        evaluate_scores(matrix, dataset="mine", split="test", allow_missing=True)


def records(number, captions=1):
    return [Record(f"v{i}", f"v{i}.mp4", tuple(f"caption {i} {j}" for j in range(captions))) for i in range(number)]


def evaluated(seed, number=30, captions=2, order=None):
    owner = np.repeat(np.arange(number), captions)
    there = [records(number, captions)[i] for i in (range(number) if order is None else order)]
    matrix = scores(len(owner), number, seed, owner)
    return evaluate_scores(matrix, owner, dataset="mine", split="test", records=there)


def test_a_model_compared_with_itself_is_no_different():
    got = compare_evaluations(evaluated(0), evaluated(0))
    assert list(got) == ["t2v", "v2t"]
    for differences in got.values():
        assert list(differences) == ["R@1", "R@5", "R@10", "MnR"]
        assert all(d.difference == 0 and d.p_value == 1 for d in differences.values())


def test_two_models_are_compared_video_by_video():
    a = evaluated(0, 200)
    better = a.similarity.clone()
    better[torch.arange(400), a.video_of_text] += 0.3
    b = evaluate_scores(better, a.video_of_text, dataset="mine", split="test", records=a.records)
    got = compare_evaluations(a, b)
    for direction in ("t2v", "v2t"):
        difference = got[direction]["R@1"]
        assert difference.a == pytest.approx(getattr(a, direction).recall_at[1])
        assert difference.b == pytest.approx(getattr(b, direction).recall_at[1])
        assert difference.low > 0 and difference.p_value < 0.01
    # A file of scores knows no records, and is taken at its word.
    assert compare_evaluations(replace(a, records=()), b)["t2v"] == got["t2v"]


def test_other_queries_or_galleries_cannot_be_compared():
    one = evaluated(0)
    with pytest.raises(DataError, match=r"60 captions and 30 videos \(mine/test\), the other 58 captions and 29"):
        compare_evaluations(one, evaluated(1, 29))
    with pytest.raises(DataError, match="differ in their videos, captions or order"):
        compare_evaluations(one, evaluated(1, order=[1, 0, *range(2, 30)]))
    owner = one.video_of_text.flip(0)
    other = evaluate_scores(one.similarity, owner, dataset="mine", split="test")
    with pytest.raises(DataError, match="differ in their videos, captions or order"):
        compare_evaluations(one, other)

"""A model on a split, against a plain loop; and which splits are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import HERE

from tvrkit.core import build_model
from tvrkit.encode import encode_texts
from tvrkit.errors import DataError
from tvrkit.evaluate import baseline_config, evaluate, evaluate_encoded, require_whole, similarity_matrix
from tvrkit.manifest import Record


@pytest.mark.parametrize("split", ["train", "test"])  # 3 captions a video, and 1
def test_ranks_are_those_of_a_plain_loop(world, split):
    manifest, model, encoded = world
    evaluation = evaluate_encoded(model, manifest, split, encoded[split])
    records = manifest.split(split)
    scores = {}
    for v in range(len(records)):
        with torch.no_grad():
            video = model.encode_video(encoded[split].frame_features[v : v + 1], encoded[split].frame_mask[v : v + 1])
        for i, record in enumerate(records):
            for j, caption in enumerate(record.captions):
                with torch.no_grad():
                    scores[i, j, v] = float(model.similarity(encode_texts(model, [caption]), video))
    queries = sorted({(i, j) for i, j, _ in scores})
    ranks = [1 + sum(scores[i, j, v] > scores[i, j, i] for v in range(len(records))) for i, j in queries]
    t2v = evaluation.t2v.to_dict()
    assert t2v["queries"] == len(queries) and t2v["gallery"] == len(records)
    for k in (1, 5, 10):
        assert t2v[f"R@{k}"] == pytest.approx(100 * sum(rank <= k for rank in ranks) / len(ranks))
    assert t2v["MnR"] == pytest.approx(sum(ranks) / len(ranks))
    best = {(i, v): max(scores[i, j, v] for j in range(len(records[i].captions))) for i, _, v in scores}
    back = [1 + sum(best[i, v] > best[v, v] for i in range(len(records))) for v in range(len(records))]
    v2t = evaluation.v2t.to_dict()
    assert v2t["queries"] == len(records) and v2t["MnR"] == pytest.approx(sum(back) / len(back))
    assert v2t["R@1"] == pytest.approx(100 * sum(rank == 1 for rank in back) / len(back))


def test_evaluate_reads_and_ranks(world):
    manifest, model, encoded = world
    told = []
    evaluation = evaluate(model, manifest, "test", reading=HERE, on_progress=lambda *n: told.append(n))
    assert evaluation.to_dict() == evaluate_encoded(model, manifest, "test", encoded["test"]).to_dict()
    assert told[-1] == (9, 0)
    assert set(evaluation.to_dict()) == {"dataset", "split", "protocol", "coverage", "t2v", "v2t"}
    assert "t2v R@1" in evaluation.words()


def test_a_missing_video_is_an_error_or_is_labelled(world, tmp_path):
    manifest, model, _ = world
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    bad = Record("bad", str(tmp_path / "bad.mp4"), ("a red square",), split="test")
    broken = manifest.with_records([manifest.split("test")[0], bad, *manifest.split("test")[1:]])
    with pytest.raises(DataError, match=r"1 of 10 videos of squares/test cannot be read \(bad: .*--allow-missing"):
        evaluate(model, broken, "test", reading=HERE)
    evaluation = evaluate(model, broken, "test", reading=HERE, allow_missing=True)
    assert evaluation.missing == ("bad",) and evaluation.to_dict()["missing"] == ["bad"]
    assert evaluation.t2v.num_queries == evaluation.t2v.num_items == 9
    whole = evaluate(model, manifest, "test", reading=HERE)
    assert evaluation.t2v == whole.t2v


def test_an_unknown_split_names_those_there_are(world):
    manifest, model, _ = world
    with pytest.raises(DataError, match=r"no split 'tset'; it has train \(6\), test \(9\), hard \(6\)"):
        evaluate(model, manifest, "tset", reading=HERE)


def test_a_score_that_is_no_number_is_an_error(world):
    manifest, model, encoded = world
    poisoned = replace(encoded["test"], frame_features=encoded["test"].frame_features.clone())
    poisoned.frame_features[4] = float("nan")
    with pytest.raises(DataError, match="NaN"):
        evaluate_encoded(model, manifest, "test", poisoned)


def test_the_zero_shot_baseline_is_the_mean_of_the_frames_and_the_sentence(world):
    manifest, model, encoded = world
    base = build_model(baseline_config(model.config))
    base.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith("backbone.")})
    text = encode_texts(base, ["a red square"])
    scores = similarity_matrix(base, text, encoded["test"].frame_features, encoded["test"].frame_mask)
    frames = torch.nn.functional.normalize(encoded["test"].frame_features, dim=-1)
    mask = encoded["test"].frame_mask[..., None]
    pooled = torch.nn.functional.normalize((frames * mask).sum(1) / mask.sum(1), dim=-1)
    torch.testing.assert_close(scores, text.text_features @ pooled.T)


def test_a_split_that_is_not_its_protocols_is_refused_before_anything_is_read(world):
    manifest, model, encoded = world
    small = replace(manifest, protocol="shapes", root=manifest.root / "elsewhere")
    message = (
        r"squares/test is not the set that its protocol measures, it has 9 of 500 videos and 9 of 500 captions of"
        r" shapes: .*--allow-missing"
    )
    with pytest.raises(DataError, match=message):
        evaluate(model, small, "test", reading=HERE)
    with pytest.raises(DataError, match=message):
        require_whole(small, "test")
    with pytest.raises(DataError, match=message):
        evaluate_encoded(model, small, "test", encoded["test"])
    allowed = evaluate_encoded(model, small, "test", encoded["test"], allow_missing=True)
    assert allowed.t2v == evaluate_encoded(model, manifest, "test", encoded["test"]).t2v
    assert allowed.to_dict()["coverage"] == {
        "videos": 9, "expected_videos": 500, "queries": 9, "expected_queries": 500, "complete": False,
    }  # fmt: skip


def test_the_evaluation_knows_its_records(world):
    manifest, model, encoded = world
    evaluation = evaluate_encoded(model, manifest, "train", encoded["train"])
    assert evaluation.records == manifest.split("train")
    assert evaluation.video_of_text.tolist() == [video for video in range(6) for _ in range(3)]
    assert evaluation.similarity.shape == (18, 6) and len(evaluation.t2v_ranks) == 18
    assert evaluation.v2t.mean_average_precision is not None
    assert evaluate_encoded(model, manifest, "test", encoded["test"]).v2t.mean_average_precision is None

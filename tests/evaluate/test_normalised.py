"""Labelled extra rows: what they change in each direction, and a bank of real training captions and videos."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny import HERE

from tvrkit.encode import encode_texts
from tvrkit.errors import DataError
from tvrkit.evaluate import (
    QueryBank,
    encode_split,
    evaluate_encoded,
    evaluate_scores,
    query_bank,
    similarity_matrix,
    with_dual_softmax,
    with_query_bank,
)
from tvrkit.manifest import Record
from tvrkit.metrics import dual_softmax, query_bank_norm, text_to_video_ranks, video_to_text_ranks
from tvrkit.store import FeatureStore


def cosines(texts=300, videos=300, seed=0):
    """Scores as towers of this kind give them, with favourites on both sides, and each text's video."""
    generator = torch.Generator().manual_seed(seed)
    owner = torch.arange(texts) * videos // texts
    favourites = torch.randn(texts, 1, generator=generator) + torch.randn(1, videos, generator=generator)
    matrix = 0.2 + 0.03 * torch.randn(texts, videos, generator=generator) + 0.01 * favourites
    matrix[torch.arange(texts), owner] += 0.1
    return matrix, owner


@pytest.mark.parametrize("texts", [300, 900])
def test_dual_softmax_is_a_row_of_its_own_that_changes_both_directions(texts):
    matrix, owner = cosines(texts)
    plain = evaluate_scores(matrix, owner, dataset="mine", split="test")
    mended = with_dual_softmax(plain)
    assert mended.normalisation == "dual softmax, temperature 100"
    assert with_dual_softmax(plain, 2.5).normalisation == "dual softmax, temperature 2.5"
    assert mended.t2v.recall_at[1] > plain.t2v.recall_at[1] + 1
    assert mended.v2t.recall_at[1] > plain.v2t.recall_at[1] + 3
    assert (mended.v2t.mean_average_precision is None) == (texts == 300)
    # Each direction by scores of its own, and what it counts as changed is.
    t2v = text_to_video_ranks(dual_softmax(matrix), owner)
    v2t = video_to_text_ranks(dual_softmax(matrix.T).T, owner)
    assert mended.t2v_ranks.above.tolist() == t2v.above.tolist()
    assert mended.v2t_ranks.above.tolist() == v2t.above.tolist()
    assert mended.changed == {
        "t2v": int((t2v.above != plain.t2v_ranks.above).sum()),
        "v2t": int((v2t.above != plain.v2t_ranks.above).sum()),
    }
    assert min(mended.changed.values()) > 0
    assert torch.equal(mended.similarity, plain.similarity)


def test_a_softmax_over_the_wrong_axis_is_told_by_its_count(monkeypatch):
    """Over a query's own gallery it keeps every order of positive scores: a published code's v2t row is like that."""
    plain = evaluate_scores(cosines()[0], dataset="mine", split="test")
    wrong = lambda scores, tau: scores * (tau * scores).softmax(dim=1)  # noqa: E731
    monkeypatch.setattr("tvrkit.evaluate.normalised.dual_softmax", wrong)
    mended = with_dual_softmax(plain)
    assert mended.changed == {"t2v": 0, "v2t": 0}
    assert mended.v2t == plain.v2t


def test_a_normalised_row_says_so_in_json_and_a_plain_one_does_not():
    plain = evaluate_scores(cosines()[0], dataset="mine", split="test")
    assert not {"normalisation", "changed"} & set(plain.to_dict())
    result = json.loads(json.dumps(with_dual_softmax(plain).to_dict()))
    assert result["normalisation"].startswith("dual softmax") and set(result["changed"]) == {"t2v", "v2t"}
    assert {"dataset", "split", "protocol", "coverage", "t2v", "v2t"} < set(result)


def test_a_query_bank_normalises_each_direction_by_its_own_queries():
    matrix, owner = cosines(600)
    plain = evaluate_scores(matrix, owner, dataset="mine", split="test")
    bank = QueryBank(cosines(400, 300, seed=1)[0], cosines(80, 600, seed=2)[0])
    mended = with_query_bank(plain, bank)
    assert mended.normalisation == "query bank norm, beta 20, 400 captions and 80 videos of train"
    t2v = text_to_video_ranks(query_bank_norm(matrix, bank.texts), owner)
    v2t = video_to_text_ranks(query_bank_norm(matrix.T, bank.videos).T, owner)
    assert mended.t2v_ranks.above.tolist() == t2v.above.tolist()
    assert mended.v2t_ranks.above.tolist() == v2t.above.tolist()
    assert min(mended.changed.values()) > 0
    with pytest.raises(DataError, match="rank the same gallery"):
        with_query_bank(plain, QueryBank(bank.texts[:, 1:], bank.videos))
    with pytest.raises(DataError, match=r"normalised already \(query bank norm"):
        with_dual_softmax(mended)
    with pytest.raises(DataError, match=r"normalised already \(dual softmax"):
        with_query_bank(with_dual_softmax(plain), bank)


@pytest.fixture
def measured(world):
    manifest, model, encoded = world
    return manifest, model, encoded, evaluate_encoded(model, manifest, "test", encoded["test"])


def test_a_bank_compares_training_captions_with_test_videos_and_back(measured):
    manifest, model, encoded, evaluation = measured
    bank = query_bank(model, manifest, evaluation, size=1000, reading=HERE)
    assert bank.texts.shape == (18, 9) and bank.videos.shape == (6, 9) and bank.split == "train"
    captions = [caption for record in manifest.split("train") for caption in record.captions]
    test = encoded["test"]
    expected = similarity_matrix(model, encode_texts(model, captions), test.frame_features, test.frame_mask)
    torch.testing.assert_close(bank.texts, expected)
    train = encoded["train"]
    questions = encode_texts(model, [record.captions[0] for record in manifest.split("test")])
    expected = similarity_matrix(model, questions, train.frame_features, train.frame_mask)
    torch.testing.assert_close(bank.videos, expected.T)
    mended = with_query_bank(evaluation, bank)
    assert set(mended.changed) == {"t2v", "v2t"} and mended.coverage == evaluation.coverage


def test_a_bank_is_drawn_by_its_seed_and_reads_no_more_than_it_needs(measured, tmp_path):
    manifest, model, encoded, evaluation = measured
    told = []
    with FeatureStore(tmp_path / "features") as store:
        encode_split(model, manifest, "test", reading=HERE, store=store)
        draws = [
            query_bank(
                model, manifest, evaluation, size=4, seed=seed, reading=HERE, store=store,
                on_progress=lambda done, failed: told.append((done, failed)),
            )
            for seed in (0, 0, 1, 2)
        ]  # fmt: skip
    assert all(len(bank.texts) == 4 and len(bank.videos) <= 4 for bank in draws)
    assert torch.equal(draws[0].texts, draws[1].texts) and torch.equal(draws[0].videos, draws[1].videos)
    assert any(not torch.equal(draws[0].texts, bank.texts) for bank in draws[2:])
    assert max(done for done, _ in told) <= 4
    given = query_bank(model, manifest, evaluation, size=4, encoded=encoded["test"], reading=HERE)
    assert torch.equal(given.texts, draws[0].texts)


def test_what_a_bank_needs(measured, tmp_path):
    manifest, model, encoded, evaluation = measured
    with pytest.raises(DataError, match="no split 'val'"):
        query_bank(model, manifest, evaluation, split="val", reading=HERE)
    with pytest.raises(DataError, match="other data than is measured, not from 'test' too"):
        query_bank(model, manifest, evaluation, split="test", reading=HERE)
    with pytest.raises(DataError, match="at least one caption, not 0"):
        query_bank(model, manifest, evaluation, size=0, reading=HERE)
    with pytest.raises(DataError, match="all 9 videos that were measured, and 0 could be read"):
        query_bank(model, manifest, replace(evaluation, records=()), reading=HERE)
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    bad = Record("bad", str(tmp_path / "bad.mp4"), ("a red square",), split="train")
    some = manifest.with_records([bad, *manifest.records])
    bank = query_bank(model, some, evaluation, encoded=encoded["test"], reading=HERE)
    assert (len(bank.texts), len(bank.videos)) == (19, 6)
    dead = manifest.with_records([bad, *manifest.split("test")])
    with pytest.raises(DataError, match=r"no video of the query bank from squares/train can be read \(.*bad\.mp4"):
        query_bank(model, dead, evaluation, encoded=encoded["test"], reading=HERE)

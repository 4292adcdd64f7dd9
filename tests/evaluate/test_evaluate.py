from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import make_data, tiny_config, write_clip

from tvrkit.core import TextFeatures, VideoFeatures, build_model
from tvrkit.encode import encode_texts
from tvrkit.errors import DataError
from tvrkit.evaluate import (
    encode_split,
    evaluate,
    evaluate_encoded,
    evaluate_hard,
    similarity_matrix,
    zero_shot_config,
)
from tvrkit.manifest import Record, read_manifest


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    manifest = read_manifest(make_data(folder, train=6, val=0, test=9, hard=True, captions=3))
    torch.manual_seed(3)
    model = build_model(tiny_config(write_clip(folder), folder / "manifest.jsonl").model)
    return manifest, model, {split: encode_split(model, manifest, split, workers=0) for split in manifest.splits()}


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


@pytest.mark.parametrize("chunk", [1, 2, 5, 1000])
def test_the_result_does_not_depend_on_the_chunk(world, chunk):
    manifest, model, encoded = world
    whole = evaluate_encoded(model, manifest, "train", encoded["train"])
    pieces = evaluate_encoded(model, manifest, "train", encoded["train"], chunk=chunk)
    assert pieces.to_dict() == whole.to_dict()
    assert torch.equal(pieces.similarity, whole.similarity)


def test_a_video_that_is_twice_in_the_gallery_ties_with_itself_in_any_chunk(world):
    manifest, model, _ = world
    records = list(manifest.split("test"))
    records += [replace(record, video_id=f"{record.video_id} again") for record in records]
    double = manifest.with_records(records)
    encoded = encode_split(model, double, "test", workers=0)
    for chunk in (1, 4, 7, 100):
        t2v = evaluate_encoded(model, double, "test", encoded, chunk=chunk).t2v
        assert t2v.num_ties == t2v.num_queries == 18


def test_evaluate_reads_and_ranks(world):
    manifest, model, encoded = world
    told = []
    evaluation = evaluate(model, manifest, "test", workers=0, on_progress=lambda *n: told.append(n))
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
        evaluate(model, broken, "test", workers=0)
    evaluation = evaluate(model, broken, "test", workers=0, allow_missing=True)
    assert evaluation.missing == ("bad",) and evaluation.to_dict()["missing"] == ["bad"]
    assert evaluation.t2v.num_queries == evaluation.t2v.num_items == 9
    whole = evaluate(model, manifest, "test", workers=0)
    assert evaluation.t2v == whole.t2v


def test_an_unknown_split_names_those_there_are(world):
    manifest, model, _ = world
    with pytest.raises(DataError, match=r"no split 'tset'; it has train \(6\), test \(9\), hard \(6\)"):
        evaluate(model, manifest, "tset", workers=0)


def test_a_score_that_is_no_number_is_an_error(world):
    manifest, model, encoded = world
    poisoned = replace(encoded["test"], frame_features=encoded["test"].frame_features.clone())
    poisoned.frame_features[4] = float("nan")
    with pytest.raises(DataError, match="NaN"):
        evaluate_encoded(model, manifest, "test", poisoned)


class Oracle(torch.nn.Module):
    """Stands where the interaction does, and gives the scores that a test wants."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, text: TextFeatures, video: VideoFeatures) -> torch.Tensor:
        return self.scores[: len(text), : len(video)]


def test_the_hard_gallery_counts_what_it_says(world, monkeypatch):
    manifest, model, encoded = world
    edits = [(r.tags["family"], r.tags["edit"]) for r in manifest.split("hard")]
    assert edits == [(f, e) for f in "01" for e in ("base", "colour", "place")]
    scores = torch.full((6, 6), 9.0)  # other families' clips score highest, and must not count
    # Family 0, rows captions, columns clips: all right, but the base's caption scores highest on the clip of `place`.
    scores[:3, :3] = torch.tensor([[0.5, 0.2, 0.6], [0.1, 0.5, 0.3], [0.2, 0.1, 0.55]])
    # Family 1: everything ties, and a tie is a failure.
    scores[3:, 3:] = 0.4
    monkeypatch.setattr(model, "interaction", Oracle(scores))
    hard = evaluate_hard(model, manifest, encoded["hard"])
    assert (hard.families, hard.clips) == (2, 6)
    # Clips: base .5 over .1 and .2, colour .5 over .2 and .1; place .55 not over .6. Captions: base's own clip .5 is
    # behind .6; colour .5 over .1 and .3; place .55 over .2 and .1.
    assert hard.caption_chosen == pytest.approx(100 * 2 / 6)
    assert hard.clip_found == pytest.approx(100 * 2 / 6)
    # base against colour: both clips right of two, then two ties. base against place: .5 > .2 right, .55 > .6 wrong.
    assert hard.by_edit == {"colour": (50.0, 4), "place": (25.0, 4)}
    assert hard.to_dict()["by_edit"]["place"] == {"accuracy": 25.0, "questions": 4}


def test_the_hard_gallery_wants_its_tags(world):
    manifest, model, encoded = world
    bare = manifest.with_records([replace(r, tags={}) for r in manifest.split("hard")])
    with pytest.raises(DataError, match="lacks the tags 'family' and 'edit'"):
        evaluate_hard(model, bare, encoded["hard"])


def test_the_zero_shot_baseline_is_the_mean_of_the_frames_and_the_sentence(world):
    manifest, model, encoded = world
    base = build_model(zero_shot_config(model.config))
    base.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith("backbone.")})
    text = encode_texts(base, ["a red square"])
    scores = similarity_matrix(base, text, encoded["test"].frame_features, encoded["test"].frame_mask)
    frames = torch.nn.functional.normalize(encoded["test"].frame_features, dim=-1)
    mask = encoded["test"].frame_mask[..., None]
    pooled = torch.nn.functional.normalize((frames * mask).sum(1) / mask.sum(1), dim=-1)
    torch.testing.assert_close(scores, text.text_features @ pooled.T)

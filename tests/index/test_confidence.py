"""Confidence: a query's standing among other sentences, and where the numbers for that come from."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from searching import make_model

from tvrkit.core import RetrievalModel, TextFeatures, VideoFeatures, load_model
from tvrkit.core.interaction import nearest_frames
from tvrkit.encode import encode_texts
from tvrkit.index.calibration import BUILT_IN, Calibration, model_digest, save_calibration
from tvrkit.index.confidence import Judge, everyday_sentences, load_judge
from tvrkit.index.engine import MomentFeatures, MomentRef

BANK = tuple(f"a {colour} thing number {i}" for i in range(32) for colour in ("red", "blue"))
LEARNED = Calibration(similarity=2.0, standing=1.5, offset=-0.5, bank=BANK, learned_on="squares/val")


def made_up(model: RetrievalModel, moments: int) -> MomentFeatures:
    """Moments of 3 frames, the last frame of every second one missing."""
    frames = torch.nn.functional.normalize(torch.randn(moments, 3, model.backbone.dim), dim=-1)
    mask = torch.ones(moments, 3, dtype=torch.bool)
    mask[::2, 2] = False
    refs = tuple(MomentRef("aa", i) for i in range(moments))
    times = torch.zeros(moments, 3, dtype=torch.float64)
    return MomentFeatures(refs, VideoFeatures(frames, mask), nearest_frames(frames, mask), times, times[:, :2])


def asked(model: RetrievalModel, words: str, found: MomentFeatures) -> tuple[TextFeatures, torch.Tensor]:
    text = encode_texts(model, [words])
    with torch.no_grad():
        return text, model.interaction(text, found.features, found.nearest)[0]


def odds(probability: torch.Tensor) -> torch.Tensor:
    return probability / (1 - probability)


def test_the_sentences_are_many_and_different() -> None:
    sentences = everyday_sentences()
    assert len(sentences) == len(set(sentences)) == 64
    assert all(2 <= len(sentence.split()) <= 9 and sentence == sentence.strip() for sentence in sentences)


def test_confidence_is_worked_out_by_hand(model: RetrievalModel) -> None:
    found = made_up(model, 3)
    text, scores = asked(model, "a green square", found)
    got = Judge(model, LEARNED).confidence(text, scores, found, searched=10)
    for i in range(3):
        with torch.no_grad():
            against = [
                float(
                    model.interaction(
                        encode_texts(model, [sentence]),
                        found.features[i : i + 1],
                        (found.nearest[0][i : i + 1], found.nearest[1][i : i + 1]),
                    )
                )
                for sentence in BANK
            ]
        best = sum(sorted(against)[-2:]) / 2  # 2 of 64
        mean = sum(against) / 64
        deviation = math.sqrt(sum((one - mean) ** 2 for one in against) / 63)
        logit = 2.0 * float(scores[i]) + 1.5 * (float(scores[i]) - best) / deviation - 0.5 - math.log(10)
        assert float(got[i]) == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-3)
    assert got.dtype == torch.float64 and got.shape == (3,)


def test_the_more_were_searched_the_less_it_means(model: RetrievalModel) -> None:
    found = made_up(model, 4)
    text, scores = asked(model, "a dog", found)
    judge = Judge(model)
    alone = judge.confidence(text, scores, found, searched=1)
    assert torch.allclose(odds(judge.confidence(text, scores, found, searched=1000)) * 1000, odds(alone))
    assert torch.equal(judge.confidence(text, scores, found), judge.confidence(text, scores, found, searched=4))
    counts = torch.tensor([1.0, 2.0, 3.0, 4.0])
    each = judge.confidence(text, scores, found, counts, judge.level(found))
    assert torch.allclose(odds(each) * counts.double(), odds(alone))


def test_one_moment_is_enough_and_none_is_nothing(model: RetrievalModel) -> None:
    found = made_up(model, 3)
    text, scores = asked(model, "a dog", found)
    judge = Judge(model)
    one = replace(
        found, refs=found.refs[:1], features=found.features[:1], nearest=(found.nearest[0][:1], found.nearest[1][:1])
    )
    together = judge.confidence(text, scores, found, searched=1)[:1]
    assert torch.allclose(judge.confidence(text, scores[:1], one), together, atol=1e-6)
    assert judge.confidence(text, scores[:0], found).shape == (0,)
    with pytest.raises(ValueError, match="one text, got 2"):
        judge.confidence(encode_texts(model, ["a", "b"]), scores, found)


def test_a_moment_that_fits_every_sentence_is_not_trusted(model: RetrievalModel) -> None:
    """Of two moments with equal scores, that one counts whose other sentences fit less."""
    bank = encode_texts(model, BANK)
    towards = torch.nn.functional.normalize(bank.text_features.mean(dim=0), dim=0)
    frames = torch.stack([towards, -towards])[:, None]
    mask = torch.ones(2, 1, dtype=torch.bool)
    times = torch.zeros(2, 1, dtype=torch.float64)
    refs = (MomentRef("aa", 0), MomentRef("aa", 1))
    found = MomentFeatures(refs, VideoFeatures(frames, mask), nearest_frames(frames, mask), times, times)
    liked, disliked = Judge(model, LEARNED).confidence(encode_texts(model, ["a"]), torch.tensor([0.5, 0.5]), found)
    assert liked < disliked


def test_the_bank_is_encoded_once_for_all_commands(model: RetrievalModel, tmp_path: Path) -> None:
    found = made_up(model, 3)
    text, scores = asked(model, "a dog", found)
    first = Judge(model, LEARNED).confidence(text, scores, found)
    (kept,) = (tmp_path / "cache" / "banks").iterdir()
    before = kept.stat().st_mtime_ns
    assert torch.equal(Judge(model, LEARNED).confidence(text, scores, found), first)
    assert kept.stat().st_mtime_ns == before
    Judge(model).confidence(text, scores, found)
    assert len(list(kept.parent.iterdir())) == 2  # other sentences
    for damage in (b"", kept.read_bytes()[:-100]):
        kept.write_bytes(damage)
        assert torch.equal(Judge(model, LEARNED).confidence(text, scores, found), first)
    kept.unlink()
    kept.mkdir()  # it cannot be written
    assert torch.equal(Judge(model, LEARNED).confidence(text, scores, found), first)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make_model(tmp_path / "m")
    return tmp_path / "m"


def test_without_a_calibration_the_built_in_numbers_count(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = load_model(saved)
    assert load_judge(model, saved).calibration is BUILT_IN
    assert load_judge(model, "NAME/TAG").calibration is BUILT_IN and not caplog.records


def test_it_is_kept_beside_the_model(saved: Path) -> None:
    model = load_model(saved)
    mine = replace(LEARNED, model=model_digest(model))
    assert save_calibration(model, saved, mine, {"any": "thing"}) == saved / "calibration.json"
    assert load_judge(load_model(saved), saved).calibration == mine


def test_a_name_and_a_folder_that_cannot_be_written_use_the_cache(saved: Path, tmp_path: Path) -> None:
    model = load_model(saved)
    mine = replace(LEARNED, model=model_digest(model))
    path = save_calibration(model, "NAME/TAG", mine)
    assert path.parent == tmp_path / "cache" / "calibrations"
    assert load_judge(model, "NAME/TAG").calibration == mine
    assert load_judge(model, saved).calibration == mine  # the same weights in a folder
    path.unlink()
    (saved / "calibration.json").mkdir()  # root may write anywhere, but not over a folder
    assert save_calibration(model, saved, mine) == path
    assert load_judge(model, saved).calibration == mine


@pytest.mark.parametrize("part", ["text", "vision"])
def test_another_models_calibration_is_refused(saved: Path, part: str, caplog: pytest.LogCaptureFixture) -> None:
    model = load_model(saved)
    save_calibration(model, saved, replace(LEARNED, model=model_digest(model)))
    other = load_model(saved)
    tower = other.backbone.clip.visual if part == "vision" else other.backbone.clip.token_embedding
    with torch.no_grad():
        next(tower.parameters()).mul_(1.01)
    with caplog.at_level(logging.WARNING):
        assert load_judge(other, saved).calibration is BUILT_IN
    assert "calibration.json belongs to other weights" in caplog.text
    assert load_judge(model, saved).calibration.bank == BANK


def test_other_settings_are_another_model(tmp_path: Path) -> None:
    one, two = (make_model(tmp_path / name, nearest_frame=name == "b") for name in "ab")
    assert one.fingerprint() == two.fingerprint() and model_digest(one) != model_digest(two)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, "cannot be read"),
        ({"tvrkit_calibration": 99}, "no calibration that this version"),
        ({"bank": "a dog"}, "no usable sentences"),
        ({"bank": ["a", ""]}, "no usable sentences"),
        ({"bank": ["a"] * 5000}, "no usable sentences"),
        ({"standing": "much"}, "no number under `standing`"),
        ({"offset": float("inf")}, "no number under `offset`"),
        ({"threshold": True}, "no number under `threshold`"),
        ({"model": None}, "does not say which model"),
    ],
)
def test_a_damaged_file_is_named_and_not_used(
    saved: Path, change: dict | None, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_model(saved)
    path = save_calibration(model, saved, replace(LEARNED, model=model_digest(model)))
    path.write_text("{" if change is None else json.dumps({**json.loads(path.read_text()), **change}))
    with caplog.at_level(logging.WARNING):
        assert load_judge(model, saved).calibration is BUILT_IN
    assert words in caplog.text and str(path) in caplog.text

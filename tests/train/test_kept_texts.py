"""A text tower that stands still: its states are computed once, and training and validation are what they were."""

from __future__ import annotations

import json

import pytest
import torch
from core.test_tower_weights import two_towers
from tiny import make_data, tiny_config, write_clip

from tvrkit.config import ModelConfig
from tvrkit.core import build_model
from tvrkit.core.backbone import Backbone
from tvrkit.encode import keep_texts
from tvrkit.store import FeatureStore
from tvrkit.train.loop import train

CAPTIONS = ["a dog runs over the grass", "two cats, a red couch!", "a", "a dog runs over the grass"]


def a_model(tmp_path, kind):
    if kind == "towers":
        backbone = two_towers(tmp_path / "towers")
    else:
        backbone = write_clip(tmp_path)
    torch.manual_seed(0)
    config = ModelConfig(
        backbone=str(backbone), pretrained=None, num_frames=2, max_words=12, interaction="token_wise", key_words=True
    )
    return build_model(config)


@pytest.mark.parametrize("kind", ["towers", "clip"])
def test_kept_texts_are_the_text_towers_own(tmp_path, kind):
    model = a_model(tmp_path, kind)
    tokens = model.tokenize(CAPTIONS)
    with torch.no_grad():
        plain = model.encode_text(tokens)
    told = []
    with FeatureStore(tmp_path / "texts") as store:
        kept = keep_texts(model, CAPTIONS, store, on_progress=lambda done, failed: told.append((done, failed)))
        assert len(store) == 3 and told[-1] == (3, 0)
        model.backbone.kept_texts = kept
        # The trunk is not asked again: broken, it would give other features.
        broken = model.backbone.clip.text.transformer if kind == "towers" else model.backbone.clip.token_embedding
        with torch.no_grad():
            for parameter in broken.parameters():
                parameter.mul_(3.0)
            again = model.encode_text(tokens)
            other = model.encode_text(model.tokenize([*CAPTIONS, "a strange bird"]))
    mask = plain.word_mask
    assert torch.equal(again.word_weights, plain.word_weights)
    torch.testing.assert_close(again.text_features, plain.text_features, atol=2e-6, rtol=0)
    torch.testing.assert_close(again.word_features[mask], plain.word_features[mask], atol=2e-6, rtol=0)
    # A text that is not kept goes through the tower, and with it all that share its batch.
    assert (other.text_features[:4] - plain.text_features).abs().max() > 1e-3


def test_the_projection_learns_behind_kept_texts(tmp_path):
    model = a_model(tmp_path, "towers")
    model.requires_grad_(False)
    model.backbone.clip.text.proj.requires_grad_(True)
    assert model.backbone.text_stands_still
    with FeatureStore(tmp_path / "texts") as store:
        model.backbone.kept_texts = keep_texts(model, CAPTIONS, store)
        model.encode_text(model.tokenize(CAPTIONS)).text_features.sum().backward()
    assert model.backbone.clip.text.proj.weight.grad.abs().max() > 0
    model.backbone.clip.text.transformer.requires_grad_(True)
    assert not model.backbone.text_stands_still


def losses(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_training_with_kept_texts_is_the_same_training(tmp_path, monkeypatch):
    """And a second run finds them on disk: the trunk computes nothing."""
    monkeypatch.setenv("TVRKIT_CACHE", str(tmp_path / "cache"))
    manifest = make_data(tmp_path / "squares", train=8, val=4, test=0)
    changes = {"freeze": "backbone", "max_steps": 6, "log_every": 1, "trackers": [], "precision": "fp32"}
    config = tiny_config(write_clip(tmp_path), manifest, loss={"logit_scale": 20.0}, train=changes)
    with monkeypatch.context() as patch:
        patch.setattr(Backbone, "text_stands_still", False)
        plain = losses(train(config, tmp_path / "plain"))
    kept = losses(train(config, tmp_path / "kept"))
    folders = list((tmp_path / "cache" / "texts").iterdir())
    assert len(plain) == 6 and len(folders) == 1
    torch.testing.assert_close(torch.tensor(kept), torch.tensor(plain), atol=2e-5, rtol=0)
    again = losses(train(config, tmp_path / "again"))
    assert again == kept

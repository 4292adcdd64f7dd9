"""An image trunk that stands still below a projection that learns: its states are computed once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from core.test_tower_weights import two_towers
from tiny import make_data, tiny_config

from tvrkit.config import ModelConfig
from tvrkit.core import build_model, load_model
from tvrkit.core.features import TextFeatures
from tvrkit.evaluate.scoring import similarity_matrix
from tvrkit.train.loop import train

TRUNK = "backbone.clip.visual.trunk.*"


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    return two_towers(tmp_path_factory.mktemp("towers") / "towers", image_size=32)


def a_model(folder):
    torch.manual_seed(0)
    return build_model(ModelConfig(backbone=str(folder), pretrained=None, num_frames=2))


def with_projection(folder, tmp_path, **changes):
    """The same towers with another projection of the pictures."""
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    tree = json.loads((folder / "open_clip_config.json").read_text())
    tree["model_cfg"]["vision_cfg"] |= changes
    (other / "open_clip_config.json").write_text(json.dumps(tree))
    return other


def test_the_parts_are_open_clips_whole(towers):
    backbone = a_model(towers).backbone
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        states = backbone.image_states(pixels)
        assert states.shape == (3, backbone.image_width) and backbone.image_width != backbone.dim
        whole = backbone.clip.encode_image(pixels, normalize=False)
        assert torch.equal(backbone.project_images(states), whole)
        assert torch.equal(backbone.encode_images(pixels), whole)


def test_states_are_found_again_whatever_projects_them(towers, tmp_path):
    model = a_model(towers)
    trunk, whole = model.vision_fingerprint(), model.fingerprint()
    with torch.no_grad():
        model.backbone.clip.visual.head.proj.weight.mul_(2)
    assert model.vision_fingerprint() == trunk and model.fingerprint() != whole
    other = a_model(with_projection(towers, tmp_path, timm_proj="mlp", timm_drop=0.3))
    assert other.vision_fingerprint() == trunk and other.fingerprint() != whole
    with torch.no_grad():
        next(model.backbone.clip.visual.trunk.parameters()).mul_(2)
    assert model.vision_fingerprint() != trunk


def test_what_learns_decides(towers):
    model = a_model(towers)
    assert not model.backbone.images_stand_still
    model.requires_grad_(False)
    model.backbone.clip.visual.head.requires_grad_(True)
    assert model.backbone.images_stand_still


def test_scores_do_not_depend_on_how_many_are_projected_together(towers, tmp_path):
    model = a_model(with_projection(towers, tmp_path, timm_proj="mlp", timm_drop=0.5)).train()
    states = torch.randn(9, 2, model.backbone.image_width)
    mask = torch.ones(9, 2, dtype=torch.bool)
    unit = torch.nn.functional.normalize(torch.randn(4, 3, model.backbone.dim), dim=-1)
    text = TextFeatures(unit[:, 0], unit, torch.ones(4, 3, dtype=torch.bool), torch.ones(4, 3))
    whole = similarity_matrix(model, text, states, mask)
    assert torch.equal(similarity_matrix(model, text, states, mask, chunk=2), whole)
    with torch.no_grad():
        plain = model.eval().similarity(text, model.encode_video(states, mask))
    torch.testing.assert_close(whole, plain, atol=1e-6, rtol=0)


def losses(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("sampling", ["uniform", "random"])
def test_training_on_kept_states_is_the_same_training(towers, tmp_path, monkeypatch, sampling):
    """Frames at random are others each time: then only the validation's are kept."""
    monkeypatch.setenv("TVRKIT_CACHE", str(tmp_path / "cache"))
    manifest = make_data(tmp_path / "squares", train=8, val=4, test=0)
    changes = {"freeze_parameters": [TRUNK], "max_steps": 4, "trackers": []}
    config = tiny_config(towers, manifest, data={"sampling": sampling}, train=changes)
    plain = train(config, tmp_path / "plain", cache=False)
    assert not (tmp_path / "cache").exists()
    first = train(config, tmp_path / "first")
    assert list((tmp_path / "cache" / "frames").iterdir())
    assert losses(first) == losses(plain) and len(losses(first)) == 4

    torch.manual_seed(config.train.seed)
    before, after = build_model(config.model).state_dict(), load_model(first / "checkpoints" / "last").state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in moved if ".trunk." in name]
    assert "backbone.clip.visual.head.proj.weight" in moved

    monkeypatch.setattr("tvrkit.encode.frames.iter_encoded", None)  # nothing is computed the second time
    assert losses(train(config, tmp_path / "second")) == losses(first)

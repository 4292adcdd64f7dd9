"""Warm start: what fits goes over, what does not is named, and nothing is silent."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from published import clip_tensors, temporal_tensors
from tiny import tiny_config, write_clip

from tvrkit.core import build_model, save_model
from tvrkit.core.convert import convert
from tvrkit.errors import CheckpointError, ConfigError, ModelError
from tvrkit.train.warm import warm_start


@pytest.fixture
def config(tmp_path):
    return tiny_config(write_clip(tmp_path), tmp_path / "none").model


def build(config, seed):
    torch.manual_seed(seed)
    return build_model(config)


def same(one, other, but=()):
    pairs = zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    return {name for (name, tensor), twin in pairs if not torch.equal(tensor, twin)} == set(but)


def as_run(folder):
    """A run's folder as far as loading from it goes."""
    best = folder / "checkpoints" / "best"
    (folder / "run.json").parent.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    return best


@pytest.mark.parametrize("form", ["export", "run", "checkpoint", "file"])
def test_everything_of_a_model_of_the_same_make(config, tmp_path, form):
    first, second = build(config, 0), build(config, 1)
    folder = as_run(tmp_path / "run") if form == "run" else tmp_path / "model"
    save_model(first, folder)
    source = {"run": tmp_path / "run", "file": folder / "model.safetensors"}.get(form, folder)
    assert not same(first, second)
    begun = warm_start(second, str(source))
    assert same(first, second)
    assert begun.match.whole and not begun.remarks
    number = len(first.state_dict())
    assert begun.words() == f"{number} of the model's {number} tensors taken over"


def test_what_does_not_fit_stays_and_is_named(config, tmp_path):
    first = build(replace(config, temporal="mean", interaction="weighted_token_wise", weight_layers=1), 0)
    save_model(first, tmp_path / "model")
    second = build(config, 1)
    before = {name: tensor.clone() for name, tensor in second.state_dict().items()}
    begun = warm_start(second, tmp_path / "model")
    match = begun.match
    assert "temporal.positional_embedding" in match.missing
    assert "interaction.word_weights.mlp.2.bias" in match.missing
    assert [name.partition(":")[0] for name in match.reshaped] == [
        f"interaction.{side}_weights.mlp.0.{kind}" for side in ("word", "frame") for kind in ("weight", "bias")
    ]
    assert match.reshaped[0].endswith("mlp.0.weight: 1x32, not 32x32")
    for name, tensor in second.state_dict().items():
        taken = name in match.matched
        assert torch.equal(tensor, first.state_dict()[name] if taken else before[name]), name
        assert taken == name.startswith("backbone.")
    assert "4 another shape (interaction.word_weights.mlp.0.weight: 1x32, not 32x32, " in begun.words()
    assert " not among the weights (temporal.positional_embedding, " in begun.words()


@pytest.mark.parametrize(("theirs", "own"), [(6, 4), (4, 6)])
def test_positions_are_cut_and_never_stretched(config, tmp_path, theirs, own):
    first, second = build(replace(config, num_frames=theirs), 0), build(replace(config, num_frames=own), 1)
    save_model(first, tmp_path / "model")
    before = second.temporal.positional_embedding.detach().clone()
    match = warm_start(second, tmp_path / "model").match
    if theirs > own:
        assert match.cut == ("temporal.positional_embedding",) and not match.reshaped
        assert torch.equal(second.temporal.positional_embedding, first.temporal.positional_embedding[:own])
    else:
        assert match.reshaped == ("temporal.positional_embedding: 4x32, not 6x32",)
        assert torch.equal(second.temporal.positional_embedding, before)
    assert torch.equal(second.temporal.blocks[0].ln_1.weight, first.temporal.blocks[0].ln_1.weight)


def test_the_same_weights_in_towers_built_otherwise_are_remarked(config, tmp_path):
    save_model(build(config, 0), tmp_path / "model")
    tree = json.loads((tmp_path / "tiny_clip.json").read_text())
    tree["model_cfg"]["quick_gelu"] = True
    (tmp_path / "quick.json").write_text(json.dumps(tree))
    begun = warm_start(build(replace(config, backbone=str(tmp_path / "quick.json")), 1), tmp_path / "model")
    assert begun.match.whole
    assert len(begun.remarks) == 1 and "quick_gelu False there and True here" in begun.remarks[0]


def test_a_published_state_dict_as_it_is_or_converted(config, tmp_path):
    torch.manual_seed(0)
    state = {f"clip.{name}": tensor for name, tensor in clip_tensors().items()} | temporal_tensors(layers=2, rows=77)
    torch.save(state, tmp_path / "pytorch_model.bin")
    convert(tmp_path / "pytorch_model.bin", tmp_path / "converted", num_frames=8)
    own = tmp_path / "converted" / "backbone" / "open_clip_config.json"
    config = replace(config, backbone=str(own), temporal_layers=2)
    one, other = build(config, 1), build(config, 2)
    assert warm_start(one, tmp_path / "converted").match.cut == ("temporal.positional_embedding",)
    begun = warm_start(other, tmp_path / "pytorch_model.bin")
    assert not begun.match.unused and all(name.startswith("interaction.") for name in begun.match.missing)
    heads = {name for name in one.state_dict() if name.startswith("interaction.")}
    assert same(one, other, but=heads)
    assert torch.equal(one.temporal.positional_embedding, state["frame_position_embeddings.weight"][:4])


def test_what_cannot_be_begun_from_is_said(config, tmp_path):
    model = build(config, 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ConfigError, match="neither a folder nor a weights file nowhere"):
        warm_start(model, "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no model"):
        warm_start(model, tmp_path / "empty")
    torch.save({"visual.strange": torch.zeros(3), "logit": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="nothing in .*other.pt fits this model"):
        warm_start(model, tmp_path / "other.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

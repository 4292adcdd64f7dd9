"""Other code's weights: CLIP4Clip's layout written out by hand, its forward pass too, and files that mean harm."""

from __future__ import annotations

import math
import os
import pickle
import tarfile

import pytest
import torch
from backbones import write_backbone
from published import (
    DIM,
    clip4clip_similarity,
    clip_tensors,
    encode_image,
    encode_text,
    temporal,
    temporal_tensors,
    weigher_tensors,
)
from safetensors.torch import save_file

from tvrkit.core import load_model
from tvrkit.core.architecture import build_clip
from tvrkit.core.backbone import build_backbone
from tvrkit.core.convert import convert
from tvrkit.core.layouts import clip_spec
from tvrkit.core.spec import find_spec
from tvrkit.errors import ConfigError, ModelError

CAPTIONS = ["a dog runs", "two cats sit on a red couch in the sun", "one"]


@pytest.fixture
def state():
    """CLIP4Clip's seqTransf."""
    torch.manual_seed(0)
    return {f"clip.{name}": tensor for name, tensor in clip_tensors().items()} | temporal_tensors(layers=2, rows=77)


@pytest.fixture
def pixels():
    torch.manual_seed(1)
    return torch.randn(2, 5, 3, 32, 32)


MASK = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


def save(state, tmp_path, name="pytorch_model.bin.4"):
    torch.save(state, tmp_path / name)
    return tmp_path / name


def test_clip4clip_gives_the_features_of_its_own_forward_pass(state, pixels, tmp_path):
    done = convert(save(state, tmp_path), tmp_path / "out", num_frames=6, max_words=16)
    assert (done.model.temporal, done.model.temporal_layers, done.model.interaction) == (
        "transformer",
        2,
        "dot_product",
    )
    assert done.quick_gelu and not done.remarks and not done.match.unused
    assert done.match.cut == ("temporal.positional_embedding",)
    model = load_model(tmp_path / "out")
    tokens = model.tokenize(CAPTIONS)
    with torch.no_grad():
        text = model.encode_text(tokens)
        frames = model.encode_frames(pixels, MASK)
        video = model.encode_video(frames, MASK)
        scores = model.similarity(text, video)
    sentence, words = encode_text(state, tokens.ids)
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(text.text_features, unit(sentence, dim=-1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(text.word_features, unit(words[:, :16], dim=-1), rtol=1e-4, atol=1e-5)
    raw = encode_image(state, pixels.flatten(0, 1)).unflatten(0, (2, 5))
    torch.testing.assert_close(frames[MASK], raw[MASK], rtol=1e-4, atol=1e-4)
    seen = temporal(state, raw, MASK)
    torch.testing.assert_close(video.frame_features[MASK], unit(seen, dim=-1)[MASK], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores, clip4clip_similarity(sentence, seen, MASK), rtol=1e-4, atol=1e-4)
    # Order tells: without the positions the scores are others.
    assert (scores - clip4clip_similarity(sentence, raw, MASK)).abs().max() > 1e-3


def test_mean_pooling_has_no_temporal_encoder(state, pixels, tmp_path):
    # X-CLIP's and TS2-Net's files have positions even where nothing uses them.
    plain = {n: t for n, t in state.items() if n.startswith("clip.") or n == "frame_position_embeddings.weight"}
    done = convert(save(plain, tmp_path), tmp_path / "out")
    assert done.model.temporal == "mean" and done.match.unused == ("frame_position_embeddings.weight",)
    model = load_model(tmp_path / "out")
    tokens = model.tokenize(CAPTIONS)
    with torch.no_grad():
        frames = model.encode_frames(pixels, MASK)
        scores = model.similarity(model.encode_text(tokens), model.encode_video(frames, MASK))
    raw = encode_image(state, pixels.flatten(0, 1)).unflatten(0, (2, 5))
    expected = clip4clip_similarity(encode_text(state, tokens.ids)[0], raw, MASK)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_weighing_layers_of_drl_become_the_interaction(state, tmp_path, layers):
    state |= weigher_tensors("text", layers) | weigher_tensors("video", layers)
    done = convert(save(state, tmp_path), tmp_path / "out")
    assert (done.model.interaction, done.model.text_side) == ("weighted_token_wise", "words")
    assert done.model.weight_layers == layers
    assert any("before normalisation" in remark for remark in done.remarks)
    model = load_model(tmp_path / "out")
    features, mask = torch.randn(2, 4, DIM), torch.tensor([[True] * 4, [True, True, False, False]])
    for word, weigher in (("text", model.interaction.word_weights), ("video", model.interaction.frame_weights)):
        x = features
        for layer in range(layers):
            name = f"{word}_weight_fc" if layers == 1 else f"{word}_weight_fc.{2 * layer}"
            x = x @ state[f"{name}.weight"].T + state[f"{name}.bias"]
            x = x.relu() if layer < layers - 1 else x
        expected = x[..., 0].masked_fill(~mask, -math.inf).softmax(dim=1)
        with torch.no_grad():
            torch.testing.assert_close(weigher(features, mask), expected)


@pytest.mark.parametrize(
    ("name", "shape", "what"),
    [
        ("lstm_visual.weight_ih_l0", (8, 2), "seqLSTM"),
        ("cross.embeddings.position_embeddings.weight", (4, 2), "tightTransf"),
        ("visual_token_selector.score_predictor.in_conv.1.weight", (4, 2), "TS2-Net"),
        ("global_mat_weight", (4, 4), "X-CLIP"),
        ("clip.visual.conv2.weight", (8, 3, 3, 16, 16), "linear_patch 3d"),
    ],
)
def test_parts_that_have_no_place_are_named(state, tmp_path, name, shape, what):
    state[name] = torch.zeros(shape)
    done = convert(save(state, tmp_path), tmp_path / "out")
    assert [unused.removeprefix("backbone.") for unused in done.match.unused] == [name]
    assert what in done.remarks[0] and "a start for training" in done.remarks[0]


@pytest.mark.parametrize("form", ["module", "half", "safetensors", "under a key", "openai"])
def test_forms_of_files(state, tmp_path, form):
    expected = {name.removeprefix("clip."): tensor for name, tensor in state.items() if name.startswith("clip.")}
    if form == "module":
        file = save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path)
    elif form == "half":
        file = save({name: tensor.half() for name, tensor in state.items()}, tmp_path)
        expected = {name: tensor.half().float() for name, tensor in expected.items()}
    elif form == "safetensors":
        file = tmp_path / "w.safetensors"
        save_file(state, file)
    elif form == "under a key":
        file = save({"epoch": 4, "model": state}, tmp_path)
    else:
        numbers = {"input_resolution": 32, "context_length": 77, "vocab_size": 49408}
        file = save(expected | {name: torch.tensor(number) for name, number in numbers.items()}, tmp_path)
    done = convert(file, tmp_path / "out")
    assert not done.match.unused
    assert done.model.temporal == ("mean" if form == "openai" else "transformer")
    weights = load_model(tmp_path / "out").backbone.clip.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "RN50", "RN101", "RN50x64"])
def test_openais_architectures_are_told_from_shapes(name):
    with torch.device("meta"):
        tensors = build_clip(find_spec(name)).state_dict()
    spec = clip_spec(tensors)
    assert spec is not None and spec.model_cfg == find_spec(name, "openai").model_cfg


def test_a_backbone_of_another_kind_takes_its_name(tmp_path):
    torch.manual_seed(0)
    config = write_backbone(tmp_path / "siglip", "siglip")
    backbone = build_backbone(str(config), None, max_words=16)
    file = save({f"clip.{name}": tensor for name, tensor in backbone.clip.state_dict().items()}, tmp_path)
    with pytest.raises(ModelError, match="--backbone"):
        convert(file, tmp_path / "out")
    done = convert(file, tmp_path / "out", backbone=str(config))
    assert not done.quick_gelu and not done.match.unused
    loaded = load_model(tmp_path / "out").backbone.clip.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in backbone.clip.state_dict().items())
    with pytest.raises(ModelError, match=r"nearest are ViT-B-32"):
        convert(file, tmp_path / "out", backbone="ViT-B-3")


class _Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare", "tar"])
def test_a_file_that_would_run_code_is_refused(state, tmp_path, form):
    content = {**state, "clip.logit_scale": _Harm(tmp_path / "harm")}
    file = tmp_path / "pytorch_model.bin"
    if form == "bare":
        file.write_bytes(pickle.dumps(content))
    elif form == "tar":
        for part in ("storages", "tensors", "pickle"):
            (tmp_path / part).write_bytes(pickle.dumps(content["clip.logit_scale"]))
        with tarfile.open(file, "w") as archive:
            for part in ("storages", "tensors", "pickle"):
                archive.add(tmp_path / part, part)
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ModelError) as caught:
        convert(file, tmp_path / "out")
    assert str(file) in str(caught.value) and str(caught.value).count("\n") == 0
    assert not (tmp_path / "harm").exists() and not (tmp_path / "out").exists()


def test_what_cannot_be_converted_is_said_and_leaves_nothing(state, tmp_path):
    def refused(change, match, error=ModelError, **options):
        with pytest.raises(error, match=match):
            convert(save(change, tmp_path), tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()

    lost = "clip.visual.transformer.resblocks.1.mlp.c_fc.weight"
    refused({n: t for n, t in state.items() if n != lost}, "1 of its tensors .*resblocks.1.mlp.c_fc.weight")
    lost = "transformerClip.resblocks.1.ln_1.bias"
    refused({n: t for n, t in state.items() if n != lost}, "temporal.blocks.1.ln_1.bias")
    refused({"layer.weight": torch.zeros(2)}, "no image tower")
    refused({"backbone.clip.visual.proj": torch.zeros(2)}, "belongs to a model of tvrkit")
    refused(state, "positions for 77 frames, not for 78", ConfigError, num_frames=78)
    with pytest.raises(ModelError, match="there is no weights file"):
        convert(tmp_path / "nowhere.bin", tmp_path / "out")


def test_only_an_earlier_model_is_written_over(state, tmp_path):
    file = save(state, tmp_path)
    with pytest.raises(ConfigError, match="holds no model"):
        convert(file, tmp_path)
    convert(file, tmp_path / "out")
    convert(file, tmp_path / "out", num_frames=4)
    assert load_model(tmp_path / "out").config.num_frames == 4
    (tmp_path / "out" / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match="is a run"):
        convert(file, tmp_path / "out")

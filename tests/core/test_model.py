from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from backbones import write_backbone

from tvrkit.config import ModelConfig
from tvrkit.core import RetrievalModel, build_model
from tvrkit.core.fingerprint import Fingerprint

CAPTIONS = ["a dog runs over the grass", "two cats", "a red car"]


def config(tmp_path: Path, kind: str = "clip", **changes) -> ModelConfig:
    path = write_backbone(tmp_path / kind, kind)
    base = ModelConfig(backbone=str(path), pretrained=None, num_frames=4, max_words=12, interaction="token_wise")
    return replace(base, **changes)


def build(tmp_path: Path, kind: str = "clip", seed: int = 0, **changes) -> RetrievalModel:
    torch.manual_seed(seed)
    return build_model(config(tmp_path, kind, **changes))


def videos(count: int = 3, frames: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.randn(count, frames, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(count, frames, dtype=torch.bool)
    mask[0, 2:] = False
    return pixels, mask


CHOICES = [
    {"interaction": "dot_product"},
    {"text_side": "sentence"},
    {"text_side": "words", "key_words": True},
    {"key_words": True, "nearest_frame": True, "temporal": "transformer"},
    {"interaction": "weighted_token_wise", "nearest_frame": True, "key_words": True, "temporal": "transformer"},
]


@pytest.mark.parametrize("changes", CHOICES)
@pytest.mark.parametrize("kind", ["clip", "siglip"])
@torch.no_grad()
def test_from_captions_and_frames_to_similarity(tmp_path: Path, kind: str, changes: dict) -> None:
    model = build(tmp_path, kind, **changes)
    assert not model.training
    tokens = model.tokenize(CAPTIONS)
    text = model.encode_text(tokens)
    pixels, mask = videos()
    raw = model.encode_frames(pixels, mask)
    video = model.encode_video(raw, mask)
    assert text.text_features.shape == (3, 32) and text.word_features.shape == (3, 12, 32)
    assert raw.shape == video.frame_features.shape == (3, 4, 32)
    for features, real in (
        (text.text_features, ...),
        (text.word_features, tokens.word_mask),
        (video.frame_features, mask),
    ):
        torch.testing.assert_close(features[real].norm(dim=-1), torch.ones_like(features[real][..., 0]))
    scores = model.similarity(text, video)
    assert scores.shape == (3, 3) and scores.dtype == torch.float32 and scores.isfinite().all()
    assert bool((tokens.word_weights == 2).any()) is bool(changes.get("key_words"))


@torch.no_grad()
def test_masked_frames_are_not_computed_and_change_nothing(tmp_path: Path) -> None:
    model = build(tmp_path, temporal="transformer")
    pixels, mask = videos()
    calls: list[int] = []
    model.backbone.clip.visual.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    raw = model.encode_frames(pixels, mask)
    assert calls == [int(mask.sum())]
    assert (raw[~mask] == 0).all()
    odd = pixels.clone()
    odd[~mask] = torch.nan
    assert torch.equal(model.encode_frames(odd, mask), raw)
    text = model.encode_text(model.tokenize(CAPTIONS))
    short = model.encode_video(raw[:1, :2], mask[:1, :2])
    torch.testing.assert_close(
        model.similarity(text, short), model.similarity(text, model.encode_video(raw, mask))[:, :1]
    )


def test_gradients_reach_every_part(tmp_path: Path) -> None:
    model = build(tmp_path, temporal="transformer", interaction="weighted_token_wise", key_words=True).train()
    text = model.encode_text(model.tokenize(CAPTIONS))
    pixels, mask = videos()
    video = model.encode_video(model.encode_frames(pixels, mask), mask)
    torch.nn.functional.cross_entropy(model.similarity(text, video) * 100, torch.arange(3)).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == ["backbone.clip.logit_scale"]  # which the loss reads, not the model


def test_features_stay_float32_under_autocast(tmp_path: Path) -> None:
    model = build(tmp_path, temporal="transformer")
    pixels, mask = videos()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        raw = model.encode_frames(pixels, mask)
        video = model.encode_video(raw, mask)
        text = model.encode_text(model.tokenize(CAPTIONS))
        scores = model.similarity(text, video)
    assert {text.text_features.dtype, video.frame_features.dtype, scores.dtype} == {torch.float32}
    torch.testing.assert_close(video.frame_features[mask].norm(dim=-1), torch.ones(int(mask.sum())))


def test_a_seed_builds_the_same_model_twice(tmp_path: Path) -> None:
    options = {"temporal": "transformer", "interaction": "weighted_token_wise"}
    first, second = (build(tmp_path, seed=3, **options).state_dict() for _ in range(2))
    other = build(tmp_path, seed=4, **options).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first if name.startswith("temporal."))


def test_the_temporal_encoder_starts_from_the_text_tower(tmp_path: Path) -> None:
    # CLIP4Clip's start needs a text tower as wide as the features, with as many heads: two heads of 64.
    import json

    path = write_backbone(tmp_path / "wide")
    tree = json.loads(path.read_text())
    tree["model_cfg"]["embed_dim"] = 128
    tree["model_cfg"]["text_cfg"] |= {"width": 128, "heads": 2, "layers": 3}
    path.write_text(json.dumps(tree))
    settings = ModelConfig(backbone=str(path), pretrained=None, temporal="transformer", temporal_layers=2)
    model = build_model(settings)
    clip, temporal = model.backbone.clip, model.temporal
    assert torch.equal(temporal.positional_embedding, clip.positional_embedding[:12])
    for own, block in zip(temporal.blocks, clip.transformer.resblocks, strict=False):
        assert torch.equal(own.attn.in_proj_weight, block.attn.in_proj_weight)
        assert torch.equal(own.mlp.c_fc.weight, block.mlp.c_fc.weight)
    # They are copies: training one leaves the other alone.
    assert temporal.positional_embedding.data_ptr() != clip.positional_embedding.data_ptr()
    # More layers than the tower has, or another number of heads, start at random.
    deep = build_model(replace(settings, temporal_layers=4))
    assert not torch.equal(deep.temporal.positional_embedding, deep.backbone.clip.positional_embedding[:12])
    tree["model_cfg"]["text_cfg"]["heads"] = 4
    path.write_text(json.dumps(tree))
    other = build_model(settings)
    assert not torch.equal(other.temporal.positional_embedding, other.backbone.clip.positional_embedding[:12])


def changed(model: RetrievalModel, name: str) -> RetrievalModel:
    with torch.no_grad():
        dict(model.named_parameters())[name].view(-1)[-1] += 1e-3
    return model


def test_fingerprints_follow_what_they_name(tmp_path: Path) -> None:
    model = build(tmp_path, temporal="transformer")
    vision, video = model.vision_fingerprint(), model.fingerprint()
    assert len(vision) == len(video) == 32 and vision != video
    assert (model.vision_fingerprint(), model.fingerprint()) == (vision, video)
    twin = build(tmp_path, temporal="transformer")
    assert (twin.vision_fingerprint(), twin.fingerprint()) == (vision, video)

    changed(model, "backbone.clip.positional_embedding")  # of the text tower: no frame depends on it
    assert (model.vision_fingerprint(), model.fingerprint()) == (vision, video)
    changed(model, "temporal.positional_embedding")
    assert model.vision_fingerprint() == vision and model.fingerprint() != video
    changed(model, "backbone.clip.visual.proj")
    assert model.vision_fingerprint() != vision

    mean = build(tmp_path)
    assert mean.vision_fingerprint() == vision and mean.fingerprint() != video
    # What meets the features afterwards is no part of them.
    assert build(tmp_path, interaction="dot_product").fingerprint() == mean.fingerprint()


def test_fingerprints_name_preprocessing_and_activation(tmp_path: Path) -> None:
    import json

    first = build(tmp_path).vision_fingerprint()
    path = write_backbone(tmp_path / "mean", preprocess={"mean": [0.5, 0.5, 0.5]})
    torch.manual_seed(0)
    other = build_model(ModelConfig(backbone=str(path), pretrained=None, num_frames=4))
    assert other.vision_fingerprint() != first
    tree = json.loads(path.read_text())
    tree["preprocess_cfg"] = {}
    tree["model_cfg"]["quick_gelu"] = True
    path.write_text(json.dumps(tree))
    torch.manual_seed(0)
    quick = build_model(ModelConfig(backbone=str(path), pretrained=None, num_frames=4))
    assert quick.vision_fingerprint() != first


def test_batch_statistics_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    model = build(tmp_path, "resnet")
    before = model.vision_fingerprint()
    model.train()
    with torch.no_grad():
        model.backbone.encode_images(torch.randn(2, 3, 32, 32))
    assert model.vision_fingerprint() != before


def test_an_optimizer_step_changes_the_fingerprint(tmp_path: Path) -> None:
    for options in ({"foreach": True}, {"foreach": False}, {"fused": True}):
        model = build(tmp_path)
        before = model.vision_fingerprint()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7, **options)
        model.backbone.encode_images(torch.randn(1, 3, 32, 32)).sum().backward()
        optimizer.step()
        assert model.vision_fingerprint() != before, options


def test_a_fingerprint_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import tvrkit.core.fingerprint as module

    calls: list[int] = []
    real = module._digest
    monkeypatch.setattr(module, "_digest", lambda *args: calls.append(1) or real(*args))
    fingerprint, tensors = Fingerprint(), {"a": torch.zeros(3), "b": torch.tensor(1.0), "c": torch.zeros(0)}
    first = fingerprint(tensors, {"x": 1})
    assert fingerprint(dict(reversed(tensors.items())), {"x": 1}) == first
    assert len(calls) == 1
    tensors["a"].add_(1)
    assert fingerprint(tensors, {"x": 1}) != first
    # Strides and where it lies do not matter; shape and type do.
    square = torch.arange(4.0).view(2, 2)
    same = Fingerprint()({"s": square.t().contiguous().t()}, 0)
    assert Fingerprint()({"s": square}, 0) == same
    assert Fingerprint()({"s": square.view(4)}, 0) != same
    assert Fingerprint()({"s": square.to(torch.bfloat16)}, 0) != same


@pytest.mark.needs_cuda
def test_on_a_gpu(tmp_path: Path) -> None:
    model = build(tmp_path, temporal="transformer", key_words=True, nearest_frame=True)
    fingerprint = model.fingerprint()
    text, (pixels, mask) = model.tokenize(CAPTIONS), videos()
    with torch.no_grad():
        expected = model.similarity(
            model.encode_text(text), model.encode_video(model.encode_frames(pixels, mask), mask)
        )
        model.to("cuda")
        mask = mask.cuda()
        scores = model.similarity(
            model.encode_text(text.to("cuda")), model.encode_video(model.encode_frames(pixels.cuda(), mask), mask)
        )
    assert model.device.type == "cuda"
    torch.testing.assert_close(scores.cpu(), expected, atol=1e-3, rtol=1e-3)
    assert model.fingerprint() == fingerprint

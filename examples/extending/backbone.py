"""A backbone that open_clip does not list: python examples/extending/backbone.py OUT.

It is a config in open_clip's terms and a file of weights. Here a small one with random weights; with weights of
yours, leave out the second half. docs/towers.md has the other way: a tower of timm and one of Hugging Face.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tvrkit.core.backbone import build_backbone

CONFIG = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32},
        "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest"},
}

if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    (out / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2))

    torch.manual_seed(0)
    backbone = build_backbone(str(out), None, max_words=32)
    save_file(
        {name: value.contiguous() for name, value in backbone.clip.state_dict().items()}, out / "model.safetensors"
    )
    print(f"tvrkit train --set model.backbone={out} --set model.pretrained=model.safetensors")

"""Write tvrkit/assets/backbones/architectures.json: what `tvrkit models` knows of open_clip's backbones without torch.

Every architecture is built on the meta device, where a parameter has a shape and no memory, and counted; half a minute
in all. Run it by hand when a new open_clip brings new ones: `python docs/backbone_table.py`.
"""

from __future__ import annotations

import json
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg

from tvrkit.core.architecture import build_clip
from tvrkit.core.catalogue import ARCHITECTURES, describe
from tvrkit.core.spec import SHAPES, find_spec, pretrained_tags

# Their text towers' sizes stand in configs on the hub. These are millions (image, text) as open_clip counts them:
# https://github.com/mlfoundations/open_clip/blob/main/docs/model_profile.csv
COUNTED_BY_OPEN_CLIP = {
    "coca_roberta-ViT-B-32": (87.85, 124.45),
    "mt5-base-ViT-B-32": (87.85, 277.86),
    "mt5-xl-ViT-H-14": (632.08, 1674.68),
    "nllb-clip-base": (87.85, 414.04),
    "nllb-clip-base-siglip": (93.18, 414.3),
    "nllb-clip-large": (632.08, 767.14),
    "nllb-clip-large-siglip": (428.23, 767.27),
    "roberta-ViT-B-32": (87.85, 124.87),
    "xlm-roberta-base-ViT-B-32": (87.85, 278.27),
    "xlm-roberta-large-ViT-H-14": (632.08, 560.94),
}


def count(name: str) -> tuple[int, int]:
    """Parameters of a backbone's image tower, and all the others that retrieval uses."""
    if name in COUNTED_BY_OPEN_CLIP:
        image, text = COUNTED_BY_OPEN_CLIP[name]
        return round(image * 1e6), round(text * 1e6)
    with torch.device("meta"):
        clip = build_clip(find_spec(name))
    clip._modules.pop("text_decoder", None)  # as Backbone does
    vision = sum(parameter.numel() for parameter in clip.visual.parameters())
    return vision, sum(parameter.numel() for parameter in clip.parameters()) - vision


def entry(name: str) -> dict[str, Any]:
    """One backbone's part of the file."""
    tags = {tag: None if name == SHAPES else get_pretrained_cfg(name, tag)["hf_hub"] for tag in pretrained_tags(name)}
    return {**describe(find_spec(name), tags), "parameters": count(name)}


def main() -> None:
    """Write the file, one backbone a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(entry(name))}" for name in [SHAPES, *open_clip.list_models()]]
    text = f'{{"open_clip": "{open_clip.__version__}", "backbones": {{\n' + ",\n".join(lines) + "\n}}\n"
    ARCHITECTURES.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

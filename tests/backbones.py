"""Small open_clip configs, one of each kind, built with random weights in a fraction of a second."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

_VISION: dict[str, Any] = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1, "head_width": 32}
_TEXT: dict[str, Any] = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}

KINDS: dict[str, dict[str, Any]] = {
    # OpenAI's: causal, pooled at the end token.
    "clip": {"embed_dim": 32, "vision_cfg": _VISION, "text_cfg": _TEXT},
    "clip_quickgelu": {"embed_dim": 32, "vision_cfg": _VISION, "text_cfg": _TEXT, "quick_gelu": True},
    # A convolutional image tower, as in OpenAI's RN50.
    "resnet": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16},
        "text_cfg": _TEXT,
    },
    # PE-Core's: the same text tower as a module of its own.
    "custom": {
        "embed_dim": 24,
        "vision_cfg": _VISION,
        "text_cfg": {**_TEXT, "context_length": 32},
        "custom_text": True,
    },
    # MobileCLIP2's: every position sees every other, pads too.
    "bidirectional": {
        "embed_dim": 32,
        "vision_cfg": _VISION,
        "text_cfg": {**_TEXT, "no_causal_mask": True},
        "custom_text": True,
    },
    # SigLIP's: bidirectional, pooled at the last position, a projection with bias, a logit bias.
    "siglip": {
        "embed_dim": 32,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": _VISION,
        "text_cfg": {
            **_TEXT,
            "context_length": 64,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "tokenizer_kwargs": {"clean": "canonicalize"},
        },
    },
    # CoCa's: a class token behind the words.
    "coca": {
        "embed_dim": 32,
        "vision_cfg": {**_VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": {**_TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**_TEXT, "context_length": 76, "attn_pooler_heads": 2},
        "custom_text": True,
    },
}


def write_backbone(folder: Path, kind: str = "clip", *, preprocess: dict[str, Any] | None = None) -> Path:
    """Write a kind's `open_clip_config.json` into a new folder and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "open_clip_config.json"
    config = {"model_cfg": deepcopy(KINDS[kind]), "preprocess_cfg": preprocess or {}}
    path.write_text(json.dumps(config), encoding="utf-8")
    return path

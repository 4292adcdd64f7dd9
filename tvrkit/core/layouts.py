"""State dicts of the field's published code: whose layout it is, our names for its tensors, and its architecture.

CLIP4Clip, X-CLIP, TS2-Net and DRL descend from one another: OpenAI's CLIP under `clip.`, a temporal encoder called
`transformerClip` with `frame_position_embeddings`, and heads of their own. OpenAI's and open_clip's CLIP stand alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tvrkit.core.spec import BackboneSpec
from tvrkit.errors import ModelError

CLIP = "backbone.clip."

_NUMBERS = frozenset({"input_resolution", "context_length", "vocab_size"})  # which OpenAI's files carry as tensors
_BLOCK = re.compile(r"transformerClip\.resblocks\.(\d+\..+)")
_WEIGHER = re.compile(r"(text|video)_weight_fc\.(?:(\d+)\.)?(weight|bias)")
_WEIGHERS = {"text": "word_weights", "video": "frame_weights"}

# Parts that are no part of our model, by the first words of their names.
_STRANGERS = {
    "lstm_visual.": "an LSTM over the frames (CLIP4Clip's seqLSTM)",
    "cross.": "a cross encoder of text and frames (CLIP4Clip's tightTransf)",
    "visual_token_selector.": "TS2-Net's selection of patches",
    "global_mat_weight": "X-CLIP's learned sums of similarities",
    "backbone.clip.visual.conv2.": "patches over time (CLIP4Clip's linear_patch 3d)",
}


def is_ours(weights: Mapping[str, Tensor]) -> bool:
    """Whether the tensors go by the names of tvrkit's own models."""
    return any(name.startswith(CLIP) for name in weights)


def our_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the names that tvrkit's models have for them; what they have no name for keeps its own.

    Raises:
        ModelError: there is no image tower among them.
    """
    if is_ours(weights):
        return dict(weights)
    before = _clip_prefix(weights)
    # Heads lie beside `clip.`, under the same wrappers (module., model.) if any.
    root = before.removesuffix("clip.")
    bare = {name.removeprefix(root): tensor for name, tensor in weights.items()}
    inside = before.removeprefix(root)
    temporal = any(_BLOCK.fullmatch(name) for name in bare)
    renamed = {}
    for name, tensor in bare.items():
        if name.rpartition(".")[2] in (*_NUMBERS, "attn_mask"):
            continue
        renamed[_our_name(name, inside, temporal=temporal)] = tensor
    return renamed


def strangers(names: Mapping[str, Tensor]) -> list[str]:
    """What the parts are, in words, without which the model is not the one that was trained."""
    return [what for start, what in _STRANGERS.items() if any(name.startswith(start) for name in names)]


def model_settings(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """What `ModelConfig` says of the parts around the backbone, told from tensors by our names."""
    settings: dict[str, Any] = {"temporal": "mean", "interaction": "dot_product", "text_side": "sentence"}
    blocks = _count(weights, r"temporal\.blocks\.(\d+)\.")
    if blocks and "temporal.positional_embedding" in weights:
        settings |= {"temporal": "transformer", "temporal_layers": blocks}
    layers = [len(_linears(weights, weigher)) for weigher in _WEIGHERS.values()]
    if layers[0] and layers[0] == layers[1]:
        # DRL compares words with frames; its sentence has no part in it.
        settings |= {"interaction": "weighted_token_wise", "text_side": "words", "weight_layers": layers[0]}
    return settings


def clip_spec(clip: Mapping[str, Tensor]) -> BackboneSpec | None:
    """The architecture of one of OpenAI's CLIPs, told from the shapes of its tensors; None where it is no such one.

    What shapes do not say is as OpenAI had it: QuickGELU, heads of 64, its preprocessing.
    """
    try:
        vision = _vision_transformer(clip) if "visual.proj" in clip else _resnet(clip)
        width = len(clip["ln_final.weight"])
        text = {
            "context_length": len(clip["positional_embedding"]),
            "vocab_size": len(clip["token_embedding.weight"]),
            "width": width,
            "heads": max(1, width // 64),
            "layers": _count(clip, r"transformer\.resblocks\.(\d+)\."),
        }
        dim = clip["text_projection"].shape[1]
    except (KeyError, IndexError):
        return None
    return BackboneSpec({"embed_dim": dim, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}, {})


def _vision_transformer(clip: Mapping[str, Tensor]) -> dict[str, Any]:
    patches = clip["visual.conv1.weight"]
    side = math.isqrt(len(clip["visual.positional_embedding"]) - 1)
    return {
        "image_size": side * patches.shape[-1],
        "layers": _count(clip, r"visual\.transformer\.resblocks\.(\d+)\."),
        "width": len(patches),
        "patch_size": patches.shape[-1],
    }


def _resnet(clip: Mapping[str, Tensor]) -> dict[str, Any]:
    side = math.isqrt(len(clip["visual.attnpool.positional_embedding"]) - 1)
    return {
        "image_size": side * 32,
        "layers": [_count(clip, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)],
        "width": len(clip["visual.layer1.0.conv1.weight"]),
        "patch_size": None,
    }


def _clip_prefix(weights: Mapping[str, Tensor]) -> str:
    """What stands before `visual.` in the image tower's names."""
    starts = {name[: match.start()] for name in weights if (match := re.search(r"(?<![^.])visual\.", name))}
    if not starts:
        known = ", ".join(list(weights)[:3])
        raise ModelError(
            f"there is no image tower among the weights (names with `visual.`): they begin with {known}, which is"
            " neither CLIP's layout nor one built on it."
        )
    return min(starts, key=len)


def _our_name(name: str, inside: str, *, temporal: bool) -> str:
    if temporal and name == "frame_position_embeddings.weight":
        return "temporal.positional_embedding"
    if block := _BLOCK.fullmatch(name):
        return f"temporal.blocks.{block[1]}"
    if weigher := _WEIGHER.fullmatch(name):
        return f"interaction.{_WEIGHERS[weigher[1]]}.mlp.{weigher[2] or 0}.{weigher[3]}"
    return CLIP + name.removeprefix(inside) if name.startswith(inside) else name


def _linears(weights: Mapping[str, Tensor], weigher: str) -> list[str]:
    return [name for name in weights if name.startswith(f"interaction.{weigher}.mlp.") and name.endswith(".weight")]


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in weights if (match := re.match(pattern, name))})

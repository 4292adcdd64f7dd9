"""Weights of single towers: an image tower of timm's and a text tower of Hugging Face's, each from its own file.

A backbone's config may name them, so that two towers that have never met become one backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tvrkit.core.architecture import file_of
from tvrkit.core.spec import BackboneSpec
from tvrkit.core.weights import check_match, read_weights
from tvrkit.errors import ModelError

# What published files hold beside a tower: the head of the task that it was trained for.
_HEADS = frozenset(
    {"head", "head_dist", "fc", "classifier", "pooler", "cls", "lm_head", "qa_outputs", "score", "vocab_projector"}
)
_PREFIXES = ("model.", "backbone.", "trunk.", "encoder.")


def load_towers(clip: Any, spec: BackboneSpec) -> None:
    """Put the weights that the spec's `tower_weights` name into an open_clip model, in place.

    A head that a file holds beside its tower is left out, and the positions of an image tower are resized to its grid.
    What the two towers need beside them, their projections into the common space, stays random.

    Raises:
        ModelError: a tower that is not timm's or Hugging Face's, a file that is not there, or one that does not fit.
    """
    for kind, name in spec.tower_weights.items():
        tower = _tower(clip, kind)
        path = file_of(spec, name)
        weights = fit_tower(tower, read_weights(path))
        check_match(weights, tower.state_dict(), str(path))
        tower.load_state_dict(weights, strict=True)


def fit_tower(tower: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the tower's own names, without heads, and with its grid of positions; what is strange to it stays."""
    own = tower.state_dict()
    fitted = dict(weights)
    for prefix in _prefixes(tower):
        if not fitted.keys() & own.keys() and any(name.startswith(prefix) for name in fitted):
            # The rest is heads: they stand beside the tower.
            fitted = {name.removeprefix(prefix): value for name, value in fitted.items() if name.startswith(prefix)}
    known = {name.partition(".")[0] for name in own}
    fitted = {
        name: value
        for name, value in fitted.items()
        if name.partition(".")[0] in known or name.partition(".")[0] not in _HEADS
    }
    fitted = {name: value for name, value in fitted.items() if not name.endswith("position_ids") or name in own}
    fitted.update({name: value for name, value in own.items() if name.endswith("position_ids")})
    if "pos_embed" in own and "pos_embed" in fitted and fitted["pos_embed"].ndim == 3:
        fitted["pos_embed"] = _resized(tower, fitted["pos_embed"], own["pos_embed"])
    return fitted


def _prefixes(tower: nn.Module) -> tuple[str, ...]:
    base = getattr(tower, "base_model_prefix", "")
    return (f"{base}.", *_PREFIXES) if base else _PREFIXES


def _tower(clip: Any, kind: str) -> nn.Module:
    if kind == "image":
        tower, whose = getattr(clip.visual, "trunk", None), "timm's (vision_cfg.timm_model_name)"
    elif kind == "text":
        tower = getattr(getattr(clip, "text", None), "transformer", None)
        whose = "Hugging Face's (text_cfg.hf_model_name)"
        tower = tower if hasattr(tower, "base_model_prefix") else None
    else:
        raise ModelError(f"the backbone's config has tower_weights for {kind!r}, and there are image and text.")
    if not isinstance(tower, nn.Module):
        raise ModelError(f"the backbone's config has tower_weights for {kind}, whose tower is not {whose}.")
    return tower


def _resized(tower: Any, given: Tensor, own: Tensor) -> Tensor:
    """An image tower's positions (1, P, width) on its own grid; as given where the file's are no square grid."""
    grid = getattr(getattr(tower, "patch_embed", None), "grid_size", None)
    if given.shape == own.shape or grid is None or given.shape[2:] != own.shape[2:]:
        return given
    from timm.layers import resample_abs_pos_embed

    prefix = own.shape[1] - grid[0] * grid[1]
    side = int((given.shape[1] - prefix) ** 0.5)
    if side * side + prefix != given.shape[1]:
        return given
    with torch.no_grad():
        resized: Tensor = resample_abs_pos_embed(
            given, new_size=list(grid), old_size=[side, side], num_prefix_tokens=prefix, antialias=False
        )
    return resized

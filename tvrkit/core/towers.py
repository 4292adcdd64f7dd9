"""What open_clip's towers compute, in two parts where a trunk may stand still below a projection that learns.

Word features are every position after the final norm and the projection, so that they lie in the space of the frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tvrkit.errors import ModelError


def text_tower(clip: nn.Module) -> Any:
    """The module that has the text tower's parts: `clip.text` where there is one, else `clip` itself."""
    return getattr(clip, "text", clip)


def may_be_trimmed(clip: nn.Module) -> bool:
    """Whether positions after a text's end change nothing, so that they need not be computed.

    True for causal towers and for those that mask pads. False where pads are attended to (SigLIP, MobileCLIP2) and
    where a class token stands behind them (CoCa).
    """
    tower = text_tower(clip)
    if _is_hugging_face(tower):
        return True
    return tower.attn_mask is not None and not _has_class_token(tower) and _pool_type(tower) != "last"


def image_head(clip: nn.Module) -> nn.Module | None:
    """The projection over pooled states that timm's image towers have apart (`timm_proj`), where there is one."""
    visual = getattr(clip, "visual", None)
    head = getattr(visual, "head", None) if hasattr(visual, "trunk") else None
    # An attention pool in it needs the whole grid of patches.
    return head if isinstance(head, nn.Sequential) and len(head) and not hasattr(head, "pool") else None


def image_trunk(clip: Any) -> nn.Module:
    """What `image_states` computes with: the image tower without `image_head`."""
    trunk: nn.Module = clip.visual if image_head(clip) is None else clip.visual.trunk
    return trunk


def image_states(clip: Any, pixels: Tensor) -> Tensor:
    """Features (N, R) of pictures (N, 3, H, W) before `image_head`: open_clip's own where there is none."""
    states: Tensor
    states = clip.encode_image(pixels, normalize=False) if image_head(clip) is None else clip.visual.trunk(pixels)
    return states


def text_trunk(clip: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters of what `text_states` computes: of Hugging Face's towers all but the projection, else all."""
    tower = text_tower(clip)
    return tower.transformer.parameters() if _is_hugging_face(tower) else text_parameters(clip)


def text_parameters(clip: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters of the whole text tower."""
    for name, parameter in clip.named_parameters():
        if not name.startswith(("visual.", "logit_scale", "logit_bias")):
            yield parameter


def text_states(clip: nn.Module, ids: Tensor) -> Tensor:
    """What the trunk of the text tower makes of texts, (T, 1 + L, width): the sentence first, then each position.

    Args:
        clip: open_clip's model.
        ids: as for `encode_positions`.
    """
    tower = text_tower(clip)
    known = _is_hugging_face(tower)
    sentence, words = _hugging_face_states(tower, ids) if known else encode_positions(clip, ids)
    return torch.cat([sentence[:, None], words], dim=1)


def project_states(clip: nn.Module, states: Tensor) -> tuple[Tensor, Tensor]:
    """Sentence features (T, D) and word features (T, L, D) out of `text_states`, as `encode_positions` has them."""
    tower = text_tower(clip)
    features = tower.proj(states) if _is_hugging_face(tower) else states
    return features[:, 0], features[:, 1:]


def encode_positions(clip: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Run the text tower.

    Args:
        clip: open_clip's model.
        ids: (T, L) int64; L is the context length, or less where the tower may be trimmed.

    Returns:
        Sentence features (T, D), equal to open_clip's `encode_text`, and word features (T, L, D); not normalised.
    """
    tower = text_tower(clip)
    if _is_hugging_face(tower):
        sentence, words = _hugging_face_states(tower, ids)
        return tower.proj(sentence), tower.proj(words)
    if _has_class_token(tower):
        # Its class token's state comes apart from the words', which lack the final norm.
        tower.output_tokens = True
        sentence, words = tower(ids)
        return sentence, _project(tower, tower.ln_final(words))
    return _encode_transformer(tower, ids)


def check_pooling(clip: nn.Module) -> None:
    """Refuse a tower that does not pool its positions to one sentence feature."""
    tower = text_tower(clip)
    if not _is_hugging_face(tower) and _pool_type(tower) == "none":
        raise ModelError("the text tower's pool_type is none, so it has no sentence feature.")


def _encode_transformer(tower: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    from open_clip.transformer import text_global_pool

    length = ids.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(ids).to(dtype) + tower.positional_embedding[:length].to(dtype)
    mask = tower.attn_mask
    x = tower.transformer(x, attn_mask=None if mask is None else mask[:length, :length])
    words = _project(tower, tower.ln_final(x))
    eos = getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))
    return text_global_pool(words, ids, _pool_type(tower), eos_token_id=eos), words


def _hugging_face_states(tower: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Before the projection: the pooled state (T, width) and every position's (T, L, width)."""
    mask = (ids != tower.config.pad_token_id).long()
    out = tower.transformer(input_ids=ids, attention_mask=mask)
    return tower.pooler(out, mask), out.last_hidden_state


def _project(tower: Any, x: Tensor) -> Tensor:
    projection = tower.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection


def _pool_type(tower: Any) -> str:
    # CLIP keeps under `text_` what TextTransformer keeps plainly.
    return str(getattr(tower, "text_pool_type", None) or tower.pool_type)


def _has_class_token(tower: Any) -> bool:
    return getattr(tower, "cls_emb", None) is not None


def _is_hugging_face(tower: Any) -> bool:
    return hasattr(tower, "pooler") and hasattr(tower, "config")

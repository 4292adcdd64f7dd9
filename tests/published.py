"""CLIP4Clip as its paper and OpenAI's CLIP describe it: names and shapes of a small one, and its forward pass.

Written out in plain tensor operations, with none of the package's code: a conversion needs something to be held to.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

DIM, WIDTH, LAYERS, PATCH, SIDE, CONTEXT, VOCABULARY = 128, 128, 2, 16, 32, 77, 49408
HEADS = WIDTH // 64

State = dict[str, Tensor]


def clip_tensors() -> State:
    """OpenAI's CLIP, two layers a tower, by its own names."""
    state = {
        "visual.class_embedding": _random(WIDTH),
        "visual.positional_embedding": _random((SIDE // PATCH) ** 2 + 1, WIDTH),
        "visual.proj": _random(WIDTH, DIM, std=WIDTH**-0.5),
        "visual.conv1.weight": _random(WIDTH, 3, PATCH, PATCH, std=0.05),
        "positional_embedding": _random(CONTEXT, WIDTH),
        "text_projection": _random(WIDTH, DIM, std=WIDTH**-0.5),
        "logit_scale": torch.tensor(4.6),
        "token_embedding.weight": _random(VOCABULARY, WIDTH),
    }
    for norm in ("visual.ln_pre", "visual.ln_post", "ln_final"):
        state |= _norm(norm)
    for layer in range(LAYERS):
        state |= _block(f"visual.transformer.resblocks.{layer}") | _block(f"transformer.resblocks.{layer}")
    return state


def temporal_tensors(layers: int, rows: int) -> State:
    """CLIP4Clip's encoder of frames (seqTransf)."""
    state = {"frame_position_embeddings.weight": _random(rows, DIM)}
    for layer in range(layers):
        state |= _block(f"transformerClip.resblocks.{layer}")
    return state


def weigher_tensors(word: str, layers: int) -> State:
    """DRL's token weights, `text_weight_fc` or `video_weight_fc`, of one to three linear layers."""
    state = {}
    for layer in range(layers):
        name = f"{word}_weight_fc" if layers == 1 else f"{word}_weight_fc.{2 * layer}"
        out = 1 if layer == layers - 1 else DIM
        state |= {f"{name}.weight": _random(out, DIM, std=0.1), f"{name}.bias": _random(out)}
    return state


def encode_image(state: State, pixels: Tensor) -> Tensor:
    """Frames (N, 3, H, W) to features (N, D)."""
    patches = functional.conv2d(pixels, state["clip.visual.conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
    first = state["clip.visual.class_embedding"].expand(len(pixels), 1, -1)
    x = torch.cat([first, patches], dim=1) + state["clip.visual.positional_embedding"]
    x = _normed(state, "clip.visual.ln_pre", x)
    for layer in range(LAYERS):
        x = _layer(state, f"clip.visual.transformer.resblocks.{layer}", x, None)
    return _normed(state, "clip.visual.ln_post", x[:, 0]) @ state["clip.visual.proj"]


def encode_text(state: State, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (T, L) to sentences (T, D), at the end token, which has the largest number, and words (T, L, D)."""
    length = ids.shape[1]
    x = state["clip.token_embedding.weight"][ids] + state["clip.positional_embedding"][:length]
    causal = torch.full((length, length), -math.inf).triu(1)
    for layer in range(LAYERS):
        x = _layer(state, f"clip.transformer.resblocks.{layer}", x, causal)
    words = _normed(state, "clip.ln_final", x) @ state["clip.text_projection"]
    return words[torch.arange(len(ids)), ids.argmax(dim=1)], words


def temporal(state: State, frames: Tensor, mask: Tensor) -> Tensor:
    """Frames (V, F, D) after positions, layers and the sum with what went in; LayerNorm's epsilon there is 1e-12."""
    x = frames + state["frame_position_embeddings.weight"][: frames.shape[1]]
    pads = (1.0 - mask.float())[:, None, None, :] * -1e6
    layers = sum(name.endswith("ln_1.weight") for name in state if name.startswith("transformerClip."))
    for layer in range(layers):
        x = _layer(state, f"transformerClip.resblocks.{layer}", x, pads, epsilon=1e-12)
    return x + frames


def clip4clip_similarity(sentence: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """Cosine (T, V) of sentences with the mean of the normalised frames (its loose similarity), unscaled."""
    frames = functional.normalize(frames, dim=-1) * mask[..., None]
    pooled = frames.sum(dim=1) / mask.sum(dim=1, keepdim=True)
    return functional.normalize(sentence, dim=-1) @ functional.normalize(pooled, dim=-1).T


def _layer(state: State, name: str, x: Tensor, added: Tensor | None, epsilon: float = 1e-5) -> Tensor:
    inner = _normed(state, f"{name}.ln_1", x, epsilon)
    joined = inner @ state[f"{name}.attn.in_proj_weight"].T + state[f"{name}.attn.in_proj_bias"]
    query, key, value = (part.unflatten(-1, (HEADS, 64)).transpose(1, 2) for part in joined.chunk(3, dim=-1))
    scores = query @ key.transpose(-1, -2) / 8.0
    weights = (scores if added is None else scores + added).softmax(dim=-1)
    heard = (weights @ value).transpose(1, 2).flatten(2)
    x = x + heard @ state[f"{name}.attn.out_proj.weight"].T + state[f"{name}.attn.out_proj.bias"]
    inner = _normed(state, f"{name}.ln_2", x, epsilon)
    inner = inner @ state[f"{name}.mlp.c_fc.weight"].T + state[f"{name}.mlp.c_fc.bias"]
    inner = inner * torch.sigmoid(1.702 * inner)
    return x + inner @ state[f"{name}.mlp.c_proj.weight"].T + state[f"{name}.mlp.c_proj.bias"]


def _normed(state: State, name: str, x: Tensor, epsilon: float = 1e-5) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + epsilon).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def _block(name: str) -> State:
    return {
        f"{name}.attn.in_proj_weight": _random(3 * WIDTH, WIDTH, std=0.1),
        f"{name}.attn.in_proj_bias": _random(3 * WIDTH),
        f"{name}.attn.out_proj.weight": _random(WIDTH, WIDTH, std=0.1),
        f"{name}.attn.out_proj.bias": _random(WIDTH),
        f"{name}.mlp.c_fc.weight": _random(4 * WIDTH, WIDTH, std=0.1),
        f"{name}.mlp.c_fc.bias": _random(4 * WIDTH),
        f"{name}.mlp.c_proj.weight": _random(WIDTH, 4 * WIDTH, std=0.05),
        f"{name}.mlp.c_proj.bias": _random(WIDTH),
        **_norm(f"{name}.ln_1"),
        **_norm(f"{name}.ln_2"),
    }


def _norm(name: str) -> State:
    return {f"{name}.weight": 1 + _random(WIDTH), f"{name}.bias": _random(WIDTH)}


def _random(*shape: int, std: float = 0.1) -> Tensor:
    return torch.randn(*shape) * std

"""What every masked computation in `core` does first: refuse empty rows, hide pads, widen narrow floats."""

from __future__ import annotations

import torch
from torch import Tensor


def require_real(mask: Tensor, name: str) -> None:
    """Refuse a mask (N, L) with a row that is all False.

    Raises:
        ValueError: a text without a word or a video without a frame; a zero vector in its place would score like
            a real one.
    """
    empty = ~mask.any(dim=-1)
    if bool(empty.any()):
        rows = empty.nonzero().flatten().tolist()
        raise ValueError(f"{name} has {len(rows)} row(s) with nothing real in them, the first is row {rows[0]}")


def zero_pads(features: Tensor, mask: Tensor) -> Tensor:
    """Features (N, L, D) with 0 under every False of mask (N, L), even where NaN stood."""
    return features.masked_fill(~mask.unsqueeze(-1), 0.0)


def widen(tensor: Tensor) -> Tensor:
    """The same in float32, or in float64 if it is that already; half precision rounds scores into ties."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()

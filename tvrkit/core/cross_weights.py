"""Cross-weight predictors and the selector of TPM-CL: which tokens of one modality matter to the other.

Paper: arXiv 2309.11082, section 3.4; method, section 7.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tvrkit.core.masking import zero_pads


class LinearCrossWeights(nn.Module):
    """Token weights from a projection along the token axis, a block LayerNorm and a small MLP.

    The LayerNorm runs over the whole block of tokens x 2D; here over the block of *real* tokens, so pads move
    neither its mean nor its variance. Its gain and shift are per (token, feature), as LayerNorm's over a block are: the
    projection along the token axis is bound to token positions already, and a position that is a pad in one row has
    its own gain for the rows where it is real. Without pads it equals `nn.LayerNorm([K, 2D])`.
    """

    def __init__(self, dim: int, num_queries: int, num_keys: int) -> None:
        """Weights for up to `num_keys` tokens from up to `num_queries` tokens of the other modality."""
        super().__init__()
        self.along_tokens = nn.Linear(num_queries, num_keys, bias=False)
        self.gain = nn.Parameter(torch.ones(num_keys, 2 * dim))
        self.shift = nn.Parameter(torch.zeros(num_keys, 2 * dim))
        self.hidden = nn.Linear(2 * dim, max(1, dim // 2), bias=False)
        self.out = nn.Linear(max(1, dim // 2), 1, bias=False)

    def forward(self, queries: Tensor, query_mask: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
        """Weights (B, K) of the keys, adding up to 1 over the real ones, 0 on pads.

        Args:
            queries: (B, Q, D), Q <= num_queries.
            query_mask: (B, Q) bool.
            keys: (B, K, D), K <= num_keys.
            key_mask: (B, K) bool, at least one True a row.
        """
        length = keys.shape[1]
        projection = self.along_tokens.weight[:length, : queries.shape[1]]
        projected = projection @ zero_pads(queries, query_mask)
        block = self._normalise(torch.cat([projected, zero_pads(keys, key_mask)], dim=-1), key_mask)
        block = block * self.gain[:length] + self.shift[:length]
        scores = self.out(functional.gelu(self.hidden(block))).squeeze(-1).sigmoid()
        scores = scores.masked_fill(~key_mask, 0.0)
        return scores / scores.sum(dim=1, keepdim=True)

    @staticmethod
    def _normalise(block: Tensor, mask: Tensor) -> Tensor:
        """Mean 0 and variance 1 over the real tokens and all features of each row."""
        count = (mask.sum(dim=1) * block.shape[-1]).view(-1, 1, 1)
        real = mask.unsqueeze(-1)
        centred = block - block.masked_fill(~real, 0.0).sum(dim=(1, 2), keepdim=True) / count
        variance = centred.masked_fill(~real, 0.0).square().sum(dim=(1, 2), keepdim=True) / count
        return centred * (variance + 1e-5).rsqrt()


class AttentionCrossWeights(nn.Module):
    """Token weights from multi-head attention of the other modality's tokens, mixed by one linear map."""

    def __init__(self, dim: int, num_queries: int, num_keys: int) -> None:
        """Weights for tokens from up to `num_queries` tokens of the other modality; `num_keys` sets no parameter."""
        super().__init__()
        self.heads = math.gcd(8, dim)
        # No bias: a constant does not survive the softmax that follows.
        self.mix = nn.Linear(num_queries, 1, bias=False)

    def forward(self, queries: Tensor, query_mask: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
        """Weights (B, K) of the keys; arguments as for `LinearCrossWeights`."""
        q, k = (
            zero_pads(x, mask).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, mask in ((queries, query_mask), (keys, key_mask))
        )
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        attention = scores.masked_fill(~key_mask[:, None, None, :], -torch.inf).softmax(dim=-1).sum(dim=1)
        attention = zero_pads(attention, query_mask)
        mixed = (self.mix.weight[:, : queries.shape[1]] @ attention).squeeze(1)
        return mixed.masked_fill(~key_mask, -torch.inf).softmax(dim=1)


PREDICTORS: dict[str, type[LinearCrossWeights] | type[AttentionCrossWeights]] = {
    "linear": LinearCrossWeights,
    "attention": AttentionCrossWeights,
}


def select_tokens(weights: Tensor, mask: Tensor, threshold: float) -> Tensor:
    """Hide the most important tokens: what is left is nearly right, which makes it a fine-grained negative.

    Sorted by falling weight, leading tokens go while the sum of weights up to and including them is below the
    threshold: [.3, .25, .2, .15, .1] at 0.6 loses two, [.6, .4] none.

    Args:
        weights: (B, L) >= 0, adding up to 1 over the real tokens.
        mask: (B, L) bool.
        threshold: above 0, at most 1.

    Returns:
        (B, L) bool, the real tokens that stay; at least one a row.
    """
    ranked, order = weights.masked_fill(~mask, -1.0).sort(dim=1, descending=True, stable=True)
    removed = ranked.clamp(min=0.0).cumsum(dim=1) < threshold
    # Rounding may leave the whole sum below a threshold of 1: the last real token stays all the same.
    last = mask.sum(dim=1, keepdim=True) - 1
    removed &= torch.arange(mask.shape[1], device=mask.device) < last
    return mask & ~torch.zeros_like(mask).scatter(1, order, removed)

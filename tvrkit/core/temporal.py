"""Temporal encoder: frames of a video look at each other, in order (method of CLIP4Clip's seqTransf and TS2-Net)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tvrkit.core.masking import require_real, zero_pads


class QuickGELU(nn.Module):
    """OpenAI CLIP's approximation of GELU, which its text layers were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x * torch.sigmoid(1.702 * x)


class _Block(nn.Module):
    """A pre-norm transformer layer; its parameters are named as in CLIP's, so that CLIP's fit in."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(dim, 4 * dim),
                gelu=QuickGELU(),
                c_proj=nn.Linear(4 * dim, dim),
            )
        )

    def forward(self, x: Tensor, pads: Tensor) -> Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, key_padding_mask=pads, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class TemporalTransformer(nn.Module):
    """Learned positions, pre-norm layers with D/64 heads, and the input added to the output (method, section 1).

    Frames stay separate: (V, F, D) in, (V, F, D) out. Normalise afterwards, not before.
    """

    def __init__(self, dim: int, layers: int = 4, max_frames: int = 12) -> None:
        """Build it with small random weights.

        Args:
            dim: feature dimension D.
            layers: transformer layers.
            max_frames: longest video, in frames.
        """
        super().__init__()
        # The largest divisor up to D/64, for towers whose width 64 does not divide.
        heads = next(count for count in range(max(1, dim // 64), 0, -1) if dim % count == 0)
        self.positional_embedding = nn.Parameter(torch.empty(max_frames, dim).normal_(std=0.01))
        self.blocks = nn.ModuleList(_Block(dim, heads) for _ in range(layers))
        # CLIP's own start: what each layer adds is small, so training begins close to the backbone's features.
        for name, parameter in self.blocks.named_parameters():
            if name.endswith("in_proj_weight"):
                nn.init.normal_(parameter, std=dim**-0.5)
            elif name.endswith(("out_proj.weight", "c_proj.weight")):
                nn.init.normal_(parameter, std=(2 * layers * dim) ** -0.5)
            elif name.endswith("c_fc.weight"):
                nn.init.normal_(parameter, std=(2 * dim) ** -0.5)

    def init_from_text_tower(self, positional_embedding: Tensor, blocks: Sequence[nn.Module]) -> None:
        """Take over a CLIP text tower's first positions and first layers, as CLIP4Clip does.

        Args:
            positional_embedding: (context length, D).
            blocks: the tower's residual blocks, at least as many as there are layers here.

        Raises:
            ValueError: the tower is too small, of another width, or its layers are built differently.
        """
        rows, dim = self.positional_embedding.shape
        if positional_embedding.shape[1] != dim or len(blocks) < len(self.blocks):
            raise ValueError(
                f"the text tower has {len(blocks)} layers of width {positional_embedding.shape[1]},"
                f" the temporal encoder wants {len(self.blocks)} of width {dim}"
            )
        with torch.no_grad():
            known = min(rows, len(positional_embedding))
            self.positional_embedding[:known] = positional_embedding[:known].to(self.positional_embedding)
        for own, block in zip(self.blocks, blocks, strict=False):
            try:
                own.load_state_dict(block.state_dict(), strict=True)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise ValueError(f"the text tower's layers do not fit: {reason}") from None

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Frames with what their video tells about them.

        Args:
            frames: (V, F, D) raw features; what stands on pads has no meaning.
            mask: (V, F) bool.

        Returns:
            (V, F, D), not normalised; 0 on pads.

        Raises:
            ValueError: a video without a frame, or more frames than `max_frames`.
        """
        if frames.shape[1] > len(self.positional_embedding):
            raise ValueError(
                f"{frames.shape[1]} frames, but the temporal encoder has {len(self.positional_embedding)} positions"
            )
        require_real(mask, "frame_mask")
        frames = zero_pads(frames, mask)
        x = frames + self.positional_embedding[: frames.shape[1]]
        for block in self.blocks:
            x = block(x, ~mask)
        return zero_pads(x + frames, mask)

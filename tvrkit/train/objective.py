"""What a batch is trained for (arXiv 2309.11082).

NegNCE or InfoNCE on the similarities of all its pairs, plus the triplet partial margins of the matched ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tvrkit.config import LossConfig
from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.model import RetrievalModel
from tvrkit.core.partial import TripletPartial
from tvrkit.losses import info_nce, neg_nce, triplet_partial_margin

LARGEST_SCALE = 100.0
CONTRASTS = ("info_nce", "neg_nce")
ORDERS = ("partial_sentence", "partial_words", "partial_hidden_words")


@dataclass(frozen=True)
class Loss:
    """Total loss and its parts, all () float32; `parts` are without gradient and unweighted."""

    total: Tensor
    parts: dict[str, Tensor]

    def numbers(self) -> dict[str, float]:
        """For the log: `loss` and its parts."""
        return {"loss": self.total.item()} | {name: part.item() for name, part in self.parts.items()}

    def words(self) -> str:
        """For the progress line."""
        numbers = self.numbers()
        partial = sum(numbers.get(name, 0.0) for name in ORDERS)
        contrast = next(f"{name} {numbers[name]:.3f}" for name in CONTRASTS if name in numbers)
        rest = f" ({contrast}, partial {partial:.3f})" if any(name in numbers for name in ORDERS) else ""
        return f"loss {numbers['loss']:.3f}{rest}"


class Objective(nn.Module):
    """The loss of a batch of matched pairs; its own weights (the cross-weight predictors) serve training alone."""

    def __init__(self, loss: LossConfig, *, dim: int, num_frames: int, max_words: int) -> None:
        """Build for features of dimension `dim`, videos of `num_frames` frames and texts of `max_words` tokens."""
        super().__init__()
        self.config = loss
        self.partial: TripletPartial | None = None
        if loss.partial_weight:
            self.partial = TripletPartial(
                dim,
                num_frames,
                max_words,
                predictor=loss.partial_predictor,
                threshold=loss.partial_threshold,
            )

    def forward(
        self,
        model: RetrievalModel,
        text: TextFeatures,
        video: VideoFeatures,
        video_ids: Tensor,
        step: int,
    ) -> Loss:
        """Loss of B matched pairs.

        Args:
            model: for its interaction, and its logit scale where that is learned.
            text: of B captions.
            video: of B videos, row i belonging to caption i.
            video_ids: (B,) int64; rows of equal id are never each other's negatives.
            step: optimiser step, for the partial orders' late start.
        """
        scale = self._scale(model)
        similarity = model.similarity(text, video)
        if self.config.name == "neg_nce":
            contrast = neg_nce(
                similarity,
                scale,
                margin=self.config.negative_margin,
                positive_weight=self.config.positive_weight,
                negative_weight=self.config.negative_weight,
                video_ids=video_ids,
            )
        else:
            contrast = info_nce(similarity, scale, video_ids=video_ids)
        parts: dict[str, Tensor] = {self.config.name: contrast.detach()}
        total = contrast
        if isinstance(scale, Tensor):
            parts["logit_scale"] = scale.detach()
        if self.partial is not None and step >= self.config.partial_start_step:
            orders = self.partial(text, video)
            for name, positive, negative, valid in zip(
                ORDERS, orders.positive, orders.negative, orders.valid, strict=True
            ):
                order = triplet_partial_margin(positive, negative, valid, self.config.partial_margin)
                parts[name] = order.detach()
                total = total + self.config.partial_weight * order
        return Loss(total, parts)

    def _scale(self, model: RetrievalModel) -> float | Tensor:
        if self.config.logit_scale != "learned":
            return float(self.config.logit_scale)
        return torch.exp(model.backbone.logit_scale.float()).clamp(max=LARGEST_SCALE)

"""What a batch is trained for (arXiv 2309.11082).

NegNCE or InfoNCE on the similarities of all its pairs, plus the triplet partial margins of the matched ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tvrkit.config import LossConfig
from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.model import RetrievalModel
from tvrkit.core.partial import TripletPartial
from tvrkit.distributed import SOLO, Team
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
        team: Team = SOLO,
        counts: Sequence[int] | None = None,
    ) -> Loss:
        """Loss of B matched pairs, which may be spread over processes: each then computes the whole of it.

        Token features of videos travel, those of texts do not: a process scores its own texts with all videos, and
        the rows of similarities travel. What is held at once is a process's own rows and the (B, B) similarities.

        Args:
            model: for its interaction, and its logit scale where that is learned.
            text: of this process's captions.
            video: of its videos, row i belonging to caption i.
            video_ids: (b,) int64; rows of equal id are never each other's negatives.
            step: optimiser step, for the partial orders' late start.
            team: the processes; their batches one after the other are the batch.
            counts: pairs of each process that count, B in all; a process's further rows are ballast, there because
                no process may stand aside. None: all rows of the one process there is.
        """
        counts = [len(text)] if counts is None else counts
        own = slice(0, counts[team.rank])
        scale = self._scale(model)
        everyone = VideoFeatures(team.rows(video.frame_features[own], counts), team.rows(video.frame_mask[own], counts))
        similarity = team.rows(model.similarity(text, everyone)[own], counts)
        video_ids = team.rows(video_ids[own], counts)
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
            found = [team.rows(x.T[own], counts).T for x in (orders.positive, orders.negative, orders.valid)]
            for name, positive, negative, valid in zip(ORDERS, *found, strict=True):
                missing = triplet_partial_margin(positive, negative, valid, self.config.partial_margin)
                parts[name] = missing.detach()
                total = total + self.config.partial_weight * missing
        return Loss(total, parts)

    def _scale(self, model: RetrievalModel) -> float | Tensor:
        if self.config.logit_scale != "learned":
            return float(self.config.logit_scale)
        return torch.exp(model.backbone.logit_scale.float()).clamp(max=LARGEST_SCALE)

"""TPM-CL, triplet partial margin contrastive learning: a pair should outscore itself without its main tokens.

Paper: arXiv 2309.11082, section 3.4; method, section 7. Only matched pairs are looked at, so the cost is O(B).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from tvrkit.core.cross_weights import PREDICTORS, select_tokens
from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.masking import require_real, widen, zero_pads

__all__ = ["PartialOrders", "TripletPartial", "select_tokens", "sentence_similarity"]


@dataclass(frozen=True)
class PartialOrders:
    """Three partial orders of B matched pairs: `positive` should lie above `negative`.

    With V the frames, V' the frames without the main ones, t_g the weighted mean of the words and t_g' that of the
    words without the main ones:
    0. s(sentence, V) over s(sentence, V'); 1. s(t_g, V) over s(t_g, V'); 2. s(t_g, V) over s(t_g', V).

    Attributes:
        positive: (3, B) float32.
        negative: (3, B) float32.
        valid: (3, B) bool, False where nothing was removed, so that there is no negative.
    """

    positive: Tensor
    negative: Tensor
    valid: Tensor


class TripletPartial(nn.Module):
    """Makes the partial orders of matched pairs; `losses.triplet_partial_margin` turns them into a loss.

    Words are weighted from the frames, frames from the sentence. The frame weights only choose what is removed, and
    choosing has no slope: no gradient can reach the frame predictor (in the authors' code neither), so its
    parameters are declared frozen and keep their first values.
    """

    def __init__(
        self,
        dim: int,
        num_frames: int,
        max_words: int,
        predictor: Literal["linear", "attention"] = "linear",
        threshold: float = 0.6,
    ) -> None:
        """Build both cross-weight predictors.

        Args:
            dim: feature dimension D.
            num_frames: most frames of a video.
            max_words: most tokens of a text.
            predictor: `linear` (the paper's default) or `attention`.
            threshold: cumulative weight below which the most important tokens are removed; above 0, at most 1.
        """
        super().__init__()
        self.num_frames, self.max_words, self.threshold = num_frames, max_words, threshold
        self.word_weights = PREDICTORS[predictor](dim, num_frames, max_words)
        self.frame_weights = PREDICTORS[predictor](dim, 1, num_frames).requires_grad_(False)

    def forward(self, text: TextFeatures, video: VideoFeatures) -> PartialOrders:
        """Partial orders of B pairs, text i with video i, in float32 even under autocast.

        Raises:
            ValueError: different numbers of texts and videos, more tokens than it was built for, or an empty row.
        """
        word_mask, frame_mask = text.word_mask, video.frame_mask
        if len(text) != len(video):
            raise ValueError(f"{len(text)} texts and {len(video)} videos are no matched pairs")
        if word_mask.shape[1] > self.max_words or frame_mask.shape[1] > self.num_frames:
            raise ValueError(
                f"{word_mask.shape[1]} words and {frame_mask.shape[1]} frames, built for at most"
                f" {self.max_words} and {self.num_frames}"
            )
        require_real(word_mask, "word_mask")
        require_real(frame_mask, "frame_mask")
        with torch.autocast(video.frame_features.device.type, enabled=False):
            return self._orders(
                widen(text.text_features),
                zero_pads(widen(text.word_features), word_mask),
                word_mask,
                zero_pads(widen(video.frame_features), frame_mask),
                frame_mask,
            )

    def _orders(
        self, sentence: Tensor, words: Tensor, word_mask: Tensor, frames: Tensor, frame_mask: Tensor
    ) -> PartialOrders:
        word_weights = self.word_weights(frames, frame_mask, words, word_mask)
        one = frame_mask.new_ones(len(sentence), 1)
        with torch.no_grad():  # Choosing tokens has no slope.
            frame_weights = self.frame_weights(sentence.unsqueeze(1), one, frames, frame_mask)
            kept_words = select_tokens(word_weights, word_mask, self.threshold)
            kept_frames = select_tokens(frame_weights, frame_mask, self.threshold)
        whole = _weighted_mean(word_weights, words)
        partial = _weighted_mean(word_weights.masked_fill(~kept_words, 0.0), words)
        by_words = sentence_similarity(whole, frames, frame_mask)
        positive = [sentence_similarity(sentence, frames, frame_mask), by_words, by_words]
        negative = [
            sentence_similarity(sentence, frames, kept_frames),
            sentence_similarity(whole, frames, kept_frames),
            sentence_similarity(partial, frames, frame_mask),
        ]
        lost_frame = (kept_frames != frame_mask).any(dim=1)
        lost_word = (kept_words != word_mask).any(dim=1)
        return PartialOrders(
            torch.stack(positive), torch.stack(negative), torch.stack([lost_frame, lost_frame, lost_word])
        )


def sentence_similarity(vectors: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """Mean of the best and of the average similarity of each vector (B, D) with its own frames (B, F, D): (B,)."""
    scores = (frames @ vectors.unsqueeze(-1)).squeeze(-1)
    best = scores.masked_fill(~mask, -torch.inf).amax(dim=1)
    average = scores.masked_fill(~mask, 0.0).sum(dim=1) / mask.sum(dim=1)
    return 0.5 * (best + average)


def _weighted_mean(weights: Tensor, tokens: Tensor) -> Tensor:
    return normalize((weights.unsqueeze(1) @ tokens).squeeze(1), dim=-1)

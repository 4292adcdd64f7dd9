"""Similarity of texts and videos: pooled vectors, or token by token with textual and visual attention.

Paper: arXiv 2309.11082, section 3 (dual-modal attention). Letters: T texts, V videos, W words, F frames, D dimension.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.late_interaction import late_interaction
from tvrkit.core.masking import require_real, widen, zero_pads

# Without gradients, pairs of this many texts and videos at a time: what is copied to lay them out stays small.
_TEXTS_AT_ONCE, _VIDEOS_AT_ONCE = 1024, 4096


def nearest_frames(frame_features: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Each frame's nearest other frame in its video: what visual attention needs, and it depends on the video alone.

    Args:
        frame_features: (V, F, D) L2-normalised.
        frame_mask: (V, F) bool.

    Returns:
        g (V, F), the similarity with the nearest frame, and nb (V, F) int64, its position. The similarity with
        itself counts as 0, so g >= 0, and it is 0 for a lone frame, where all others point away, and on pads.
    """
    frames = widen(zero_pads(frame_features, frame_mask))
    with torch.autocast(frames.device.type, enabled=False):
        between = frames @ frames.transpose(1, 2)
    itself = torch.eye(frames.shape[1], dtype=torch.bool, device=frames.device)
    others = between.masked_fill(~frame_mask[:, None, :] & ~itself, -torch.inf).masked_fill(itself, 0.0)
    gain, neighbour = others.max(dim=2)
    return gain.masked_fill(~frame_mask, 0.0), neighbour


def pooling_weights(mask: Tensor, weights: Tensor) -> Tensor:
    """Weights (N, L) >= 0 divided by their sum over the real tokens of mask (N, L); 0 on pads.

    Raises:
        ValueError: a row has no real token, or its weights add up to nothing.
    """
    require_real(mask, "mask")
    weights = widen(weights).masked_fill(~mask, 0.0)
    total = weights.sum(dim=1, keepdim=True)
    if bool((total <= 0).any()):
        raise ValueError("the weights of a row add up to nothing: every real token needs a weight above 0")
    return weights / total


class TokenWeights(nn.Module):
    """How much each token counts: a small MLP on each, and a softmax over the real ones (`weighted_token_wise`)."""

    def __init__(self, dim: int, layers: int) -> None:
        """One to three linear layers of width `dim`, ReLU between them, the last one to a single number."""
        super().__init__()
        steps: list[nn.Module] = []
        for _ in range(layers - 1):
            steps += [nn.Linear(dim, dim), nn.ReLU()]
        self.mlp = nn.Sequential(*steps, nn.Linear(dim, 1))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Weights (N, L) float32 that add up to 1 over the real tokens of features (N, L, D), mask (N, L)."""
        require_real(mask, "mask")
        logits = widen(self.mlp(zero_pads(features, mask)).squeeze(-1))
        return logits.masked_fill(~mask, -torch.inf).softmax(dim=1)


class Interaction(nn.Module):
    """Similarity (T, V) of text and video features, one of three kinds.

    - `dot_product`: sentence against the mean of the frames (CLIP4Clip, meanP).
    - `token_wise`: mean over words of the best frame and over frames of the best word, halved.
    - `weighted_token_wise`: the same with learned weights in place of the means (DRL).

    The word weights of the text (2 on key words) enter as they are: textual attention is the tokenizer's business.
    """

    def __init__(
        self,
        dim: int,
        *,
        interaction: Literal["dot_product", "token_wise", "weighted_token_wise"] = "token_wise",
        text_side: Literal["sentence", "words", "both"] = "both",
        nearest_frame: bool = False,
        weight_layers: int = 2,
        chunk: int | None = None,
    ) -> None:
        """Build one kind.

        Args:
            dim: feature dimension D.
            interaction: the kind.
            text_side: what meets the frames token by token: the sentence as one word, the words, or the mean of both
                (the paper's dual form).
            nearest_frame: visual attention, see `nearest_frames`.
            weight_layers: linear layers of the weighing MLPs.
            chunk: word-frame similarities held at once; None chooses by device.
        """
        super().__init__()
        self.kind, self.text_side, self.nearest_frame, self.chunk = (
            interaction,
            text_side,
            nearest_frame,
            chunk,
        )
        weighted = interaction == "weighted_token_wise"
        # One MLP for sentence and words: alone in its softmax, the sentence weighs 1 whatever the MLP says.
        self.word_weights = TokenWeights(dim, weight_layers) if weighted and text_side != "sentence" else None
        self.frame_weights = TokenWeights(dim, weight_layers) if weighted else None

    def forward(self, text: TextFeatures, video: VideoFeatures, nearest: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Similarity (T, V), unscaled, float32 even under autocast; about -1 to 1 (to 1.5 with visual attention).

        Args:
            text: T texts.
            video: V videos.
            nearest: `nearest_frames` of these videos if it is known already, as in an index.

        Raises:
            ValueError: a text without a word, or a video without a frame.
        """
        if len(text) == 0 or len(video) == 0:
            return text.text_features.new_zeros(len(text), len(video), dtype=torch.float32)
        if torch.is_grad_enabled():
            return self._block(text, video, nearest)
        rows = []
        for t in range(0, len(text), _TEXTS_AT_ONCE):
            columns = []
            for v in range(0, len(video), _VIDEOS_AT_ONCE):
                part = slice(v, v + _VIDEOS_AT_ONCE)
                near = None if nearest is None else (nearest[0][part], nearest[1][part])
                columns.append(self._block(text[t : t + _TEXTS_AT_ONCE], video[part], near))
            rows.append(torch.cat(columns, dim=1))
        return torch.cat(rows)

    def best_frame(self, text: TextFeatures, video: VideoFeatures) -> Tensor:
        """Position (T, V) int64 of the frame that, were it the whole video, would score highest with the text."""
        frames, mask = video.frame_features, video.frame_mask
        require_real(mask, "frame_mask")
        alone = zero_pads(frames, mask).flatten(0, 1).unsqueeze(1)
        single = torch.ones(len(alone), 1, dtype=torch.bool, device=mask.device)
        # A lone frame has no neighbour, so visual attention has no say here.
        scores = self(text, VideoFeatures(alone, single), (alone.new_zeros(len(alone), 1), single.long() * 0))
        return scores.view(len(text), *mask.shape).masked_fill(~mask, -torch.inf).argmax(dim=2)

    def _block(self, text: TextFeatures, video: VideoFeatures, nearest: tuple[Tensor, Tensor] | None) -> Tensor:
        if self.kind == "dot_product":
            return _pooled_similarity(text, video)
        frames, frame_mask = video.frame_features, video.frame_mask
        if self.frame_weights is not None:
            frame_pool = self.frame_weights(frames, frame_mask)
        else:
            frame_pool = pooling_weights(frame_mask, frame_mask)
        if self.nearest_frame and nearest is None:
            nearest = nearest_frames(frames, frame_mask)
        elif not self.nearest_frame:
            nearest = None
        halves = []
        if self.text_side != "words":
            sentence = text.text_features.unsqueeze(1)
            one = torch.ones(len(sentence), 1, dtype=torch.bool, device=sentence.device)
            halves.append((sentence, one, one.float()))
        if self.text_side != "sentence":
            words, word_mask = text.word_features, text.word_mask
            if self.word_weights is None:
                word_pool = pooling_weights(word_mask, text.word_weights)
            else:
                word_pool = self.word_weights(words, word_mask) * text.word_weights
            halves.append((words, word_mask, word_pool))
        scores = [
            late_interaction(*half, frames, frame_mask, frame_pool, nearest=nearest, chunk=self.chunk)
            for half in halves
        ]
        return torch.stack(scores).mean(dim=0)


def _pooled_similarity(text: TextFeatures, video: VideoFeatures) -> Tensor:
    require_real(video.frame_mask, "frame_mask")
    frames = widen(zero_pads(video.frame_features, video.frame_mask))
    # The mean's length is lost in normalising, so the sum does.
    pooled = functional.normalize(frames.sum(dim=1), dim=-1)
    with torch.autocast(pooled.device.type, enabled=False):
        return widen(text.text_features) @ pooled.T

"""Similarity of texts and videos: pooled vectors, or token by token with textual and visual attention.

Paper: arXiv 2309.11082, section 3 (dual-modal attention). Letters: T texts, V videos, W words, F frames, D dimension.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.late_interaction import late_interaction
from tvrkit.core.masking import require_real, widen, zero_pads

# Without gradients, pairs of this many texts and videos at a time: what is copied to lay them out stays small.
_TEXTS_AT_ONCE, _VIDEOS_AT_ONCE = 128, 4096

# Without gradients, numbers that a step over texts or videos alone may hold at once (1 MB as float32).
_AT_ONCE = 2**18


def nearest_frames(frame_features: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Each frame's nearest other frame in its video: what visual attention needs, and it depends on the video alone.

    Args:
        frame_features: (V, F, D) L2-normalised.
        frame_mask: (V, F) bool.

    Returns:
        g (V, F), the similarity with the nearest frame, and nb (V, F) int64, its position. The similarity with
        itself counts as 0, so g >= 0, and it is 0 for a lone frame, where all others point away, and on pads.
    """
    step = max(1, _AT_ONCE // max(1, frame_features[:1].numel()))
    if len(frame_features) > step and not torch.is_grad_enabled():
        parts = [nearest_frames(*part) for part in zip(frame_features.split(step), frame_mask.split(step), strict=True)]
        return torch.cat([gain for gain, _ in parts]), torch.cat([neighbour for _, neighbour in parts])
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
        if torch.is_grad_enabled():
            logits = widen(self.mlp(zero_pads(features, mask)).squeeze(-1))
            return logits.masked_fill(~mask, -torch.inf).softmax(dim=1)
        # Of the real tokens alone, and some at a time: the layers between are as wide as the features.
        weight = next(self.mlp.parameters())
        logits = torch.full(mask.shape, -torch.inf, dtype=widen(weight[:0]).dtype, device=mask.device)
        step = max(1, _AT_ONCE // max(1, features[:1].numel()))
        for some, real, into in zip(features.split(step), mask.split(step), logits.split(step), strict=True):
            into[real] = self.mlp(some[real].to(weight.dtype)).squeeze(-1).to(logits.dtype)
        return logits.softmax(dim=1)


class _Videos(NamedTuple):
    """What of videos does not depend on the texts."""

    frames: Tensor  # (V, F, D), or (V, D) pooled for `dot_product`
    mask: Tensor  # (V, F)
    pool: Tensor | None  # (V, F)
    nearest: tuple[Tensor, Tensor] | None


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
        """Similarity (T, V), unscaled, float32 even under autocast; about -1 to 1 (above 1 with visual attention).

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
            return self._meet(text, self._videos(video, nearest))
        blocks = []
        # Texts of about one length together, as the kernel likes them best.
        order = text.word_mask.sum(dim=1).argsort(descending=True, stable=True)
        for v in range(0, len(video), _VIDEOS_AT_ONCE):
            part = slice(v, v + _VIDEOS_AT_ONCE)
            videos = self._videos(video[part], None if nearest is None else (nearest[0][part], nearest[1][part]))
            if len(text) <= _TEXTS_AT_ONCE:
                blocks.append(self._meet(text, videos))
                continue
            block = videos.frames.new_empty(len(text), len(videos.frames), dtype=_dtype(text, videos.frames))
            for rows in order.split(_TEXTS_AT_ONCE):
                block[rows] = self._meet(_some(text, rows), videos)
            blocks.append(block)
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)

    def best_frame(self, text: TextFeatures, video: VideoFeatures) -> Tensor:
        """Position (T, V) int64 of the frame that, were it the whole video, would score highest with the text."""
        return self.frame_scores(text, video).argmax(dim=2)

    def frame_scores(self, text: TextFeatures, video: VideoFeatures) -> Tensor:
        """What each frame would score with the text, were it the whole video: (T, V, F), -inf on pads."""
        frames, mask = video.frame_features, video.frame_mask
        require_real(mask, "frame_mask")
        alone = zero_pads(frames, mask).flatten(0, 1).unsqueeze(1)
        single = torch.ones(len(alone), 1, dtype=torch.bool, device=mask.device)
        # A lone frame has no neighbour, so visual attention has no say here.
        scores = self(text, VideoFeatures(alone, single), (alone.new_zeros(len(alone), 1), single.long() * 0))
        return scores.view(len(text), *mask.shape).masked_fill(~mask, -torch.inf)

    def _videos(self, video: VideoFeatures, nearest: tuple[Tensor, Tensor] | None) -> _Videos:
        frames, mask = video.frame_features, video.frame_mask
        if self.kind == "dot_product":
            return _Videos(_pooled(frames, mask), mask, None, None)
        if self.frame_weights is not None:
            pool = self.frame_weights(frames, mask)
        else:
            pool = pooling_weights(mask, mask.to(widen(frames[:0]).dtype))
        if self.nearest_frame and nearest is None:
            nearest = nearest_frames(frames, mask)
        return _Videos(frames, mask, pool, nearest if self.nearest_frame else None)

    def _meet(self, text: TextFeatures, videos: _Videos) -> Tensor:
        """Similarity (T, V) of a block."""
        dtype = _dtype(text, videos.frames)
        if videos.pool is None:
            with torch.autocast(videos.frames.device.type, enabled=False):
                return text.text_features.to(dtype) @ videos.frames.to(dtype).T
        halves = []
        if self.text_side != "words":
            sentence = text.text_features.unsqueeze(1)
            one = torch.ones(len(sentence), 1, dtype=torch.bool, device=sentence.device)
            halves.append((sentence, one, one.to(dtype)))
        if self.text_side != "sentence":
            words, word_mask = text.word_features, text.word_mask
            if self.word_weights is None:
                word_pool = pooling_weights(word_mask, text.word_weights.to(dtype))
            else:
                word_pool = self.word_weights(words, word_mask) * text.word_weights
            halves.append((words, word_mask, word_pool))
        scores = [
            late_interaction(*half, videos.frames, videos.mask, videos.pool, nearest=videos.nearest, chunk=self.chunk)
            for half in halves
        ]
        return scores[0] if len(scores) == 1 else torch.stack(scores).mean(dim=0)


def _some(text: TextFeatures, rows: Tensor) -> TextFeatures:
    """Some texts, without the columns in which all of them have pads."""
    used = text.word_mask[rows].any(dim=0).nonzero()
    width = int(used.max()) + 1 if len(used) else 1
    words = (text.word_features, text.word_mask, text.word_weights)
    return TextFeatures(text.text_features[rows], *(tensor[:, :width].index_select(0, rows) for tensor in words))


def _dtype(text: TextFeatures, frames: Tensor) -> torch.dtype:
    """float32, or float64 where the texts or the videos are."""
    return torch.promote_types(widen(text.text_features[:0]).dtype, widen(frames[:0]).dtype)


def _pooled(frames: Tensor, mask: Tensor) -> Tensor:
    """Direction (V, D) of the mean of the real frames."""
    require_real(mask, "frame_mask")
    # The mean's length is lost in normalising, so the sum does.
    return functional.normalize(widen(zero_pads(frames, mask)).sum(dim=1), dim=-1)

"""What the model makes of texts and of videos, as values with checked shapes.

Letters: T texts, V videos, W words, F frames, D feature dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

_Features = TypeVar("_Features", "Tokens", "TextFeatures", "VideoFeatures")


@dataclass(frozen=True)
class Tokens:
    """Texts as token ids.

    Attributes:
        ids: (T, L) int64, as the backbone's text tower takes them; L >= W.
        word_mask: (T, W) bool, True on real tokens (start and end included), W = `max_words`.
        word_weights: (T, W) float32, m of the paper: 0 on pads, 1 on tokens, 2 on the tokens of key words.
    """

    ids: Tensor
    word_mask: Tensor
    word_weights: Tensor

    def __post_init__(self) -> None:
        texts, words = self.word_mask.shape
        _check("ids", self.ids, (texts, None))
        _check("word_weights", self.word_weights, (texts, words))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice | Tensor) -> Tokens:
        return _map(self, lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> Tokens:
        """The same on another device."""
        return _map(self, lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True)
class TextFeatures:
    """L2-normalised text features.

    Attributes:
        text_features: (T, D), one vector a text: the projected end-of-text state.
        word_features: (T, W, D), one a token; what stands under a False of the mask has no meaning.
        word_mask: (T, W) bool, True = real.
        word_weights: (T, W) float32, as in `Tokens`.
    """

    text_features: Tensor
    word_features: Tensor
    word_mask: Tensor
    word_weights: Tensor

    def __post_init__(self) -> None:
        texts, words, dim = self.word_features.shape
        _check("text_features", self.text_features, (texts, dim))
        _check("word_mask", self.word_mask, (texts, words))
        _check("word_weights", self.word_weights, (texts, words))

    def __len__(self) -> int:
        return len(self.text_features)

    def __getitem__(self, rows: slice | Tensor) -> TextFeatures:
        return _map(self, lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> TextFeatures:
        """The same on another device."""
        return _map(self, lambda tensor: tensor.to(device))


@dataclass(frozen=True)
class VideoFeatures:
    """L2-normalised frame features of videos.

    Attributes:
        frame_features: (V, F, D); what stands under a False of the mask has no meaning.
        frame_mask: (V, F) bool, True = real; at least one a video.
    """

    frame_features: Tensor
    frame_mask: Tensor

    def __post_init__(self) -> None:
        videos, frames, _ = self.frame_features.shape
        _check("frame_mask", self.frame_mask, (videos, frames))

    def __len__(self) -> int:
        return len(self.frame_features)

    def __getitem__(self, rows: slice | Tensor) -> VideoFeatures:
        return _map(self, lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> VideoFeatures:
        """The same on another device."""
        return _map(self, lambda tensor: tensor.to(device))


def concatenate(parts: list[_Features]) -> _Features:
    """Join features of several batches along their first axis."""
    first = parts[0]
    joined = {f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(first)}
    return type(first)(**joined)


def _map(features: _Features, function: object) -> _Features:
    changed = {f.name: function(getattr(features, f.name)) for f in fields(features)}  # type: ignore[operator]
    return type(features)(**changed)


def _check(name: str, tensor: Tensor, shape: tuple[int | None, ...]) -> None:
    good = tensor.ndim == len(shape) and all(n is None or n == m for n, m in zip(shape, tensor.shape, strict=False))
    if not good:
        wanted = ", ".join("*" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {tuple(tensor.shape)}")

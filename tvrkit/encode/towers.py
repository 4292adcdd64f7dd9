"""The model's towers over captions, over raw frame features and over pixels: evaluation mode, no gradient, on the CPU.

Letters: T texts, V videos, F frames, R width of raw frame features (`EncodedFrames`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tvrkit.core.features import TextFeatures, VideoFeatures, concatenate
from tvrkit.core.model import RetrievalModel
from tvrkit.manifest import Span


@torch.no_grad()
def encode_texts(
    model: RetrievalModel,
    captions: Sequence[str],
    key_words: Sequence[Sequence[Span]] | None = None,
    batch_size: int = 256,
) -> TextFeatures:
    """Features of captions, on the CPU.

    Args:
        model: put into evaluation mode while this runs.
        captions: T of them, at least one.
        key_words: the character spans of each caption's key words; None tags them here if the model weighs them.
        batch_size: captions at a time; it changes speed and memory, not the result.
    """
    parts = []
    with evaluating(model):
        for start in range(0, len(captions), batch_size):
            stop = start + batch_size
            tokens = model.tokenize(captions[start:stop], None if key_words is None else key_words[start:stop])
            parts.append(model.encode_text(tokens.to(model.device)).to("cpu"))
    return concatenate(parts)


@torch.no_grad()
def encode_videos(model: RetrievalModel, frames: Tensor, frame_mask: Tensor, batch_size: int = 128) -> VideoFeatures:
    """Features of videos (temporal encoder and normalisation) from raw frame features (V, F, R), on the CPU."""
    parts = []
    with evaluating(model):
        for start in range(0, len(frames), batch_size):
            rows = slice(start, start + batch_size)
            part = model.encode_video(frames[rows].to(model.device), frame_mask[rows].to(model.device))
            parts.append(part.to("cpu"))
    return concatenate(parts)


@torch.no_grad()
def encode_pixels(model: RetrievalModel, pixels: Tensor, frame_mask: Tensor) -> Tensor:
    """Raw features (V, F, R) float32 of preprocessed frames (V, F, 3, H, W), on the CPU and in full precision.

    On a CPU one video at a time: that is as fast, and a video's features are then the same to the last bit whatever
    shares its batch. On a GPU all at once.
    """
    step = 1 if model.device.type == "cpu" else max(1, len(pixels))
    parts = []
    with evaluating(model), torch.autocast(model.device.type, enabled=False):
        for start in range(0, len(pixels), step):
            rows = slice(start, start + step)
            features = model.encode_frames(pixels[rows].to(model.device), frame_mask[rows].to(model.device))
            parts.append(features.float().cpu())
    return torch.cat(parts)


class evaluating:
    """Evaluation mode for as long as it lasts."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._modes = [(module, module.training) for module in self._model.modules()]
        self._model.eval()

    def __exit__(self, *exception: object) -> None:
        for module, training in self._modes:
            module.training = training

"""The model package: every command uses it, and it knows no command."""

from __future__ import annotations

from tvrkit.core.checkpoint import load_model, save_model
from tvrkit.core.features import TextFeatures, Tokens, VideoFeatures
from tvrkit.core.model import RetrievalModel, build_model

__all__ = [
    "RetrievalModel",
    "TextFeatures",
    "Tokens",
    "VideoFeatures",
    "build_model",
    "load_model",
    "save_model",
]

"""The model package: every command uses it, and it knows no command.

Its names are looked up when somebody asks for them: torch takes seconds to import, and a list of backbones needs none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "load_model": "checkpoint",
    "save_model": "checkpoint",
    "TextFeatures": "features",
    "Tokens": "features",
    "VideoFeatures": "features",
    "RetrievalModel": "model",
    "build_model": "model",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"tvrkit.core.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'tvrkit.core' has no attribute {name!r}")

"""Features of a judge's sentences, kept from one command to the next: a large text tower reads 256 in many seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tvrkit.core import RetrievalModel, TextFeatures
from tvrkit.encode import encode_texts
from tvrkit.files import atomic_path
from tvrkit.index.calibration import model_digest
from tvrkit.workspace import cache_folder


def bank_features(model: RetrievalModel, sentences: Sequence[str]) -> TextFeatures:
    """`encode_texts` of some sentences, out of the cache where it has them; on the CPU."""
    path = _path(model, sentences)
    kept = _read(path, len(sentences), model.backbone.dim)
    if kept is not None:
        return kept
    encoded = encode_texts(model, sentences)
    try:
        with atomic_path(path) as temporary:
            save_file({field.name: getattr(encoded, field.name).contiguous() for field in fields(encoded)}, temporary)
    except (OSError, SafetensorError):
        pass  # it only saves time
    return encoded


def _path(model: RetrievalModel, sentences: Sequence[str]) -> Path:
    name = hashlib.blake2b(json.dumps([model_digest(model), *sentences]).encode(), digest_size=16).hexdigest()
    return cache_folder() / "banks" / f"{name}.safetensors"


def _read(path: Path, count: int, dim: int) -> TextFeatures | None:
    try:
        features = TextFeatures(**load_file(path))
    except (OSError, SafetensorError, ValueError, TypeError):
        return None
    return features if features.text_features.shape == (count, dim) else None

"""A small model with random weights and a folder of real clips, for tests of search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from backbones import write_backbone
from media import make_video

from tvrkit.config import ModelConfig
from tvrkit.core import RetrievalModel, build_model, save_model


def make_model(folder: Path, *, seed: int = 0, **settings: Any) -> RetrievalModel:
    """Build a model and save it in `folder`; the same seed gives the same weights."""
    torch.manual_seed(seed)
    config = {"num_frames": 4, "max_words": 16, "interaction": "token_wise", **settings}
    backbone = write_backbone(folder.with_name(f"{folder.name}-backbone"))
    model = build_model(ModelConfig(backbone=str(backbone), pretrained=None, **config))
    save_model(model, folder)
    return model


def make_clips(folder: Path, names: tuple[str, ...] = ("a.mp4", "sub/b.mkv", "sub/deep/c.webm", "d.mov")) -> Path:
    """Write clips of different lengths and pictures."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
        # Each clip starts at another number, so that no two show the same pictures.
        times = [i / 10 for i in range(10 + 5 * number)]
        make_video(path, times=times, fps=10, codec=codec, size=(64 + 16 * number, 64), noise=6 + 20 * number)
    return folder

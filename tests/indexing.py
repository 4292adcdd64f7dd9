"""Moments that can be made again from a number, and comparisons to the bit, for tests of indexes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from tvrkit.core import RetrievalModel
from tvrkit.encode.moments import POOLED, VideoMoments
from tvrkit.frames.moment_request import Cutting
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.video_index import IndexMeta, VideoIndex

DIM = 8


def make_moments(number: int, moments: int = 2, frames: int = 3, dim: int = DIM) -> VideoMoments:
    """Moments of a video that is nobody's; odd ones have a note."""
    random = torch.Generator().manual_seed(number)
    n = moments * frames
    starts = torch.arange(moments, dtype=torch.float64) * 10
    return VideoMoments(
        spans=torch.stack([starts, starts + 9], dim=1),
        counts=torch.full((moments,), frames),
        frame_features=functional.normalize(torch.randn(n, dim, generator=random), dim=-1).half(),
        pts_seconds=torch.rand(n, generator=random, dtype=torch.float64),
        nearest_gain=torch.rand(n, generator=random),
        nearest_frame=torch.randint(0, frames, (n,), generator=random).short(),
        pooled=functional.normalize(torch.randn(moments, POOLED, dim, generator=random), dim=-1).half(),
        duration_seconds=10.0 * moments + number / 7,
        note=f"odd {number}" if number % 2 else None,
    )


def make_meta(**changes: Any) -> IndexMeta:
    """What an index of `make_moments` shares."""
    return IndexMeta(
        **{"fingerprint": "f" * 32, "model": "some/model", "dim": DIM, "num_frames": 3, "cutting": Cutting()} | changes
    )


def meta_of(model: RetrievalModel, name: str | Path = "model", cutting: Cutting = Cutting()) -> IndexMeta:
    """What an index of a model shares."""
    return IndexMeta(model.fingerprint(), str(name), model.backbone.dim, model.config.num_frames, cutting)


def open_new(folder: Path, meta: IndexMeta | None = None) -> SegmentIndex:
    """An index in a folder, made where it is not there."""
    return SegmentIndex(str(folder), meta or make_meta(), create=True)


def rows_of(index: VideoIndex) -> dict[str, VideoMoments]:
    """All that is encoded."""
    return dict(index.iter_videos())


def assert_same(found: Mapping[str, VideoMoments], wanted: Mapping[str, VideoMoments]) -> None:
    """The same videos with the same rows, to the bit."""
    assert found.keys() == wanted.keys()
    for identity, video in wanted.items():
        for field in fields(VideoMoments):
            own, other = getattr(found[identity], field.name), getattr(video, field.name)
            if isinstance(other, torch.Tensor):
                assert own.dtype == other.dtype and torch.equal(own, other), (identity, field.name)
            else:
                assert own == other, (identity, field.name)

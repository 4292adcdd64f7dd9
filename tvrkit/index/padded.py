"""Frames of single moments, as a second stage takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tvrkit.core import VideoFeatures
from tvrkit.index.engine import MomentFeatures, MomentRef


def padded(refs: Sequence[MomentRef], rows: Sequence[Mapping[str, np.ndarray]], dim: int) -> MomentFeatures:
    """Moments side by side, as long as the longest.

    Args:
        refs: n moments.
        rows: of each `frame_features` (F, D) float16, `nearest_gain`, `nearest_frame` and `pts_seconds` (F,), and
            `span` (2,).
        dim: D.
    """
    counts = np.array([len(row["frame_features"]) for row in rows], np.int64)
    shape = (len(rows), int(counts.max(initial=1)))
    features = np.zeros((*shape, dim), np.float16)
    gain, neighbour = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    pts, spans = np.zeros(shape), np.zeros((len(rows), 2))
    for i, (row, count) in enumerate(zip(rows, counts.tolist(), strict=True)):
        features[i, :count] = row["frame_features"]
        gain[i, :count], neighbour[i, :count] = row["nearest_gain"], row["nearest_frame"]
        pts[i, :count], spans[i] = row["pts_seconds"], row["span"]
    return MomentFeatures(
        refs=tuple(refs),
        features=VideoFeatures(
            torch.from_numpy(features).float(), torch.from_numpy(np.arange(shape[1]) < counts[:, None])
        ),
        nearest=(torch.from_numpy(gain), torch.from_numpy(neighbour)),
        pts_seconds=torch.from_numpy(pts),
        spans=torch.from_numpy(spans),
    )

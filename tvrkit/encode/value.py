"""Raw frame features of many videos as one value: made, joined, and gathered from several processes.

Letters: V videos, F frames, R width of raw features: D, or that of an image tower's trunk below its projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tvrkit.data import pad_frames
from tvrkit.distributed import Team
from tvrkit.errors import VideoError

_AT_ONCE = 1024  # videos of each process that travel together


@dataclass(frozen=True)
class EncodedFrames:
    """Raw frame features of the videos that could be read.

    Attributes:
        rows: (V,) int64, position of each video in the requests; ascending.
        frame_features: (V, F, R) float32, not normalised, 0 where the mask is False.
        frame_mask: (V, F) bool, True = real; at least one a video.
        pts_seconds: (V, F) float64, time of each frame in its file, NaN where the mask is False.
        duration_seconds: (V,) float64, length of the whole file.
        failures: row -> error of the videos that are missing from the rest.
    """

    rows: Tensor
    frame_features: Tensor
    frame_mask: Tensor
    pts_seconds: Tensor
    duration_seconds: Tensor
    failures: dict[int, VideoError]

    def __len__(self) -> int:
        return len(self.rows)


def padded(
    rows: Sequence[int],
    features: Sequence[Tensor],
    pts: Sequence[Tensor],
    durations: Sequence[float],
    failures: dict[int, VideoError],
    num_frames: int,
    dim: int,
) -> EncodedFrames:
    """Pad what belongs to each video into one value; no video at all gives tensors of length 0."""
    if not rows:
        frames, mask = torch.zeros(0, num_frames, dim), torch.zeros(0, num_frames, dtype=torch.bool)
    else:
        frames, mask = pad_frames(features, num_frames)
    seconds = torch.full(mask.shape, float("nan"), dtype=torch.float64)
    for target, row in zip(seconds, pts, strict=True):
        target[: len(row)] = row
    return EncodedFrames(
        rows=torch.tensor(list(rows), dtype=torch.int64),
        frame_features=frames,
        frame_mask=mask,
        pts_seconds=seconds,
        duration_seconds=torch.tensor(list(durations), dtype=torch.float64),
        failures=failures,
    )


def renumbered(part: EncodedFrames, rows: Sequence[int]) -> EncodedFrames:
    """The same with positions in a longer list of requests, of which `rows` were encoded."""
    return replace(
        part,
        rows=torch.tensor([rows[int(row)] for row in part.rows], dtype=torch.int64),
        failures={rows[row]: error for row, error in part.failures.items()},
    )


def joined(parts: Sequence[EncodedFrames]) -> EncodedFrames:
    """All parts, at least one, as one value in the order of the requests."""
    rows = torch.cat([part.rows for part in parts])
    order = rows.argsort()
    return EncodedFrames(
        rows=rows[order],
        frame_features=torch.cat([part.frame_features for part in parts])[order],
        frame_mask=torch.cat([part.frame_mask for part in parts])[order],
        pts_seconds=torch.cat([part.pts_seconds for part in parts])[order],
        duration_seconds=torch.cat([part.duration_seconds for part in parts])[order],
        failures=dict(sorted(item for part in parts for item in part.failures.items())),
    )


def gathered(team: Team, mine: EncodedFrames) -> EncodedFrames:
    """What all processes have, in the order of the requests; their rows differ. A collective."""
    if team.size == 1:
        return mine
    failures = {row: error for part in team.objects(mine.failures) for row, error in part.items()}
    counts = team.numbers(len(mine))[:, 0].tolist()
    rows = team.rows(mine.rows, counts)
    order = rows.argsort()
    places = list(torch.empty_like(order).scatter_(0, order, torch.arange(len(order))).split(counts))

    def whole(tensor: Tensor) -> Tensor:
        everything = tensor.new_empty(len(rows), *tensor.shape[1:])
        for start in range(0, max(counts), _AT_ONCE):  # a copy of everything would double the memory
            there = [place[start : start + _AT_ONCE] for place in places]
            part = team.rows(tensor[start : start + _AT_ONCE], [len(place) for place in there])
            everything[torch.cat(there)] = part
        return everything

    return EncodedFrames(
        rows=rows[order],
        frame_features=whole(mine.frame_features),
        frame_mask=whole(mine.frame_mask),
        pts_seconds=whole(mine.pts_seconds),
        duration_seconds=whole(mine.duration_seconds),
        failures=dict(sorted(failures.items())),
    )

"""Going through every row of an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tvrkit.index.segments import SegmentIndex
from tvrkit.index.video_index import IndexMeta, VideoIndex

if TYPE_CHECKING:
    from tvrkit.encode.moments import VideoMoments

_NORM_TOLERANCE = 0.01  # float16 keeps three digits


@dataclass(frozen=True)
class Verified:
    """What a look at every row found.

    Attributes:
        videos, moments, frames: that are whole.
        problems: a sentence for each damage; what was damaged is missing now.
    """

    videos: int
    moments: int
    frames: int
    problems: tuple[str, ...]


def verify(index: VideoIndex) -> Verified:
    """Check the sums of every file and the shapes and values of every row; what is damaged is made missing.

    Raises:
        StoreError: the index cannot be read or written.
    """
    problems: list[str] = []
    if isinstance(index, SegmentIndex):  # LanceDB sees to its own files
        problems += [*index.table.check(), *index.store.verify()]
    videos = moments = frames = 0
    damaged = []
    for identity, video in index.iter_videos():
        reason = fault(video, index.meta)
        if reason:
            damaged.append(identity)
            problems.append(f"the row of the video {identity} is damaged: {reason}.")
            continue
        videos, moments, frames = videos + 1, moments + len(video), frames + len(video.pts_seconds)
    index.forget(damaged, failures_only=False)
    return Verified(videos, moments, frames, tuple(problems))


def fault(video: VideoMoments, meta: IndexMeta) -> str | None:
    """What is wrong with a row, in a few words; None when nothing is."""
    m, n = len(video.counts), len(video.frame_features)
    if video.spans.shape != (m, 2) or video.pooled.shape[::2] != (m, meta.dim):
        return "its moments do not fit together"
    shapes = {len(video.pts_seconds), len(video.nearest_gain), len(video.nearest_frame), n}
    if shapes != {int(video.counts.sum())} or video.frame_features.shape != (n, meta.dim):
        return "its frames do not fit its moments"
    if m == 0:
        return None
    if int(video.counts.min()) < 1 or int(video.counts.max()) > meta.num_frames:
        return "a moment has too few or too many frames"
    longest = video.counts.repeat_interleave(video.counts)
    if bool((video.nearest_frame < 0).any() or (video.nearest_frame >= longest).any()):
        return "a frame's neighbour is nowhere"
    for values in (video.frame_features.float(), video.pooled.float()):
        if not bool((values.norm(dim=-1) - 1).abs().max() <= _NORM_TOLERANCE):  # NaN is none of both
            return "features are not of length 1"
    times = torch.cat([video.spans.flatten(), video.pts_seconds, video.nearest_gain.double()])
    return None if bool(times.isfinite().all()) else "a time is no number"

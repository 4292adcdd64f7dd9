"""Video files to the features of their moments, which is what an index keeps.

Letters: M moments, N frames of all of them, F frames of one, P pooled vectors of one, D feature dimension.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from tvrkit.core.interaction import nearest_frames
from tvrkit.core.masking import zero_pads
from tvrkit.core.model import RetrievalModel
from tvrkit.data import pad_frames
from tvrkit.encode.towers import encode_pixels, encode_videos
from tvrkit.errors import VideoError
from tvrkit.frames.moment_request import CutPart, Cutting
from tvrkit.frames.moments import MomentPool
from tvrkit.frames.reading import Reading

POOLED = 3
"""Pooled vectors a moment: one mean of all its frames would blur what happens in turn."""

_MOMENTS_AT_ONCE = 16  # encoded together on a GPU, of one video or of several


@dataclass(frozen=True)
class VideoMoments:
    """All moments of one video, as they are indexed.

    Attributes:
        spans: (M, 2) float64, start and end in seconds; M is 0 for a video of blank frames only.
        counts: (M,) int64, frames of each, >= 1.
        frame_features: (N, D) float16, L2-normalised, after the temporal encoder.
        pts_seconds: (N,) float64.
        nearest_gain: (N,) float32, `nearest_frames` within the moment.
        nearest_frame: (N,) int16, position within the moment.
        pooled: (M, P, D) float16, see `pooled_vectors`.
        duration_seconds: of the file.
        note: what a user may want to know, such as that the end could not be read.
    """

    spans: Tensor
    counts: Tensor
    frame_features: Tensor
    pts_seconds: Tensor
    nearest_gain: Tensor
    nearest_frame: Tensor
    pooled: Tensor
    duration_seconds: float
    note: str | None = None

    def __len__(self) -> int:
        return len(self.counts)


def pooled_vectors(frame_features: Tensor, frame_mask: Tensor) -> Tensor:
    """The directions (M, P, D) of the means of the first, the middle and the last third of the frames (M, F, D).

    A moment with fewer than P frames repeats some, so that every one has P vectors. Real frames stand first.
    """
    lengths = frame_mask.sum(dim=1)
    parts = torch.arange(POOLED, device=lengths.device)
    first = parts * lengths[:, None] // POOLED  # (M, P)
    last = torch.maximum((parts + 1) * lengths[:, None] // POOLED, first + 1)
    position = torch.arange(frame_mask.shape[1], device=lengths.device)
    member = (position >= first[..., None]) & (position < last[..., None])  # (M, P, F)
    frames = zero_pads(frame_features, frame_mask)
    return functional.normalize(member.to(frames.dtype) @ frames, dim=-1)


def iter_moments(
    model: RetrievalModel,
    paths: Iterable[str],
    *,
    cutting: Cutting = Cutting(),
    reading: Reading = Reading(),
) -> Iterator[VideoMoments | VideoError]:
    """Cut, read and encode videos: one value for each path, in order.

    A video that cannot be read is a `VideoError`, never an exception; one whose end cannot be read has a note. Memory
    does not grow with the number of videos or their length, but for the features of the video in flight.

    On a CPU a video's features do not depend on what else is encoded, to the last bit.

    Args:
        model: its vision tower and temporal encoder are used.
        paths: video files.
        cutting: how they are cut.
        reading: by how many processes and with what they are read.
    """
    with MomentPool(reading, model.pixel_transform, model.config.num_frames, cutting) as pool:
        open_video = _Collected()
        waiting: list[tuple[_Collected, CutPart]] = []
        ready: list[_Collected] = []
        for part in pool.imap(paths):
            waiting.append((open_video, part))
            if part.next_seconds is None:
                ready.append(open_video)
                open_video = _Collected()
            if model.device.type == "cpu" or sum(len(p.counts) for _, p in waiting) >= _MOMENTS_AT_ONCE:
                _encode(model, waiting)
                waiting = []
                yield from (video.whole(model) for video in ready)
                ready = []
        _encode(model, waiting)
        yield from (video.whole(model) for video in ready)


@dataclass
class _Collected:
    """What is known of one video so far."""

    parts: list[CutPart] = field(default_factory=list)
    raw: list[Tensor] = field(default_factory=list)  # (m, F, D) for each part that has frames
    mask: list[Tensor] = field(default_factory=list)

    def whole(self, model: RetrievalModel) -> VideoMoments | VideoError:
        last = self.parts[-1]
        if last.error is not None and len(self.parts) == 1:
            return last.error
        good = [part for part in self.parts if part.error is None]
        notes = [part.note for part in self.parts if part.note]
        if last.error is not None:
            notes.append(f"from {last.request.from_seconds:.0f} s on: {last.error.reason}")
        spans = torch.cat([torch.as_tensor(part.spans) for part in good])
        counts = torch.cat([torch.as_tensor(part.counts) for part in good])
        duration, note = good[-1].duration_seconds, "; ".join(dict.fromkeys(notes)) or None
        if not self.raw:
            return _nothing(model.backbone.dim, duration, note)
        mask = torch.cat(self.mask)
        video = encode_videos(model, torch.cat(self.raw), mask)
        gain, neighbour = nearest_frames(video.frame_features, mask)
        return VideoMoments(
            spans=spans,
            counts=counts,
            frame_features=video.frame_features[mask].half(),
            pts_seconds=torch.cat([torch.as_tensor(part.pts_seconds) for part in good]),
            nearest_gain=gain[mask],
            nearest_frame=neighbour[mask].short(),
            pooled=pooled_vectors(video.frame_features, mask).half(),
            duration_seconds=duration,
            note=note,
        )


def _encode(model: RetrievalModel, waiting: list[tuple[_Collected, CutPart]]) -> None:
    """Raw frame features of what has been read, as few calls as the device likes."""
    filled = []
    for video, part in waiting:
        video.parts.append(part)
        if part.frames is not None and len(part.counts):
            filled.append((video, part.frames, part.counts))
    if not filled:
        return
    num_frames = waiting[0][1].request.num_frames
    moments = [m for _, frames, counts in filled for m in torch.as_tensor(frames).split(counts.tolist())]
    pixels, mask = pad_frames(moments, num_frames)
    raw = encode_pixels(model, pixels, mask)
    sizes = [len(counts) for _, _, counts in filled]
    for (video, _, _), features, real in zip(filled, raw.split(sizes), mask.split(sizes), strict=True):
        video.raw.append(features)
        video.mask.append(real)


def _nothing(dim: int, duration_seconds: float, note: str | None) -> VideoMoments:
    return VideoMoments(
        spans=torch.zeros(0, 2, dtype=torch.float64),
        counts=torch.zeros(0, dtype=torch.int64),
        frame_features=torch.zeros(0, dim, dtype=torch.float16),
        pts_seconds=torch.zeros(0, dtype=torch.float64),
        nearest_gain=torch.zeros(0),
        nearest_frame=torch.zeros(0, dtype=torch.int16),
        pooled=torch.zeros(0, POOLED, dim, dtype=torch.float16),
        duration_seconds=duration_seconds,
        note=note,
    )

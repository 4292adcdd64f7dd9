"""Moments of frames that a test chooses, an index of them, and an engine that is too simple to be wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from indexing import make_meta, meta_of, open_new
from tiny import HERE
from torch import Tensor
from torch.nn import functional

from tvrkit.core import RetrievalModel, TextFeatures, VideoFeatures
from tvrkit.core.interaction import nearest_frames
from tvrkit.data import pad_frames
from tvrkit.encode.moments import VideoMoments, iter_moments, pooled_vectors
from tvrkit.frames.identity import content_hash, find_videos
from tvrkit.index.engine import MomentFeatures, MomentRef, VideoFacts
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.video_index import FileRow, IndexMeta


def moments_of(frames: Sequence[Tensor], seconds: float = 10.0) -> VideoMoments:
    """A video of moments with these frames, (F, D) each; they follow one another, frames a second apart."""
    rows = [functional.normalize(moment.float(), dim=-1) for moment in frames]
    padded, mask = pad_frames(rows, max(map(len, rows)))
    gain, neighbour = nearest_frames(padded, mask)
    starts = torch.arange(len(rows), dtype=torch.float64) * seconds
    return VideoMoments(
        spans=torch.stack([starts, starts + seconds], dim=1),
        counts=mask.sum(dim=1),
        frame_features=padded[mask].half(),
        pts_seconds=torch.cat([start + torch.arange(len(r)) for start, r in zip(starts, rows, strict=True)]),
        nearest_gain=gain[mask],
        nearest_frame=neighbour[mask].short(),
        pooled=pooled_vectors(padded, mask).half(),
        duration_seconds=seconds * len(rows),
    )


def random_videos(count: int, dim: int = 8, seed: int = 0) -> dict[str, VideoMoments]:
    """Videos of 1 to 4 moments of 1 to 5 frames, by identity."""
    random = torch.Generator().manual_seed(seed)

    def number(most: int) -> int:
        return int(torch.randint(1, most + 1, (1,), generator=random))

    return {
        f"{seed:04x}{i:028x}": moments_of([torch.randn(number(5), dim, generator=random) for _ in range(number(4))])
        for i in range(count)
    }


def fill(index: SegmentIndex, videos: Mapping[str, VideoMoments], at_once: int = 8) -> None:
    """Put videos, so many a segment, each with one file, /v/IDENTITY.mp4."""
    names = list(videos)
    for first in range(0, len(names), at_once):
        index.put({name: videos[name] for name in names[first : first + at_once]})
    index.put_files(FileRow(f"/v/{name}.mp4", "-", 1.0, name) for name in names)


def filled(folder: Path, videos: Mapping[str, VideoMoments], meta: IndexMeta | None = None) -> SegmentIndex:
    """An index of videos, open."""
    dim = next(iter(videos.values())).frame_features.shape[1]
    index = open_new(folder, meta or make_meta(dim=dim, num_frames=12))
    fill(index, videos)
    return index


def as_text(sentence: Tensor, words: Tensor | None = None, weights: Tensor | None = None) -> TextFeatures:
    """One text of vectors (D,) and (W, D)."""
    words = sentence[None] if words is None else words
    mask = torch.ones(1, len(words), dtype=torch.bool)
    weights = torch.ones(len(words)) if weights is None else weights
    unit = functional.normalize
    return TextFeatures(unit(sentence[None], dim=-1), unit(words[None], dim=-1), mask, weights[None])


class PlainEngine:
    """`Engine` over videos in a dict, one product at a time."""

    exact = True

    def __init__(self, videos: Mapping[str, VideoMoments], fingerprint: str = "f" * 32) -> None:
        self.fingerprint, self._videos = fingerprint, videos

    def __len__(self) -> int:
        return sum(map(len, self._videos.values()))

    def facts(self) -> Mapping[str, VideoFacts]:
        return {
            name: VideoFacts((f"/v/{name}.mp4",), video.duration_seconds, 1.0, len(video))
            for name, video in self._videos.items()
        }

    def candidates(self, vectors: Tensor, count: int, allowed: Collection[str] | None = None) -> list[MomentRef]:
        scores = {}
        for ref in (ref for chunk in self.refs(allowed) for ref in chunk):
            pooled = self._videos[ref.identity].pooled[ref.moment].float()
            scores[ref] = float((vectors.float() @ pooled.T).amax(dim=1).sum())
        return sorted(scores, key=lambda ref: -scores[ref])[:count]

    def read(self, refs: Sequence[MomentRef]) -> MomentFeatures:
        rows = []
        for identity, number in refs:
            video = self._videos[identity]
            end = int(video.counts[: number + 1].sum())
            rows.append((video, slice(end - int(video.counts[number]), end), number))
        counts = [at.stop - at.start for _, at, _ in rows]
        mask = torch.arange(max(counts, default=1)) < torch.tensor(counts)[:, None]

        def padded(name: str) -> Tensor:
            parts = [getattr(video, name)[at] for video, at, _ in rows]
            wide = torch.zeros(*mask.shape, *parts[0].shape[1:], dtype=parts[0].dtype)
            wide[mask] = torch.cat(parts)
            return wide

        return MomentFeatures(
            tuple(refs),
            VideoFeatures(padded("frame_features").float(), mask),
            (padded("nearest_gain"), padded("nearest_frame").long()),
            padded("pts_seconds"),
            torch.stack([video.spans[number] for video, _, number in rows]),
        )

    def refs(self, allowed: Collection[str] | None = None, chunk: int = 1024) -> Iterator[list[MomentRef]]:
        names = [name for name in self._videos if allowed is None or name in allowed]
        refs = [MomentRef(name, number) for name in names for number in range(len(self._videos[name]))]
        for first in range(0, len(refs), chunk):
            yield refs[first : first + chunk]


def index_of(model: RetrievalModel, clips: Path, folder: Path) -> SegmentIndex:
    """The clips of a folder, indexed."""
    index, paths = open_new(folder, meta_of(model)), list(map(str, find_videos(clips)))
    names = [content_hash(path) for path in paths]
    index.put(dict(zip(names, iter_moments(model, paths, reading=HERE), strict=True)))  # type: ignore[arg-type]
    index.put_files(FileRow(path, "-", 1.0, name) for path, name in zip(paths, names, strict=True))
    return index

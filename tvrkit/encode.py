"""The model over captions and over video files, in pieces that fit in memory.

Frames come out as the backbone makes them, before the temporal encoder: what a frozen run caches and an index stores is
the same. Letters: T texts, V videos, F frames, D feature dimension.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tvrkit.core.features import TextFeatures, VideoFeatures, concatenate
from tvrkit.core.model import RetrievalModel
from tvrkit.data import pad_frames
from tvrkit.errors import VideoError
from tvrkit.frames.identity import file_identity
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reader import FrameRequest
from tvrkit.manifest import Span
from tvrkit.store import FeatureStore
from tvrkit.workspace import cache_folder

OnProgress = Callable[[int, int], None]

_LOOK_UP = 1024  # videos asked of the store at a time


@dataclass(frozen=True)
class EncodedFrames:
    """Raw frame features of the videos that could be read.

    Attributes:
        rows: (V,) int64, position of each video in the requests; ascending.
        frame_features: (V, F, D) float32, not normalised, 0 where the mask is False.
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


@torch.no_grad()
def encode_texts(
    model: RetrievalModel,
    captions: Sequence[str],
    key_words: Sequence[Sequence[Span]] | None = None,
    batch_size: int = 256,
) -> TextFeatures:
    """Features of captions, on the CPU.

    Args:
        model: put into evaluation mode while this runs.
        captions: T of them, at least one.
        key_words: the character spans of each caption's key words; None tags them here if the model weighs them.
        batch_size: captions at a time; it changes speed and memory, not the result.
    """
    parts = []
    with _evaluating(model):
        for start in range(0, len(captions), batch_size):
            stop = start + batch_size
            tokens = model.tokenize(captions[start:stop], None if key_words is None else key_words[start:stop])
            parts.append(model.encode_text(tokens.to(model.device)).to("cpu"))
    return concatenate(parts)


@torch.no_grad()
def encode_videos(model: RetrievalModel, frames: Tensor, frame_mask: Tensor, batch_size: int = 128) -> VideoFeatures:
    """Features of videos (temporal encoder and normalisation) from raw frame features (V, F, D), on the CPU."""
    parts = []
    with _evaluating(model):
        for start in range(0, len(frames), batch_size):
            rows = slice(start, start + batch_size)
            part = model.encode_video(frames[rows].to(model.device), frame_mask[rows].to(model.device))
            parts.append(part.to("cpu"))
    return concatenate(parts)


@torch.no_grad()
def iter_encoded(
    model: RetrievalModel,
    requests: Iterable[FrameRequest],
    *,
    workers: int = 2,
    reader: str = "auto",
    timeout_seconds: float = 60.0,
    batch_videos: int = 16,
) -> Iterator[EncodedFrames]:
    """Read and encode videos, a few at a time, in order; memory does not grow with their number.

    Each value covers up to `batch_videos` consecutive requests: `rows` and the keys of `failures` together are
    those requests' positions. A video that cannot be read is a failure, never an exception.

    Args:
        model: its vision tower is used; put into evaluation mode while a batch is computed.
        requests: all with the same `num_frames`.
        workers: processes that decode and preprocess; 0 does it in this one.
        reader: `auto`, `av` or `decord`.
        timeout_seconds: limit for one video.
        batch_videos: requests of one value.
    """
    with DecodePool(workers, model.transform, reader=reader, timeout_seconds=timeout_seconds) as pool:
        answers = enumerate(pool.imap(requests))
        while batch := list(itertools.islice(answers, batch_videos)):
            good = [(row, d, d.frames) for row, d in batch if d.frames is not None]
            failures = {row: decoded.error for row, decoded in batch if decoded.error is not None}
            num_frames = batch[0][1].request.num_frames
            features: list[Tensor] = []
            if good:
                pixels, mask = pad_frames([frames for _, _, frames in good], num_frames)
                encoded = encode_pixels(model, pixels, mask)
                features = [row[kept] for row, kept in zip(encoded, mask, strict=True)]
            yield _encoded(
                [row for row, _, _ in good],
                features,
                [torch.as_tensor(decoded.pts_seconds) for _, decoded, _ in good],
                [decoded.duration_seconds or 0.0 for _, decoded, _ in good],
                failures,
                num_frames,
                model.backbone.dim,
            )


def encode_frames(
    model: RetrievalModel,
    requests: Sequence[FrameRequest],
    *,
    workers: int = 2,
    reader: str = "auto",
    timeout_seconds: float = 60.0,
    batch_videos: int = 16,
    on_progress: OnProgress | None = None,
    store: FeatureStore | None = None,
) -> EncodedFrames:
    """Raw frame features of all requests at once, in order; what `store` holds is not computed again.

    The store's key is made of the file's identity, the request, and the fingerprint of the vision tower with its
    preprocessing: a changed file or another tower never meets old features. Failures are not stored, so that a
    mended file is read again.

    Args:
        model: as in `iter_encoded`.
        requests: as in `iter_encoded`.
        workers: as in `iter_encoded`.
        reader: as in `iter_encoded`.
        timeout_seconds: as in `iter_encoded`.
        batch_videos: as in `iter_encoded`.
        on_progress: called with the number of requests done and how many of those failed.
        store: where features are looked up and kept.
    """
    failures: dict[int, VideoError] = {}
    keys: dict[int, str] = {}
    num_frames = requests[0].num_frames if requests else model.config.num_frames
    parts = [_encoded([], [], [], [], {}, num_frames, model.backbone.dim)]
    if store is not None:
        keys, failures = _keys(requests, model.vision_fingerprint())
        parts.append(_stored(store, keys, num_frames, model.backbone.dim))
    known = {int(row) for part in parts for row in part.rows} | set(failures)
    todo = [row for row in range(len(requests)) if row not in known]
    done = len(known)
    if on_progress:
        on_progress(done, len(failures))
    fresh = (
        iter_encoded(
            model,
            [requests[row] for row in todo],
            workers=workers,
            reader=reader,
            timeout_seconds=timeout_seconds,
            batch_videos=batch_videos,
        )
        if todo
        else ()
    )
    for batch in fresh:
        part = _renumbered(batch, todo)
        parts.append(part)
        failures.update(part.failures)
        done += len(part) + len(part.failures)
        if store is not None and len(part):
            store.put(_items(part, keys))
        if on_progress:
            on_progress(done, len(failures))
    return _join(parts, failures)


@torch.no_grad()
def encode_pixels(model: RetrievalModel, pixels: Tensor, frame_mask: Tensor) -> Tensor:
    """Raw features (V, F, D) float32 of preprocessed frames (V, F, 3, H, W), on the CPU and in full precision.

    On a CPU one video at a time: that is as fast, and a video's features are then the same to the last bit whatever
    shares its batch. On a GPU all at once.
    """
    step = 1 if model.device.type == "cpu" else max(1, len(pixels))
    parts = []
    with _evaluating(model), torch.autocast(model.device.type, enabled=False):
        for start in range(0, len(pixels), step):
            rows = slice(start, start + step)
            features = model.encode_frames(pixels[rows].to(model.device), frame_mask[rows].to(model.device))
            parts.append(features.float().cpu())
    return torch.cat(parts)


def _encoded(
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


def _keys(requests: Sequence[FrameRequest], fingerprint: str) -> tuple[dict[int, str], dict[int, VideoError]]:
    """Row -> key in the store, and the rows whose file cannot even be opened."""
    keys: dict[int, str] = {}
    failures: dict[int, VideoError] = {}
    for row, request in enumerate(requests):
        try:
            identity = file_identity(request.path)
        except VideoError as error:
            failures[row] = error
            continue
        span = f"{request.start_seconds}-{request.end_seconds}"
        seed = f"-{request.seed}" if request.sampling == "random" else ""
        keys[row] = f"{fingerprint}/{identity}/{request.num_frames}-{request.sampling}{seed}/{span}"
    return keys, failures


def _stored(store: FeatureStore, keys: dict[int, str], num_frames: int, dim: int) -> EncodedFrames:
    """What the store has of `keys`."""
    rows: list[int] = []
    features, pts, durations = [], [], []
    wanted = list(keys)
    for start in range(0, len(wanted), _LOOK_UP):
        found = store.get([keys[row] for row in wanted[start : start + _LOOK_UP]])
        for row in wanted[start : start + _LOOK_UP]:
            if (item := found.get(keys[row])) is not None:
                rows.append(row)
                features.append(item["frame_features"])
                pts.append(item["pts_seconds"])
                durations.append(float(item["duration_seconds"]))
    return _encoded(rows, features, pts, durations, {}, num_frames, dim)


def _renumbered(part: EncodedFrames, rows: Sequence[int]) -> EncodedFrames:
    """The same with positions in a longer list of requests, of which `rows` were encoded."""
    return replace(
        part,
        rows=torch.tensor([rows[int(row)] for row in part.rows], dtype=torch.int64),
        failures={rows[row]: error for row, error in part.failures.items()},
    )


def _items(part: EncodedFrames, keys: dict[int, str]) -> dict[str, dict[str, Tensor]]:
    """A part as the store takes it, without padding."""
    return {
        keys[int(row)]: {
            "frame_features": part.frame_features[i][part.frame_mask[i]],
            "pts_seconds": part.pts_seconds[i][part.frame_mask[i]],
            "duration_seconds": part.duration_seconds[i],
        }
        for i, row in enumerate(part.rows)
    }


def _join(parts: Sequence[EncodedFrames], failures: dict[int, VideoError]) -> EncodedFrames:
    """All parts as one value, in the order of the requests."""
    rows = torch.cat([part.rows for part in parts])
    order = rows.argsort()
    return EncodedFrames(
        rows=rows[order],
        frame_features=torch.cat([part.frame_features for part in parts])[order],
        frame_mask=torch.cat([part.frame_mask for part in parts])[order],
        pts_seconds=torch.cat([part.pts_seconds for part in parts])[order],
        duration_seconds=torch.cat([part.duration_seconds for part in parts])[order],
        failures=dict(sorted(failures.items())),
    )


def frame_cache(model: RetrievalModel) -> Path:
    """Folder where commands keep the frame features of a vision tower; deleting it costs time only."""
    return cache_folder() / "frames" / model.vision_fingerprint()[:16]


class _evaluating:
    """Evaluation mode for as long as it lasts."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._modes = [(module, module.training) for module in self._model.modules()]
        self._model.eval()

    def __exit__(self, *exception: object) -> None:
        for module, training in self._modes:
            module.training = training

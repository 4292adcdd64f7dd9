"""Which frame features a store has, and under which keys they stand in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from tvrkit.core.model import RetrievalModel
from tvrkit.encode.value import EncodedFrames, padded
from tvrkit.errors import VideoError
from tvrkit.frames.identity import file_identity
from tvrkit.frames.reader import FrameRequest
from tvrkit.store import FeatureStore
from tvrkit.workspace import cache_folder

_LOOK_UP = 1024  # videos asked of the store at a time


def frame_cache(model: RetrievalModel) -> Path:
    """Folder where commands keep the raw frame features of an image tower; deleting it costs time only."""
    return cache_folder() / "frames" / model.vision_fingerprint()[:16]


def look_up(
    store: FeatureStore | None,
    model: RetrievalModel,
    requests: Sequence[FrameRequest],
    rows: Iterable[int],
    num_frames: int,
) -> tuple[EncodedFrames, dict[int, str]]:
    """Of some requests: what the store has, and row -> key of what it has not.

    A file that cannot even be opened is a failure. Without a store everything is missing, and keys are empty.
    """
    failures: dict[int, VideoError] = {}
    if store is None:
        return padded([], [], [], [], failures, num_frames, model.backbone.image_width), dict.fromkeys(rows, "")
    fingerprint = model.vision_fingerprint()
    keys: dict[int, str] = {}
    for row in rows:
        try:
            keys[row] = _key(requests[row], fingerprint)
        except VideoError as error:
            failures[row] = error
    stored = _stored(store, keys, failures, num_frames, model.backbone.image_width)
    found = set(stored.rows.tolist())
    return stored, {row: key for row, key in keys.items() if row not in found}


def _key(request: FrameRequest, fingerprint: str) -> str:
    identity = file_identity(request.path)
    span = f"{request.start_seconds}-{request.end_seconds}"
    seed = f"-{request.seed}" if request.sampling == "random" else ""
    return f"{fingerprint}/{identity}/{request.num_frames}-{request.sampling}{seed}/{span}"


def _stored(
    store: FeatureStore, keys: Mapping[int, str], failures: dict[int, VideoError], num_frames: int, dim: int
) -> EncodedFrames:
    """What the store has of `keys`, beside the failures."""
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
    return padded(rows, features, pts, durations, failures, num_frames, dim)


def items(part: EncodedFrames, keys: Mapping[int, str]) -> dict[str, dict[str, Tensor]]:
    """A part as the store takes it, without padding."""
    return {
        keys[int(row)]: {
            "frame_features": part.frame_features[i][part.frame_mask[i]],
            "pts_seconds": part.pts_seconds[i][part.frame_mask[i]],
            "duration_seconds": part.duration_seconds[i],
        }
        for i, row in enumerate(part.rows)
    }

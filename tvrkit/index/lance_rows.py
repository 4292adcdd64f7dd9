"""Which rows of a LanceDB data set count, and reading them.

Letters: M moments, F frames of one, P pooled vectors of one, D feature dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tvrkit.encode.moments import POOLED, VideoMoments
from tvrkit.errors import StoreError
from tvrkit.index.engine import MomentRef
from tvrkit.index.lance_tables import said

if TYPE_CHECKING:
    from tvrkit.index.lance_tables import LanceTables

ENCODED = "reason = ''"
_BY_FRAME = {"pts_seconds": np.float64, "nearest_gain": np.float32, "nearest_frame": np.int16}
_COLUMNS = ["start_seconds", "end_seconds", "frame_features", *_BY_FRAME]


@dataclass(frozen=True)
class MomentRows:
    """The moments that count, as they were at one instant.

    Attributes:
        place: of the data set.
        dim: D.
        table: the moments' table at that instant.
        names: contents, sorted.
        first: (videos + 1,) int64, where a content's moments begin among all M.
        video: (M,) int64, the content of each.
        row_ids: (M,) int64, where each lies in the table.
        durations: (videos,) float64, seconds.
        notes: (videos,), "" where there is none.
    """

    place: str
    dim: int
    table: Any
    names: tuple[str, ...]
    first: np.ndarray
    video: np.ndarray
    row_ids: np.ndarray
    durations: np.ndarray
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.row_ids)

    def refs(self, at: np.ndarray) -> list[MomentRef]:
        """The moments at some positions."""
        videos = self.video[at]
        numbers = at - self.first[videos]
        return [MomentRef(self.names[v], n) for v, n in zip(videos.tolist(), numbers.tolist(), strict=True)]

    def take(self, at: np.ndarray, columns: Sequence[str]) -> Any:
        """Some columns of the moments at some positions, in their order, as an Arrow table."""
        wanted, back = np.unique(self.row_ids[at], return_inverse=True)
        with said(self.place):
            found = self.table.take_row_ids(wanted.tolist()).select(list(columns)).with_row_id().to_arrow()
        order = np.argsort(found["_rowid"].to_numpy())
        if len(order) != len(wanted):
            raise StoreError(f"moments of the index {self.place} are gone: it was rewritten long ago, open it again.")
        return found.take(order[back])

    def pooled(self, at: np.ndarray) -> Tensor:
        """Pooled vectors (n, P, D) float16 of the moments at some positions."""
        return torch.from_numpy(pooled_of(self.take(at, ["pooled"])["pooled"].chunks, self.dim))

    def frames(self, at: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Of each moment at some positions its `span` (2,), and its frames as `padded` takes them."""
        rows = []
        for row in self.take(at, _COLUMNS).to_pylist():
            arrays = {name: np.frombuffer(row[name], kind) for name, kind in _BY_FRAME.items()}
            arrays["frame_features"] = np.frombuffer(row["frame_features"], np.float16).reshape(-1, self.dim)
            arrays["span"] = np.array([row["start_seconds"], row["end_seconds"]])
            rows.append(arrays)
        return rows

    def videos(self, numbers: Sequence[int]) -> dict[str, VideoMoments]:
        """Some contents, as they were put."""
        at = np.concatenate([np.arange(self.first[v], self.first[v + 1]) for v in numbers]).astype(np.int64)
        frames, pooled = (
            (self.frames(at), self.pooled(at)) if len(at) else ([], torch.zeros(0, POOLED, self.dim).half())
        )
        found, begin = {}, 0
        for v in numbers:
            end = begin + int(self.first[v + 1] - self.first[v])
            found[self.names[v]] = _video(
                frames[begin:end], pooled[begin:end], float(self.durations[v]), self.notes[v] or None
            )
            begin = end
        return found


def read_rows(tables: LanceTables, dim: int) -> MomentRows:
    """What counts now. What loses its rows to another process meanwhile is looked for again."""
    for _ in range(10):
        rows = _read(tables, dim)
        if rows is not None:
            return rows
    raise StoreError(
        f"videos of the index {tables.place} have lost their moments: `tvrkit index --verify` finds which, or delete it"
        " and make it anew."
    )


def _read(tables: LanceTables, dim: int) -> MomentRows | None:
    import pyarrow.compute as pc

    # First what counts, then the moments: those of a video are written before it.
    videos = tables.rows(tables.videos, ["identity", "write", "moments", "duration_seconds", "note"], ENCODED).sort_by(
        "identity"
    )
    table = tables.moments_now()
    with said(tables.place):
        moments = table.search().select(["write", "moment"]).with_row_id(True).to_arrow()
    video = pc.index_in(moments["write"], value_set=videos["write"].combine_chunks())
    video = pc.fill_null(video, -1).to_numpy().astype(np.int64)
    kept = video >= 0
    video, number = video[kept], moments["moment"].to_numpy()[kept]
    row_ids = moments["_rowid"].to_numpy()[kept].astype(np.int64)
    order = np.lexsort((number, video))
    counts = videos["moments"].to_numpy().astype(np.int64)
    if not np.array_equal(np.bincount(video, minlength=len(counts)), counts):
        return None
    return MomentRows(
        place=tables.place,
        dim=dim,
        table=table,
        names=tuple(videos["identity"].to_pylist()),
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        video=video[order],
        row_ids=row_ids[order],
        durations=videos["duration_seconds"].to_numpy(),
        notes=tuple(videos["note"].to_pylist()),
    )


def pooled_of(arrays: Sequence[Any], dim: int) -> np.ndarray:
    """Pooled vectors (n, P, D) float16 out of Arrow arrays."""
    if not sum(map(len, arrays)):
        return np.zeros((0, POOLED, dim), np.float16)
    values = [array.flatten().flatten().to_numpy(zero_copy_only=False) for array in arrays]
    return np.concatenate(values).reshape(-1, POOLED, dim)


def moment_columns(videos: Mapping[str, VideoMoments], writes: Mapping[str, str]) -> dict[str, Any]:
    """Columns of the moments' table for some contents that have moments."""
    import pyarrow as pa

    columns: dict[str, Any] = {name: [] for name in ["identity", "moment", "write", *_COLUMNS]}
    pooled = [video.pooled for video in videos.values()]
    for identity, video in videos.items():
        sizes = video.counts.tolist()
        for name in ("frame_features", *_BY_FRAME):
            columns[name] += [part.contiguous().numpy().tobytes() for part in getattr(video, name).split(sizes)]
        columns["identity"] += [identity] * len(video)
        columns["moment"] += range(len(video))
        columns["write"] += [writes[identity]] * len(video)
        columns["start_seconds"] += video.spans[:, 0].tolist()
        columns["end_seconds"] += video.spans[:, 1].tolist()
    flat = torch.cat(pooled).flatten(0, 1)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat.flatten().numpy()), flat.shape[1])
    begins = np.arange(0, len(flat) + 1, POOLED, dtype=np.int32)
    columns["pooled"] = pa.ListArray.from_arrays(pa.array(begins), vectors)
    return columns


def _video(
    frames: list[dict[str, np.ndarray]], pooled: Tensor, duration_seconds: float, note: str | None
) -> VideoMoments:
    if not frames:
        empty = {name: torch.from_numpy(np.zeros(0, kind)) for name, kind in _BY_FRAME.items()}
        return VideoMoments(
            spans=torch.zeros(0, 2, dtype=torch.float64),
            counts=torch.zeros(0, dtype=torch.int64),
            frame_features=torch.zeros(0, pooled.shape[2], dtype=torch.float16),
            pooled=pooled,
            duration_seconds=duration_seconds,
            note=note,
            **empty,
        )
    joined = {name: torch.from_numpy(np.concatenate([row[name] for row in frames])) for name in _BY_FRAME}
    return VideoMoments(
        spans=torch.from_numpy(np.stack([row["span"] for row in frames])),
        counts=torch.tensor([len(row["frame_features"]) for row in frames]),
        frame_features=torch.from_numpy(np.concatenate([row["frame_features"] for row in frames])),
        pooled=pooled,
        duration_seconds=duration_seconds,
        note=note,
        **joined,
    )

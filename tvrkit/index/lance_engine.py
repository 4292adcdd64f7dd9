"""Search in a LanceDB data set: exact from memory up to a size, then by LanceDB's own index of vectors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tvrkit.encode.moments import POOLED
from tvrkit.index.engine import MomentFeatures, MomentRef, VideoFacts
from tvrkit.index.lance_rows import MomentRows, pooled_of
from tvrkit.index.lance_tables import said
from tvrkit.index.padded import padded
from tvrkit.index.pooled import Pooled, PooledQuery, exact_scores

if TYPE_CHECKING:
    from tvrkit.index.video_index import FileRow

FLAT_MOMENTS = 100_000
"""Up to this many moments are compared one by one, from memory (4.6 kB each): opening reads all pooled vectors."""

PROBES = 40
"""Partitions of the index of vectors that are looked at, see `benchmarks/stores.py`."""

_REFINED = (
    4  # of so many times the moments asked for the vectors themselves are looked at; the index keeps a bit a number
)
_SLACK = 64  # candidates more than asked for that are looked at without rounding
_TAKEN = 4096  # moments that are read at once, and at most so many allowed ones are looked at without the index


class LanceEngine:
    """The moments of a data set as they were when this was made.

    Args:
        rows: all that count.
        files: those of each content.
        fingerprint: of the model.
        generation: of the index, see `VideoIndex.generation`.

    Raises:
        StoreError: they cannot be read.
    """

    def __init__(self, rows: MomentRows, files: Mapping[str, list[FileRow]], fingerprint: str, generation: str) -> None:
        self.fingerprint, self.generation = fingerprint, generation
        self._rows = rows
        self._video_of = {name: video for video, name in enumerate(rows.names)}
        self._facts = _facts(rows, files)
        # Those of videos without a file are no answer.
        here = np.array([name in self._facts for name in rows.names], bool)
        self._there = here[rows.video] if len(rows) else np.zeros(0, bool)
        self._by_row_id = np.argsort(rows.row_ids)
        self._unrounded = _load(rows, self._by_row_id) if len(rows) <= FLAT_MOMENTS else None
        self._pooled = Pooled(self._unrounded) if self._unrounded is not None else None
        self.exact = self._pooled is not None or not _is_indexed(rows)

    def __len__(self) -> int:
        return int(self._there.sum())

    def facts(self) -> Mapping[str, VideoFacts]:
        """All indexed contents that have a file, by identity."""
        return self._facts

    def candidates(self, vectors: Tensor, count: int, allowed: Collection[str] | None = None) -> list[MomentRef]:
        """First stage, see `Engine`; equal ones stand in the order of contents and moments."""
        vectors = vectors.detach().cpu().float()
        mask = self._mask(allowed)
        possible = int(mask.sum())
        count = min(count, possible)
        if count == 0:
            return []
        if self._pooled is not None:
            scores = self._pooled.scores(PooledQuery(vectors)).masked_fill(~torch.from_numpy(mask), -torch.inf)
            best = scores.topk(min(2 * count + _SLACK, possible), sorted=False).indices.numpy()
        elif possible <= _TAKEN:
            best = np.flatnonzero(mask)
        elif len(vectors) == 1:
            return self._rows.refs(self._nearest(vectors, count, mask))
        else:
            best = self._nearest(vectors, min(2 * count + _SLACK, possible), mask)
        at = np.sort(best)
        exact = exact_scores(vectors, self._pooled_of(at))
        order = exact.argsort(descending=True, stable=True)[:count].numpy()
        return self._rows.refs(at[order])

    def read(self, refs: Sequence[MomentRef]) -> MomentFeatures:
        """Second stage, see `Engine`."""
        first = self._rows.first
        at = np.array([first[self._video_of[ref.identity]] + ref.moment for ref in refs], np.int64)
        return padded(refs, self._rows.frames(at) if len(at) else [], self._rows.dim)

    def refs(self, allowed: Collection[str] | None = None, chunk: int = 1024) -> Iterator[list[MomentRef]]:
        """Every allowed moment, by content."""
        at = np.flatnonzero(self._mask(allowed))
        for first in range(0, len(at), chunk):
            yield self._rows.refs(at[first : first + chunk])

    def _mask(self, allowed: Collection[str] | None) -> np.ndarray:
        """Whether each moment is of an allowed video."""
        if allowed is None:
            return self._there
        videos = np.zeros(len(self._rows.names), bool)
        videos[[self._video_of[identity] for identity in allowed if identity in self._video_of]] = True
        return videos[self._rows.video] & self._there

    def _nearest(self, vectors: Tensor, count: int, mask: np.ndarray) -> np.ndarray:
        """Positions of `count` allowed moments, about the nearest, best first, by the index of vectors."""
        query = vectors.numpy()
        limit = count + _SLACK  # some rows may not count any more
        while limit < len(self._rows):
            with said(self._rows.place):
                search = self._rows.table.search(query, vector_column_name="pooled").distance_type("cosine")
                found = (
                    search.nprobes(PROBES).refine_factor(_REFINED).limit(limit).select([]).with_row_id(True).to_arrow()
                )
            _, at = _positions(self._rows, self._by_row_id, found["_rowid"].to_numpy().astype(np.int64))
            at = at[mask[at]]
            if len(at) >= count:
                return at[:count]
            if len(found) < limit:  # the partitions hold no more
                break
            limit *= 4
        return self._nearest_of_all(vectors, count, mask)

    def _nearest_of_all(self, vectors: Tensor, count: int, mask: np.ndarray) -> np.ndarray:
        """The same by reading every allowed moment; few of many are allowed."""
        at = np.flatnonzero(mask)
        parts = [at[first : first + _TAKEN] for first in range(0, len(at), _TAKEN)]
        scores = torch.cat([exact_scores(vectors, self._rows.pooled(part)) for part in parts])
        return at[scores.topk(count).indices.numpy()]

    def _pooled_of(self, at: np.ndarray) -> Tensor:
        """Pooled vectors (n, P, D) of the moments at some positions, not rounded."""
        return self._rows.pooled(at) if self._unrounded is None else self._unrounded[torch.from_numpy(at)]


def _positions(rows: MomentRows, order: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of the table count, and where these stand among the moments; `order` sorts `rows.row_ids`."""
    at = order[np.searchsorted(rows.row_ids, ids, sorter=order).clip(max=len(order) - 1)]
    known = rows.row_ids[at] == ids
    return known, at[known]


def _load(rows: MomentRows, order: np.ndarray) -> Tensor:
    """Pooled vectors (M, P, D) of all moments."""
    whole = torch.zeros(len(rows), POOLED, rows.dim, dtype=torch.float16)
    if len(rows):
        with said(rows.place):
            for batch in rows.table.search().select(["pooled"]).with_row_id(True).to_batches(_TAKEN):
                known, at = _positions(rows, order, batch["_rowid"].to_numpy().astype(np.int64))
                whole.numpy()[at] = pooled_of([batch["pooled"]], rows.dim)[known]
    return whole


def _is_indexed(rows: MomentRows) -> bool:
    with said(rows.place):
        return any("pooled" in index.columns for index in rows.table.list_indices())


def _facts(rows: MomentRows, files: Mapping[str, list[FileRow]]) -> dict[str, VideoFacts]:
    moments = np.diff(rows.first).tolist()
    return {
        name: VideoFacts(tuple(file.path for file in files[name]), duration, files[name][0].modified, count)
        for name, duration, count in zip(rows.names, rows.durations.tolist(), moments, strict=True)
        if name in files
    }

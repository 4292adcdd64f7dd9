"""How ragged texts and videos are laid out for the late-interaction kernel: pads out of the way, tiles of one size."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor

# Videos of a tile lie innermost in memory: a multiple of this keeps maxima and products on their fast paths (measured:
# a maximum over frames takes ten times as long for 24 videos as for 32, a product a third longer for 1,020 columns
# than for 1,024).
_VECTOR = 32


class Packing:
    """Rows sorted by their number of real tokens, real tokens first, a copy of the first one in place of each pad.

    A copy cannot change a maximum, so nothing has to be masked on the large tensors; its weight is 0.
    """

    def __init__(self, mask: Tensor) -> None:
        rows, width = mask.shape
        counts = mask.sum(dim=1)
        self.identity = bool((counts == width).all())
        self.lengths = [width] * rows
        if self.identity:
            return
        counts, self._rows = counts.sort(descending=True, stable=True)
        self.lengths = counts.tolist()
        self._order = (~mask[self._rows]).to(torch.uint8).argsort(dim=1, stable=True)
        slots = torch.arange(self.lengths[0], device=mask.device)
        self._real = slots < counts[:, None]
        self._columns = torch.where(self._real, self._order[:, : self.lengths[0]], self._order[:, :1])
        self._flat = self._rows[:, None] * width + self._columns

    def features(self, features: Tensor) -> Tensor:
        """(N, L, D) packed."""
        if self.identity:
            return features
        picked = features.flatten(0, 1).index_select(0, self._flat.flatten())
        return picked.view(*self._flat.shape, features.shape[-1])

    def values(self, values: Tensor) -> Tensor:
        """(N, L) packed."""
        if self.identity:
            return values
        return values.flatten().index_select(0, self._flat.flatten()).view(self._flat.shape)

    def pool(self, pool: Tensor) -> Tensor:
        """(N, L) packed, 0 on the copies."""
        return pool if self.identity else self.values(pool).masked_fill(~self._real, 0.0)

    def positions(self, positions: Tensor) -> Tensor:
        """(N, L) packed, of values that are themselves positions in the row."""
        if self.identity:
            return positions
        slots = torch.arange(positions.shape[1], device=positions.device).expand_as(self._order)
        moved = torch.empty_like(self._order).scatter_(1, self._order, slots)
        return moved.gather(1, self.values(positions))

    def restore(self, similarity: Tensor, dim: int) -> Tensor:
        """Undo the sorting of rows along `dim`."""
        return similarity if self.identity else similarity.index_select(dim, self._rows.argsort())


class Plan(NamedTuple):
    """How the (T, V) result is cut into tiles; lengths fall, so the first of a tile is its longest."""

    text_lengths: list[int]
    video_lengths: list[int]
    chunk: int

    def videos(self) -> Iterator[tuple[slice, int]]:
        """Videos of a column of tiles, and their longest."""
        # About square products are the fastest; few texts leave room for more videos.
        side = isqrt(self.chunk)
        rows = min(side, sum(self.text_lengths))
        columns = self.chunk // rows
        if 8 * rows > side:  # not so few that the tiles would be too small: what is copied of the frames stays small
            columns = min(columns, 2 * side)
        yield from _spans(self.video_lengths, columns, _VECTOR)

    def texts(self, columns: int) -> Iterator[tuple[slice, int]]:
        """Texts of each tile beside `columns` frames, and their longest."""
        yield from _spans(self.text_lengths, self.chunk // columns, 1)


def _spans(lengths: list[int], tokens: int, multiple: int) -> Iterator[tuple[slice, int]]:
    """Rows of about `tokens` tokens, as many as a multiple of something, and the longest's tokens."""
    start = 0
    while start < len(lengths):
        count = max(1, round(tokens / lengths[start] / multiple)) * multiple
        yield slice(start, min(len(lengths), start + count)), lengths[start]
        start += count


class Scratch:
    """One piece of memory for all tiles in turn: a fresh one each time costs page faults."""

    def __init__(self, like: Tensor) -> None:
        self._memory = like.new_empty(0)

    def take(self, rows: int, columns: int) -> Tensor:
        """(rows, columns), not cleared; valid until the next call."""
        if self._memory.numel() < rows * columns:
            self._memory = self._memory.new_empty(rows * columns)
        return self._memory[: rows * columns].view(rows, columns)

"""Processes as a value: who I am among them, which part of the work is mine, and what the others have.

Every method but `share` and `split` is a collective: all processes of the team call it, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes of a run.

    Attributes:
        rank: this one's number, 0 to size - 1; 0 writes files and speaks.
        size: how many there are, W.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks to people."""
        return self.rank == 0

    def split(self, length: int) -> slice:
        """My part of `length` things in a row: parts differ by one at most, the first ones are the longer."""
        part, longer = divmod(length, self.size)
        start = self.rank * part + min(self.rank, longer)
        return slice(start, start + part + (self.rank < longer))

    def numbers(self, *values: int) -> Tensor:
        """Every process's whole numbers, (W, n) int64 on the CPU."""
        mine = torch.tensor(values, dtype=torch.int64)
        if self.size == 1:
            return mine[None]
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(everyone, mine)
        return torch.stack(everyone)

    def objects(self, value: T) -> list[T]:
        """Every process's value, in the order of ranks. They travel pickled: between processes of one run only."""
        if self.size == 1:
            return [value]
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, value)
        return everyone

    def from_leader(self, value: T) -> T:
        """The value that rank 0 has."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Until every process has come here."""
        self.numbers(0)

    def rows(self, tensor: Tensor, counts: Sequence[int]) -> Tensor:
        """Everybody's rows one after the other, with a gradient.

        Args:
            tensor: (n, ...) with n = counts[rank]; of one shape but for n, and of one type, on all processes.
            counts: rows of each process; a process may have none.

        Returns:
            (sum of counts, ...). In the backward pass each process gets the **sum over all processes** of the
            gradients of its rows. So where every process computes the whole loss of a batch and the gradients of
            parameters are averaged over processes, each is that of one process with the whole batch.
        """
        if self.size == 1:
            return tensor
        gathered: Tensor = _Rows.apply(tensor, self, tuple(counts))
        return gathered


SOLO = Team()
"""One process by itself."""


class _Rows(torch.autograd.Function):
    """all_gather forward, all_reduce and slice backward."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, team: Team, counts: tuple[int, ...]) -> Tensor:
        if len(tensor) != counts[team.rank]:
            raise ValueError(f"rank {team.rank} said {counts[team.rank]} rows and has {len(tensor)}")
        start = sum(counts[: team.rank])
        ctx.mine = slice(start, start + len(tensor))
        longest = max(counts)
        padded = tensor.new_zeros(longest, *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        # Not every backend takes bool.
        sent = padded.to(torch.uint8) if padded.dtype == torch.bool else padded
        everyone = [torch.empty_like(sent) for _ in counts]
        dist.all_gather(everyone, sent)
        return torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)]).to(tensor.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.mine], None, None

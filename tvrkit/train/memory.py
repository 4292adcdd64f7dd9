"""Memory that is not enough: how it is recognised, and how processes agree on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from tvrkit.distributed import Team


class OutOfMemory(Exception):
    """Some process of the team has not enough memory for what all of them just did; all of them raise it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the device's memory, or the machine's, was not enough."""
    # torch.OutOfMemoryError has a name of its own since 2.5; the CPU's allocator raises a plain RuntimeError.
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)
    )


@contextlib.contextmanager
def all_or_none(team: Team) -> Iterator[None]:
    """Around work without collectives: if one process runs out of memory in it, all of them raise OutOfMemory."""
    failed = False
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    if bool(team.numbers(failed).any()):
        raise OutOfMemory


def give_back() -> None:
    """Return what the allocator keeps for later to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

"""Memory that is not enough: how it is recognised, and how processes agree on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from tvrkit.distributed import Team

# All that oneDNN, which computes on CPUs, says where it gets no memory. What it cannot do at all is mostly refused with
# other words ("could not create a primitive descriptor for …"), but not always.
_ONEDNN = ("could not create a memory object", "could not create a primitive", "could not execute a primitive")


class OutOfMemory(Exception):
    """Some process of the team has not enough memory for what all of them just did; all of them raise it.

    Its text is `doubt` of what happened in this process.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the device's memory, or the machine's, was not enough."""
    # torch.OutOfMemoryError has a name of its own since 2.5; the CPU's allocator and C++ raise a plain RuntimeError.
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator: can't allocate memory" in said or said == "std::bad_alloc" or said in _ONEDNN
    )


def doubt(error: BaseException) -> str:
    """What an out-of-memory error said, if that may mean something else as well; else nothing."""
    return str(error) if str(error) in _ONEDNN else ""


@contextlib.contextmanager
def all_or_none(team: Team) -> Iterator[None]:
    """Around work without collectives: if one process runs out of memory in it, all of them raise OutOfMemory."""
    failed, words = False, ""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        failed, words = True, doubt(error)
    if bool(team.numbers(failed).any()):
        raise OutOfMemory(words)


def give_back() -> None:
    """Return what the allocator keeps for later to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

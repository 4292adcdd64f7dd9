"""Which of several processes this one is, as torchrun, Slurm or tvrkit's own launcher say it in the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tvrkit.errors import ConfigError

WORKERS = "TVRKIT_WORKERS"
"""Set by tvrkit's own launcher: the folder in which its workers leave their process ids."""

_FIRST_PORT, _PORTS = 15_000, 15_000  # below the ports that systems hand out by themselves


@dataclass(frozen=True)
class Place:
    """One process of a run.

    Attributes:
        rank: its number among all of them, 0 to size - 1.
        size: how many there are.
        local_rank: its number among those on its machine.
        meeting: where they meet, as torch's `init_method`.
        scheduler: who started it: "torchrun" (tvrkit's own launcher is one), "slurm", or "" for a process by itself.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    meeting: str = "env://"
    scheduler: str = ""


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """My place, from RANK, WORLD_SIZE, LOCAL_RANK and MASTER_*, or else from what `srun` sets.

    Raises:
        ConfigError: the variables are there in part, or are no numbers.
    """
    try:
        if "RANK" in environment and "WORLD_SIZE" in environment:
            rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
            local = int(environment.get("LOCAL_RANK", rank))
            return _checked(Place(rank, size, local, "env://", "torchrun"), environment)
        # A shell that sbatch or salloc starts has SLURM_NTASKS too, but only srun starts that many of us.
        if "SLURM_PROCID" in environment and "SLURM_STEP_NODELIST" in environment:
            return _slurm(environment)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            "the variables that say which of several processes this is are not whole"
            f" ({type(error).__name__}: {error}): start it with torchrun or srun, or unset RANK and WORLD_SIZE."
        ) from None
    return Place()


def launched() -> bool:
    """Whether tvrkit's own launcher started this process and looks after it."""
    return WORKERS in os.environ


def first_host(nodes: str) -> str:
    """The first of Slurm's list of nodes: `gpu[03-05,9],login` is gpu03."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes.strip())
    if first is None:
        raise ValueError(f"no node in {nodes!r}")
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first.group())


def _slurm(environment: Mapping[str, str]) -> Place:
    rank = int(environment["SLURM_PROCID"])
    size = int(environment.get("SLURM_STEP_NUM_TASKS") or environment["SLURM_NTASKS"])
    nodes = environment.get("SLURM_STEP_NODELIST") or environment["SLURM_JOB_NODELIST"]
    job, step = int(environment["SLURM_JOB_ID"]), int(environment.get("SLURM_STEP_ID", 0))
    one_machine = environment.get("SLURM_STEP_NUM_NODES") == "1"  # its own name need not resolve there
    host = environment.get("MASTER_ADDR") or ("127.0.0.1" if one_machine else first_host(nodes))
    port = environment.get("MASTER_PORT") or _FIRST_PORT + (31 * job + step) % _PORTS
    local = int(environment.get("SLURM_LOCALID", 0))
    return _checked(Place(rank, size, local, f"tcp://{host}:{port}", "slurm"), environment)


def _checked(found: Place, environment: Mapping[str, str]) -> Place:
    if not 0 <= found.rank < found.size:
        raise ValueError(f"rank {found.rank} of {found.size}")
    if found.size > 1 and found.meeting == "env://":
        environment["MASTER_ADDR"], environment["MASTER_PORT"]
    return found

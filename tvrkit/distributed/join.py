"""From a process by itself to one of a team, and back."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist

from tvrkit.distributed.fallen import Fall, fall, follows
from tvrkit.distributed.place import WORKERS, Place, launched, place
from tvrkit.distributed.team import SOLO, Team
from tvrkit.errors import ConfigError, InstallError, TeamError

DeviceKind = Literal["cpu", "cuda"]

# A process that is gone is noticed by its closed connection; only one that stands still is waited for that long.
_PATIENCE = datetime.timedelta(minutes=30)
_MEETING = datetime.timedelta(minutes=10)
_LEAVING_SECONDS = 10.0
_LOOK_AT_PARENT_SECONDS = 1.0


@contextlib.contextmanager
def join(kind: DeviceKind, explain: Callable[[BaseException], str] = str) -> Iterator[Team]:
    """The team that torchrun, `srun` or tvrkit's own launcher made this process a part of; `SOLO` if none did.

    Whatever happens inside, the process group is taken down at the end, and no process waits for one that is gone.

    Args:
        kind: where the team computes. Large tensors travel by NCCL between GPUs; small ones, and all on the CPU, by
            gloo.
        explain: from an exception to the sentence that a user reads.

    Raises:
        TeamError: something was raised inside by this process or another. Its text is empty where another process of
            the team has said it; the cause is the exception.
        InstallError: the processes cannot meet.
    """
    mine = place()
    if mine.size == 1:
        yield SOLO
        return
    store: dist.Store | None = None
    try:
        if launched():
            _announce(mine)
        store = _meet(mine, kind)
        team = Team(mine.rank, mine.size)
        yield team
        team.wait()  # who leaves early takes the connections of the others along
    except SystemExit:
        _leave()
        raise
    except BaseException as error:
        mine_fell = Fall(explain(error), exit_code(error), follows(error))
        said = fall(mine, dist.PrefixStore("tvrkit", store) if store is not None else None, mine_fell)
        _leave()
        raise TeamError(said.words, said.code) from error
    _leave()


def own_device(kind: DeviceKind) -> str:
    """My own device: "cpu", or the GPU that is mine among those of this machine, made the current one.

    Raises:
        ConfigError: there are fewer GPUs than processes on this machine.
    """
    if kind == "cpu":
        return "cpu"
    mine, there = place(), torch.cuda.device_count()
    index = mine.local_rank
    if mine.scheduler == "slurm" and there == 1:
        index = 0  # Slurm shows each task its own GPU and no other
    if index >= there:
        raise ConfigError(
            f"there is no GPU for process {mine.local_rank} of this machine: torch sees {there} here; start as many"
            " processes as there are GPUs, or give `--gpus 0` for the CPU."
        )
    torch.cuda.set_device(index)
    return f"cuda:{index}"


def exit_code(error: BaseException) -> int:
    """What the process exits with."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    code = getattr(error, "exit_code", 1)  # click's errors have one as well
    return code if isinstance(code, int) else 1


def _meet(mine: Place, kind: DeviceKind) -> dist.Store:
    if not dist.is_available() or not dist.is_gloo_available():
        raise InstallError("this torch is built without torch.distributed and gloo, so it trains in one process only.")
    try:
        store, rank, size = next(dist.rendezvous(mine.meeting, mine.rank, mine.size, timeout=_MEETING))
        # The counts of each step must not wait for what the GPU is at: they go by gloo.
        backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    except (dist.DistError, RuntimeError, ValueError) as error:
        where = mine.meeting
        if where == "env://":
            where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InstallError(
            f"the {mine.size} processes cannot meet at {where} ({' '.join(str(error).split())[:300]}): see"
            " docs/cluster.md for addresses and ports."
        ) from error
    return store


def _leave() -> None:
    """Take the process group down; with one that is gone, NCCL may never come back from that."""
    if not dist.is_initialized():
        return
    leaving = threading.Thread(target=dist.destroy_process_group, daemon=True)
    leaving.start()
    leaving.join(_LEAVING_SECONDS)


def _announce(mine: Place) -> None:
    """Tell tvrkit's launcher my process id; save and end when the launcher is gone."""
    path = Path(os.environ[WORKERS]) / str(mine.rank)
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").replace(path)
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_AT_PARENT_SECONDS)
    os.kill(os.getpid(), getattr(signal, "SIGUSR1", signal.SIGTERM))

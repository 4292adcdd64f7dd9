"""Options and steps of commands that several processes may do together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from tvrkit.cli import output
from tvrkit.errors import ConfigError
from tvrkit.reporting import Silent

if TYPE_CHECKING:
    from tvrkit.distributed import Team

F = TypeVar("F", bound=Callable[..., Any])


def processes_options(function: F) -> F:
    """`--gpus` and `--processes` (callback: `gpus: int | None, processes: int | None`)."""
    gpus = click.option(
        "--gpus",
        type=click.IntRange(min=0),
        metavar="N",
        help="GPUs to compute on, a process each; 0 is the CPU.  [default: 1 if there is one]",
    )
    processes = click.option(
        "--processes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes that share the work on the CPU, as `--gpus 0 --processes 2`.  [default: 1]",
    )
    return gpus(processes(function))


def chosen(gpus: int | None, processes: int | None) -> tuple[Literal["cpu", "cuda"], int]:
    """Where to compute, and how many processes are still to be started for it. Imports torch.

    Raises:
        ConfigError: the machine has fewer GPUs, or the two options contradict each other.
    """
    import torch

    from tvrkit.distributed import place

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mine = place()
    if mine.size > 1:  # torchrun, srun or our own launcher has started them
        return ("cuda" if (there if gpus is None else gpus) else "cpu"), 1
    if gpus is None:
        gpus = min(1, there)
    if gpus > there:
        have = f"{there} GPU{'s' if there != 1 else ''}" if there else "no GPU that torch can use"
        way_out = "`--gpus 1` takes one" if there else "`--gpus 0` takes the CPU"
        raise ConfigError(f"--gpus {gpus}: this machine has {have}; {way_out}.")
    if gpus and processes not in (None, gpus):
        raise ConfigError(
            f"--processes {processes}: each GPU has one process; give `--gpus {processes}` for as many GPUs, or"
            f" `--gpus 0 --processes {processes}` for the CPU."
        )
    return ("cuda", gpus) if gpus else ("cpu", processes or 1)


@contextlib.contextmanager
def team_of(kind: Literal["cpu", "cuda"], stopped: str = "") -> Iterator[Team]:
    """The processes that this one is a part of, or `SOLO`; an error in one of them is said once.

    Args:
        kind: where they compute.
        stopped: what is said when a signal has come; else what training says before its first step.
    """
    from tvrkit.cli.failures import explain
    from tvrkit.distributed import join
    from tvrkit.distributed.place import launched
    from tvrkit.train.signals import NOTHING_SAVED, StopSignals

    # From here on the launcher hands signals on, long before there is anything to save.
    waiting = StopSignals(Silent(), stopped or NOTHING_SAVED) if launched() else contextlib.nullcontext()
    with waiting, join(kind, explain) as team:
        yield team


def start_team(
    arguments: Sequence[str], processes: int, after: str = "", words_of: Callable[[int], str] | None = None
) -> None:
    """Do `tvrkit ARGUMENTS` in several processes of this machine; see `tvrkit.train.launch.launch`."""
    from tvrkit.train.launch import launch
    from tvrkit.train.signals import saving_words

    launch(arguments, processes, output, after, words_of or saving_words)

"""Checkpoints: folders that are written whole or not at all, and what training needs to go on from one.

    checkpoints/step-00000500/    model.safetensors, config.yaml, metrics.json, and to go on:
                                  training.safetensors, training.json
    checkpoints/last, best        links to such folders

A folder is written under another name, flushed to disk and renamed; then a link is turned over in one step. Whenever
the process dies, `last` and `best` name folders that are whole. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tvrkit.core.checkpoint import save_model
from tvrkit.core.model import RetrievalModel
from tvrkit.errors import CheckpointError
from tvrkit.files import sync_folder, write_json

TENSORS, NUMBERS = "training.safetensors", "training.json"
LAST, BEST = "last", "best"


@dataclass
class Progress:
    """How far a run is: all that training knows beside tensors."""

    step: int = 0
    """Optimiser steps done."""
    best: float | None = None
    """The best value of `train.select_by` so far, and where it was."""
    best_step: int | None = None
    validated: bool = False
    """Whether the validation that belongs to this step, if it ends an epoch, is done."""
    seconds: float = 0.0
    """Time spent training, over all parts of an interrupted run."""


def save_checkpoint(
    folder: Path,
    model: RetrievalModel,
    tensors: Mapping[str, Tensor],
    progress: Progress,
    metrics: Mapping[str, Any],
) -> Path:
    """Write a checkpoint into `folder` and turn `last` over to it.

    Args:
        folder: `checkpoints` of a run.
        model: saved for `load_model`.
        tensors: optimiser, random state and what else only training needs.
        progress: numbers beside them.
        metrics: goes into metrics.json.

    Returns:
        The new folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = _free_name(folder, progress.step)
    temporary = folder / f".{final.name}.tmp"
    _remove(temporary)
    temporary.mkdir()
    save_model(model, temporary, dict(metrics))
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary / TENSORS)
    write_json(temporary / NUMBERS, asdict(progress))
    _flush(temporary)
    temporary.rename(final)
    sync_folder(folder)
    _turn_over(folder / LAST, final)
    _prune(folder)
    return final


def record_validation(checkpoint: Path, progress: Progress, metrics: Mapping[str, Any], *, best: bool) -> None:
    """Write into a checkpoint what its validation gave, and turn `best` over to it if it is that.

    The progress comes last: if the process dies before, the run validates this step once more, to the same end.
    """
    write_json(checkpoint / "metrics.json", dict(metrics))
    if best:
        _turn_over(checkpoint.parent / BEST, checkpoint)
    write_json(checkpoint / NUMBERS, asdict(progress))
    _prune(checkpoint.parent)


def load_training_state(folder: Path, device: torch.device | str) -> tuple[dict[str, Tensor], Progress]:
    """What `save_checkpoint` wrote beside the model.

    Raises:
        CheckpointError: it is not there or is damaged.
    """
    try:
        tensors = load_file(folder / TENSORS, device=str(device))
        progress = Progress(**json.loads((folder / NUMBERS).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} cannot be trained further: {Path(str(error.filename)).name} is not there."
        ) from None
    except Exception as error:  # safetensors raises its own kind, json and the dataclass theirs
        raise CheckpointError(f"{folder} cannot be trained further: its training state is damaged ({error}).") from None
    return tensors, progress


def last_checkpoint(run: Path) -> Path:
    """The folder that a run goes on from.

    Raises:
        CheckpointError: the run has none.
    """
    folder = run / "checkpoints"
    for candidate in (folder / LAST, _aside(folder / LAST)):
        if (candidate / NUMBERS).is_file():
            return candidate
    raise CheckpointError(f"{run} has no checkpoint to go on from: start it again with `tvrkit train --out {run}`.")


def random_tensors() -> dict[str, Tensor]:
    """The state of torch's generators (nothing else is drawn from during training)."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"random/cpu": torch.get_rng_state()} | {f"random/cuda/{i}": state for i, state in enumerate(cuda)}


def load_random_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Put back what `random_tensors` gave; generators of devices that are not here are left out."""
    torch.set_rng_state(tensors["random/cpu"].cpu())
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"random/cuda/{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"random/cuda/{index}"].cpu(), index)


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, named without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _free_name(folder: Path, step: int) -> Path:
    """A name that no link points to: a step may be saved twice, by its number and by the end of its epoch."""
    linked = {target.name for target in _targets(folder).values()}
    name, again = f"step-{step:08d}", 1
    while name in linked:
        again += 1
        name = f"step-{step:08d}-{again}"
    shutil.rmtree(folder / name, ignore_errors=True)
    return folder / name


def _targets(folder: Path) -> dict[str, Path]:
    return {name: (folder / name).resolve() for name in (LAST, BEST) if (folder / name).exists()}


def _turn_over(link: Path, target: Path) -> None:
    """Make `link` name `target`; at every instant it names a whole folder, the old one or the new."""
    fresh = link.with_name(f".{link.name}.new")
    _remove(fresh)
    try:
        os.symlink(target.name, fresh, target_is_directory=True)
    except OSError:
        # No links on this file system (or not allowed, on Windows): a copy.
        shutil.copytree(target, fresh)
        _flush(fresh)
    if link.is_dir() and not link.is_symlink():
        # A folder cannot be replaced in one step: it steps aside, where `last_checkpoint` finds it.
        _remove(_aside(link))
        link.rename(_aside(link))
    os.replace(fresh, link)
    sync_folder(link.parent)
    _remove(_aside(link))


def _aside(link: Path) -> Path:
    return link.with_name(f".{link.name}.old")


def _prune(folder: Path) -> None:
    """Remove what no link names; `best` keeps no training state of its own."""
    targets = _targets(folder)
    for entry in folder.iterdir():
        stale = entry.name.startswith("step-") and entry.resolve() not in targets.values()
        if stale or (entry.name.startswith(".step-") and entry.name.endswith(".tmp")):
            _remove(entry)
    if BEST in targets and targets[BEST] != targets.get(LAST):
        for name in (TENSORS, NUMBERS):
            (targets[BEST] / name).unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Flush every file of a folder to disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)

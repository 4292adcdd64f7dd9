"""Checkpoints: folders that are whole whenever the process dies, and what training needs to go on from one.

    checkpoints/last/   model.safetensors, config.yaml, backbone/, metrics.json; training.safetensors, training.json
    checkpoints/best/   the same without what only training needs

Nothing is pickled. A kill at the worst moment leaves a folder beside its name, where `whole_folder` finds it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tvrkit.core.checkpoint import METRICS_NAME, write_model
from tvrkit.core.model import RetrievalModel
from tvrkit.errors import CheckpointError
from tvrkit.files import atomic_folder, whole_folder, write_json

CHECKPOINTS, LAST, BEST = "checkpoints", "last", "best"
TENSORS, NUMBERS = "training.safetensors", "training.json"


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


def save_last(
    run: Path,
    model: RetrievalModel,
    tensors: Mapping[str, Tensor],
    progress: Progress,
    metrics: Mapping[str, Any],
) -> None:
    """Write `checkpoints/last`.

    Args:
        run: the run's folder.
        model: saved for `load_model`.
        tensors: optimiser, random state and what else only training needs.
        progress: numbers beside them.
        metrics: goes into metrics.json.

    Raises:
        OSError: what the file system says (disk full); the checkpoint before it is then as it was.
    """
    with atomic_folder(run / CHECKPOINTS / LAST) as folder:
        write_model(model, folder, metrics)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / TENSORS)
        write_json(folder / NUMBERS, asdict(progress))


def record_validation(run: Path, progress: Progress, metrics: Mapping[str, Any], *, best: bool) -> None:
    """Write into `last` what its validation gave, and make `best` of it if it is that.

    The progress comes last: if the process dies before, the run validates this step once more, to the same end.
    """
    last = whole_folder(run / CHECKPOINTS / LAST)
    write_json(last / METRICS_NAME, dict(metrics))
    if best:
        with atomic_folder(run / CHECKPOINTS / BEST) as folder:
            shutil.copytree(last, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(TENSORS, NUMBERS))
    write_json(last / NUMBERS, asdict(progress))


def last_checkpoint(run: Path) -> Path:
    """The folder that a run goes on from.

    Raises:
        CheckpointError: the run has none.
    """
    folder = whole_folder(run / CHECKPOINTS / LAST)
    if not (folder / NUMBERS).is_file():
        raise CheckpointError(f"{run} has no checkpoint to go on from: start it again with `tvrkit train --out {run}`.")
    return folder


def load_training_state(folder: Path, device: torch.device | str) -> tuple[dict[str, Tensor], Progress]:
    """What `save_last` wrote beside the model.

    Raises:
        CheckpointError: it is not there or is damaged.
    """
    try:
        tensors = load_file(folder / TENSORS, device=str(device))
        progress = Progress(**json.loads((folder / NUMBERS).read_text(encoding="utf-8")))
    except Exception as error:  # safetensors raises its own kind, json and the dataclass theirs
        raise CheckpointError(
            f"{folder} cannot be trained further, its training state is damaged ({' '.join(str(error).split())}):"
            " start a new run."
        ) from None
    return tensors, progress


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

"""Checkpoints: folders that are whole whenever the process dies, and what training needs to go on from one.

    checkpoints/last/            model.safetensors, config.yaml, backbone/, metrics.json;
                                 training.safetensors, training.json, sums.json
    checkpoints/step-00000500/   an older `last`, where `train.keep_last` is above 1
    checkpoints/best/            the same without what only training needs

`last` holds the weights that training goes on from. With `train.ema` it has their moving average beside them, and
`best` holds the average: that is what was validated. Nothing is pickled. A kill at the worst moment leaves a folder
beside its name, where `whole_folder` finds it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tvrkit.coerce import build_dataclass
from tvrkit.core.checkpoint import METRICS_NAME, WEIGHTS_NAME, write_model
from tvrkit.core.model import RetrievalModel
from tvrkit.errors import CheckpointError, ConfigError
from tvrkit.files import atomic_folder, whole_folder, write_json
from tvrkit.reporting import Reporter

CHECKPOINTS, LAST, BEST = "checkpoints", "last", "best"
TENSORS, NUMBERS, SUMS = "training.safetensors", "training.json", "sums.json"


@dataclass
class Progress:
    """How far a run is: all that training knows beside tensors."""

    step: int = 0
    """Optimiser steps done."""
    best: float | None = None
    """The best value of `train.select_by` so far, and where it was."""
    best_step: int | None = None
    bad_validations: int = 0
    """Validations since then, none of them better."""
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
    keep: int = 1,
) -> None:
    """Write `checkpoints/last`.

    Args:
        run: the run's folder.
        model: saved for `load_model`.
        tensors: optimiser, moving average and what else only training needs.
        progress: numbers beside them.
        metrics: goes into metrics.json.
        keep: how many checkpoints to go on from there are then, this one included.

    Raises:
        OSError: what the file system says (disk full); the checkpoint before it is then as it was.
    """
    last = run / CHECKPOINTS / LAST
    try:
        with atomic_folder(last) as folder:
            write_model(model, folder, metrics)
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / TENSORS)
            write_json(folder / SUMS, {name: _sum(folder / name) for name in (WEIGHTS_NAME, TENSORS)})
            write_json(folder / NUMBERS, asdict(progress))
            if keep > 1:
                _keep_older(last, progress.step)
    except SafetensorError as error:
        raise _as_os_error(error, last) from None
    _remove_old(last.parent, progress.step, keep - 1)


def record_validation(
    run: Path,
    progress: Progress,
    metrics: Mapping[str, Any],
    *,
    best: bool,
    averaged: RetrievalModel | None = None,
) -> None:
    """Write into `last` what its validation gave, and make `best` of it if it is that.

    The progress comes last: if the process dies before, the run validates this step once more, to the same end.

    Args:
        run: the run's folder, whose `last` is of the step that was validated.
        progress: that validation counted in.
        metrics: goes into metrics.json.
        best: whether it is the best so far.
        averaged: the model with the averaged weights in place, when it was these that were validated: they become
            `best`, and the metrics are theirs alone.

    Raises:
        OSError: what the file system says (disk full); each checkpoint is then whole.
    """
    last = whole_folder(run / CHECKPOINTS / LAST)
    if averaged is None:
        write_json(last / METRICS_NAME, dict(metrics))
    if best:
        try:
            with atomic_folder(run / CHECKPOINTS / BEST) as folder:
                if averaged is None:
                    only_training = shutil.ignore_patterns(TENSORS, NUMBERS, SUMS)
                    shutil.copytree(last, folder, dirs_exist_ok=True, ignore=only_training)
                else:
                    write_model(averaged, folder, metrics)
        except SafetensorError as error:
            raise _as_os_error(error, run / CHECKPOINTS / BEST) from None
    write_json(last / NUMBERS, asdict(progress))


def last_checkpoint(run: Path, report: Reporter | None = None) -> Path:
    """The folder that a run goes on from: the newest that is whole.

    Args:
        run: the run's folder.
        report: is warned of newer ones that are damaged.

    Raises:
        CheckpointError: the run has none.
    """
    last = whole_folder(run / CHECKPOINTS / LAST)
    damaged: list[str] = []
    for folder in [*([last] if last.is_dir() else []), *_older(run / CHECKPOINTS)]:
        reason = damage(folder)
        if reason is None:
            if damaged and report is not None:
                report.warn(f"{damaged[0]}: going on from {folder}, which is older and whole.")
            return folder
        damaged.append(f"{folder} is damaged ({reason})")
    if damaged:
        raise CheckpointError(
            f"{damaged[0]} and there is no older checkpoint that is whole: start a new run, from the best weights of"
            f" this one with --set train.init_from={run} if it has any."
        )
    raise CheckpointError(
        f"{run} has no checkpoint to go on from: start it again with"
        f" `tvrkit train --preset {run / 'config.yaml'} --out {run}`."
    )


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None: missing, cut short, or other bytes than were written."""
    try:
        _progress(checkpoint)
        sums = checkpoint / SUMS
        wanted = json.loads(sums.read_text(encoding="utf-8")) if sums.exists() else {}  # tvrkit 0.1 wrote none
        for name in (WEIGHTS_NAME, TENSORS):
            with safe_open(checkpoint / name, framework="pt"):
                pass
            if name in wanted and wanted[name] != _sum(checkpoint / name):
                return f"{name} is not as it was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename or str(error).split()[-1]).name} is missing"
    except Exception as error:  # safetensors raises its own kind, json and the dataclass theirs
        return " ".join(str(error).split())
    return None


def load_training_state(folder: Path, device: torch.device | str) -> tuple[dict[str, Tensor], Progress]:
    """What `save_last` wrote beside the model.

    Raises:
        CheckpointError: it is not there or is damaged.
    """
    try:
        tensors = load_file(folder / TENSORS, device=str(device))
        progress = _progress(folder)
    except Exception as error:  # safetensors raises its own kind, json and the dataclass theirs
        raise CheckpointError(
            f"{folder} cannot be trained further, its training state is damaged ({' '.join(str(error).split())}):"
            " start a new run."
        ) from None
    return tensors, progress


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, named without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _progress(checkpoint: Path) -> Progress:
    """The numbers of a checkpoint; what is wrong with them is an exception of many kinds."""
    progress: Progress = build_dataclass(Progress, json.loads((checkpoint / NUMBERS).read_text(encoding="utf-8")))
    if progress.step < 0:
        raise ValueError(f"{NUMBERS} has the step {progress.step}")
    return progress


def _older(checkpoints: Path) -> list[Path]:
    """The folders of older steps, newest first."""
    found = [path for path in checkpoints.glob("step-*") if path.is_dir() and _step_of(path) is not None]
    return sorted(found, key=lambda path: _step_of(path) or 0, reverse=True)


def _step_of(folder: Path) -> int | None:
    match = re.fullmatch(r"step-(\d{8,})", folder.name)
    return int(match[1]) if match else None


def _keep_older(last: Path, step: int) -> None:
    """Give what is in `last` a name of its own, by links to its files, if it is of a step before this one."""
    try:
        older = _progress(whole_folder(last)).step
    except (OSError, ValueError, ConfigError):
        return  # the first one, or damaged
    if older < step:  # else it is what a run that went on from an older one does anew
        with atomic_folder(last.with_name(f"step-{older:08d}")) as folder:
            shutil.copytree(whole_folder(last), folder, dirs_exist_ok=True, copy_function=_link)


def _link(source: str, target: str) -> None:
    """A second name for a file; a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _remove_old(checkpoints: Path, step: int, keep: int) -> None:
    """Remove all older checkpoints but `keep`, and what is of steps that are still to come."""
    folders = _older(checkpoints)
    before = [folder for folder in folders if (_step_of(folder) or 0) < step]
    for folder in set(folders) - set(before[:keep]):
        # Renamed first: a kill in the middle leaves nothing that looks like a checkpoint.
        folder.rename(folder.with_name(f".{folder.name}.gone.tmp"))
    for left in checkpoints.glob(".step-*.tmp"):
        shutil.rmtree(left, ignore_errors=True)


def _sum(path: Path) -> int:
    """CRC-32 of a file, at the speed of memory: it is for mishaps, not for malice."""
    value = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            value = zlib.crc32(piece, value)
    return value


def _as_os_error(error: SafetensorError, path: Path) -> Exception:
    """The file system's error in what safetensors says, which has a kind of its own for it."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error

"""Numbers that are none: training stops before they reach the weights, and says in which batch they came up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tvrkit.data import Pair
from tvrkit.errors import TrainingError
from tvrkit.files import whole_folder, write_json
from tvrkit.manifest import Record
from tvrkit.train.state import CHECKPOINTS, LAST, NUMBERS

REPORT = "nonfinite.json"
NAMED = 3
"""Pairs that the sentence names; the report holds all of them."""

Named = Iterable[tuple[str, Tensor]]


def check_finite(
    values: Mapping[str, Tensor],
    *,
    step: int,
    run: Path,
    pairs: Sequence[Pair],
    records: Sequence[Record],
    parts: Mapping[str, Tensor] | None = None,
    parameters: Named = (),
    writes: bool = True,
) -> None:
    """Make sure that a step's numbers are numbers, before the optimiser takes them; waits for the device once.

    Args:
        values: what must be finite, () each, in the order in which it came about: `{"the loss": …, "the gradient": …}`.
        step: counts from 0.
        run: folder of the run.
        pairs: the whole batch of this step, over all processes.
        records: the training split, which `pairs` points into.
        parts: the loss's parts, () each, for the report.
        parameters: names and parameters with their gradients, for the report; of a sharded one, this process's part.
        writes: whether this process writes the report, `nonfinite.json` in the run's folder; else another one does,
            and both say the same.

    Raises:
        TrainingError: one of `values` is NaN or infinite; it names the step, videos, captions and what is kept.
    """
    if bool(torch.stack([value.detach().float() for value in values.values()]).isfinite().all()):
        return
    what, value = next((name, v.item()) for name, v in values.items() if not torch.isfinite(v))
    rows = [_row(pair, records) for pair in pairs]
    report = {
        "step": step + 1,
        "values": {name: _number(v) for name, v in values.items()},
        "parts": {name: _number(part) for name, part in (parts or {}).items()},
        "pairs": rows,
        **_tensors(parameters),
        "kept": _kept(run),
    }
    where = f" (the whole batch is in {run / REPORT})" if not writes or _write(run / REPORT, report) else ""
    raise TrainingError(
        f"{what} is {value} at step {step + 1}, {_words(rows)}{where}; {report['kept']}: look at these videos, or"
        " train with a lower rate (--set train.lr=…, train.clip_lr=…) or train.precision=fp32."
    )


def check_weights(parameters: Named, *, step: int, run: Path) -> None:
    """Make sure that a checkpoint about to be written is a good one, so that the one before it stays.

    Args:
        parameters: names and parameters, the shards of this process where they are sharded.
        step: optimiser steps done.
        run: folder of the run.

    Raises:
        TrainingError: a weight is NaN or infinite; names the parameters and the checkpoint that is kept.
    """
    bad = _not_finite(parameters)
    if bad:
        raise TrainingError(
            f"the weights are no numbers any more after step {step} ({_first(bad)}), so they are not saved;"
            f" {_kept(run)}: train with a lower rate (--set train.lr=…, train.clip_lr=…) or train.precision=fp32."
        )


def _row(pair: Pair, records: Sequence[Record]) -> dict[str, Any]:
    record = records[pair.video]
    return {"video_id": record.video_id, "path": record.path, "caption": record.captions[pair.caption]}


def _words(rows: Sequence[Mapping[str, Any]]) -> str:
    names = [f"{row['video_id']} ({_short(row['caption'])})" for row in rows]
    return f"with the videos {_first(names)}"


def _first(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _short(caption: str, length: int = 60) -> str:
    caption = " ".join(caption.split())
    return f'"{caption if len(caption) <= length else caption[: length - 1].rstrip() + "…"}"'


def _tensors(parameters: Named) -> dict[str, list[str]]:
    parameters = list(parameters)
    gradients = [(name, p.grad) for name, p in parameters if p.grad is not None]
    return {"gradients_not_finite": _not_finite(gradients), "weights_not_finite": _not_finite(parameters)}


def _not_finite(tensors: Named) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity; waits for the device once."""
    flags: dict[torch.device, list[tuple[str, Tensor]]] = {}
    for name, tensor in tensors:
        local = tensor.detach()
        local = local.to_local() if hasattr(local, "to_local") else local
        flags.setdefault(local.device, []).append((name, torch.isfinite(local).all()))
    return [
        name
        for of_device in flags.values()
        for (name, _), good in zip(of_device, torch.stack([flag for _, flag in of_device]).tolist(), strict=True)
        if not good
    ]


def _number(value: Tensor) -> float | str:
    """A number as JSON has it, or the word for one that it has not."""
    number = float(value.detach())
    return number if number - number == 0 else str(number)


def _kept(run: Path) -> str:
    try:
        numbers = whole_folder(run / CHECKPOINTS / LAST) / NUMBERS
        step = json.loads(numbers.read_text(encoding="utf-8"))["step"]
    except (OSError, ValueError, KeyError):
        return "no checkpoint had been written"
    return f"the checkpoint of step {step} is kept"


def _write(path: Path, report: Mapping[str, Any]) -> bool:
    try:
        write_json(path, report)
    except OSError:  # a full disk: the sentence matters more
        return False
    return True

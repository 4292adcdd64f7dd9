"""One optimiser step: from a batch to a loss, from a loss to new weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tvrkit.config import Config
from tvrkit.core.model import RetrievalModel
from tvrkit.data import Batch
from tvrkit.errors import TrainingError
from tvrkit.manifest import Record
from tvrkit.train.objective import Loss, Objective
from tvrkit.train.optim import clip_gradients
from tvrkit.train.sources import Source


def forward(
    model: RetrievalModel,
    objective: Objective,
    source: Source,
    batch: Batch,
    records: Sequence[Record],
    config: Config,
    step: int,
) -> Loss:
    """The loss of a batch.

    Raises:
        TrainingError: it is NaN or infinite; the message names the step and the batch's videos.
    """
    captions = [records[pair.video].captions[pair.caption] for pair in batch.pairs]
    key_words = None
    if config.model.key_words:
        key_words = [(records[pair.video].key_words or ())[pair.caption] for pair in batch.pairs]
    tokens = model.tokenize(captions, key_words).to(model.device)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=use_bf16(config.train.precision, model.device)):
        text = model.encode_text(tokens)
        frames, mask = source.features(model, batch)
        video = model.encode_video(frames, mask)
        loss = objective(model, text, video, batch.video_ids.to(model.device), step)
    _check_finite("the loss", loss.total, batch, records, step)
    return loss


def update(
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    largest_gradient: float,
    batch: Batch,
    records: Sequence[Record],
    step: int,
) -> Tensor:
    """One step of the optimiser; returns the gradient norm before clipping, ().

    Raises:
        TrainingError: that norm is NaN or infinite; the weights are then as they were.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.total.backward()
    norm = clip_gradients(optimizer, largest_gradient)
    _check_finite("the gradient", norm, batch, records, step)
    optimizer.step()
    return norm


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether the forward pass runs in bfloat16; `auto` does on GPUs that compute in it, and on nothing else."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return precision == "bf16"


def _check_finite(what: str, value: Tensor, batch: Batch, records: Sequence[Record], step: int) -> None:
    if not torch.isfinite(value):
        videos = ", ".join(dict.fromkeys(records[pair.video].video_id for pair in batch.pairs))
        raise TrainingError(
            f"{what} is {value.item()} at step {step + 1}, with the videos {videos}; the last checkpoint before it is"
            " kept: look at these videos, or train with a lower rate (--set train.lr=…) or train.precision=fp32."
        )

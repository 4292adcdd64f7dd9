"""What a run will take, before it is started: steps, parameters, memory, time and disk.

Counts come from the prepared data set, else from its protocol; costs from `costs.py`, measured; the rest is arithmetic.
What is left out is said where it is shown: reading videos, talk between processes, and what libraries need themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from tvrkit.config import Config
from tvrkit.core.model import RetrievalModel
from tvrkit.errors import ConfigError
from tvrkit.train.bare import random_model
from tvrkit.train.costs import Costs, measure_costs
from tvrkit.train.counts import Counts, batches_of_an_epoch, count_data
from tvrkit.train.objective import Objective
from tvrkit.train.optim import parameter_groups

FLOAT = 4
ADAM_STATES = 2


@dataclass(frozen=True)
class Part:
    """A part of the model: its parameters, those that learn, and their lowest and highest peak rate."""

    name: str
    parameters: int
    trained: int
    rates: tuple[float, float] | None


@dataclass(frozen=True)
class Memory:
    """Bytes that one process needs at once."""

    weights: float
    gradients: float
    optimizer: float
    average: float
    activations: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.weights + self.gradients + self.optimizer + self.average + self.activations


@dataclass(frozen=True)
class Estimate:
    """A run in numbers; times and memory are None where nothing was measured.

    Attributes:
        counts: of the data.
        batches: of an epoch.
        epochs: times through the data, the last perhaps in part.
        steps: of the optimiser.
        processes: that share each batch.
        share: pairs of a batch on the process that has most.
        micro_batch: pairs of it that go through the towers at a time.
        parts: of the model and the objective.
        memory: of one process.
        memory_of: pairs at a time -> bytes, for choosing `train.micro_batch`.
        step_seconds: part -> seconds of one step.
        once_seconds: what towers that stand still make of frames and captions, computed before the first step.
        validation_seconds: of one validation.
        validations: how many there are.
        step_flops: floating-point operations of one step, over all processes.
        disk: what -> bytes.
        costs: what was measured.
    """

    counts: Counts
    batches: int
    epochs: float
    steps: int
    processes: int
    share: int
    micro_batch: int
    parts: tuple[Part, ...]
    memory: Memory | None
    memory_of: dict[int, float]
    step_seconds: dict[str, float]
    once_seconds: float
    validation_seconds: float
    validations: int
    step_flops: float
    disk: dict[str, float]
    costs: Costs | None = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """The whole run, where it was measured."""
        steps = self.steps * sum(self.step_seconds.values())
        return self.once_seconds + steps + self.validations * self.validation_seconds


def estimate(
    config: Config, *, processes: int = 1, device: str = "cpu", measure: bool = True, keep_bf16: bool | None = None
) -> Estimate:
    """Say what a run would take; nothing is written, and neither data, weights nor a network are needed.

    Args:
        config: of the run.
        processes: that would share each batch.
        device: on which the parts are measured.
        measure: whether to measure; else times and memory are left out.
        keep_bf16: as in `measure_costs`.

    Raises:
        ConfigError: no data set is named, nothing is left to train, or a batch has fewer pairs than processes.
        ModelError: there is no such backbone.
    """
    counts, records = count_data(config)
    if processes > config.train.batch_size:
        raise ConfigError(
            f"{processes} processes cannot share a batch of {config.train.batch_size}: set train.batch_size higher."
        )
    model, objective = random_model(config, device)
    parts = _parts(model, objective, config)
    costs = measure_costs(model, objective, config, keep_bf16=keep_bf16) if measure else None
    pixels = _pixels(model)
    backbone = model.backbone
    dim, width = backbone.dim, backbone.image_width
    still = _Still(
        frames=backbone.images_stand_still and config.data.sampling != "random",
        texts=backbone.text_stands_still and config.train.parallel == "ddp",
    )
    del model, objective, backbone
    batches = batches_of_an_epoch(config, counts, records)
    steps = config.train.max_steps or batches * config.train.epochs
    share = math.ceil(min(config.train.batch_size, counts.captions) / processes)
    micro = min(config.train.micro_batch or share, share)
    job = _Job(config, parts, costs, processes, share, pixels, dim, width, still)
    epochs = steps / batches
    return Estimate(
        counts=counts,
        batches=batches,
        epochs=epochs,
        steps=steps,
        processes=processes,
        share=share,
        micro_batch=micro,
        parts=parts,
        memory=job.memory(micro) if costs else None,
        memory_of={size: job.memory(size).total for size in _halves(share)} if costs else {},
        step_seconds=job.step_seconds(micro) if costs else {},
        once_seconds=job.once_seconds(counts) if costs else 0.0,
        validation_seconds=job.validation_seconds(counts) if costs else 0.0,
        validations=math.ceil(math.ceil(epochs) / config.train.eval_every_epochs) if counts.val_videos else 0,
        step_flops=job.step_flops(),
        disk=job.disk(counts),
        costs=costs,
    )


def _parts(model: RetrievalModel, objective: Objective, config: Config) -> tuple[Part, ...]:
    """The parts and their rates, from the optimiser's own groups."""
    peaks: dict[int, float] = {}
    for group in parameter_groups(model, {"objective": objective}, config.train):
        peaks |= dict.fromkeys(map(id, group["params"]), group["peak"])
    backbone = model.backbone
    vision = {id(parameter) for parameter in backbone.vision_parameters()}
    modules: dict[str, list[nn.Parameter]] = {
        "image tower": list(backbone.vision_parameters()),
        "text tower": [p for p in backbone.parameters() if id(p) not in vision],
        "temporal encoder": [] if model.temporal is None else list(model.temporal.parameters()),
        "interaction": list(model.interaction.parameters()),
        "loss": list(objective.parameters()),
    }
    parts = []
    for name, parameters in modules.items():
        rates = [peaks[id(p)] for p in parameters if id(p) in peaks]
        trained = sum(p.numel() for p in parameters if id(p) in peaks)
        if parameters:
            total = sum(p.numel() for p in parameters)
            parts.append(Part(name, total, trained, (min(rates), max(rates)) if rates else None))
    return tuple(parts)


def _pixels(model: RetrievalModel) -> int:
    size = model.backbone.clip.visual.image_size
    height, width = size if isinstance(size, Sequence) else (size, size)
    return 3 * int(height) * int(width)


def _halves(share: int) -> list[int]:
    sizes = [share]
    while sizes[-1] > 1:
        sizes.append(math.ceil(sizes[-1] / 2))
    return sizes


@dataclass(frozen=True)
class _Still:
    """What is computed once and looked up."""

    frames: bool
    texts: bool


@dataclass(frozen=True)
class _Job:
    """The arithmetic of one process."""

    config: Config
    parts: tuple[Part, ...]
    costs: Costs | None
    processes: int
    share: int
    pixels: int
    dim: int
    width: int
    still: _Still

    @property
    def _frames(self) -> int:
        return self.config.model.num_frames

    def _sum(self, what: str) -> float:
        """Parameters on one process: FSDP keeps a part of each tower there."""
        total = 0.0
        for part in self.parts:
            split = self.config.train.parallel == "fsdp" and part.name.endswith("tower")
            total += getattr(part, what) / (self.processes if split else 1)
        return total

    def memory(self, micro: int) -> Memory:
        """With `micro` pairs in the towers at a time."""
        costs, trained = self._measured(), self._sum("trained")
        all_pairs, batch = self.share, self.config.train.batch_size
        frames = 0.0 if self.still.frames else costs.frame.kept * self._frames
        texts = 0.0 if self.still.texts else costs.text.kept
        towers = micro * (frames + texts)
        heads = all_pairs * costs.pair.kept + all_pairs * batch * costs.cell.kept
        features = all_pairs * (self._frames + self.config.model.max_words + 1) * self.dim * FLOAT * 2
        # A frame arrives in 8 bits a colour and is normalised for the tower.
        pixels = 0.0 if self.still.frames else self._frames * self.pixels * (all_pairs + FLOAT * micro)
        # Autocast keeps a 16-bit copy of each weight from its first use in a pass to its end.
        copies = 0.5 * FLOAT * self._sum("parameters") if costs.bf16 else 0.0
        return Memory(
            weights=FLOAT * self._sum("parameters") + copies,
            gradients=FLOAT * trained,
            optimizer=FLOAT * ADAM_STATES * trained,
            average=FLOAT * trained if self.config.train.ema else 0.0,
            activations=towers + heads + features + pixels,
        )

    def step_seconds(self, micro: int) -> dict[str, float]:
        """Of one step, part by part."""
        costs, batch = self._measured(), self.config.train.batch_size
        # Gradient caching runs the towers once more, forward only.
        again = micro < self.share
        image = 0.0 if self.still.frames else self._frames * (costs.frame.both + again * costs.frame.forward)
        text = 0.0 if self.still.texts else costs.text.both + again * costs.text.forward
        return {
            "image tower": self.share * image,
            "text tower": self.share * text,
            "behind the towers": self.share * (costs.pair.both + batch * costs.cell.both),
            "optimiser": self._sum("trained") * costs.parameter,
        }

    def once_seconds(self, counts: Counts) -> float:
        """Frames of all videos and all captions through towers that stand still."""
        costs = self._measured()
        videos, captions = counts.videos + counts.val_videos, counts.captions + counts.val_captions
        frames = videos * self._frames * costs.frame.forward if self.still.frames else 0.0
        texts = captions * costs.text.forward if self.still.texts else 0.0
        return (frames + texts) / self.processes

    def validation_seconds(self, counts: Counts) -> float:
        """One ranking of the validation split."""
        costs = self._measured()
        frame = 0.0 if self.still.frames else self._frames * costs.frame.forward
        videos = counts.val_videos * (frame + costs.pair.forward)
        text = 0.0 if self.still.texts else costs.text.forward
        texts = counts.val_captions * (text + counts.val_videos * costs.cell.forward)
        return (videos + texts) / self.processes

    def step_flops(self) -> float:
        """Forward once, backward twice that, over all processes."""
        if self.costs is None:
            return 0.0
        batch = self.config.train.batch_size
        learning = {part.name for part in self.parts if part.trained}
        frames = 0 if self.still.frames else 3 if "image tower" in learning else 1
        texts = 0 if self.still.texts else 3 if "text tower" in learning else 1
        towers = frames * self._frames * self.costs.frame.flops + texts * self.costs.text.flops
        return batch * (towers + 3 * (self.costs.pair.flops + batch * self.costs.cell.flops))

    def disk(self, counts: Counts) -> dict[str, float]:
        """Checkpoints, and what is cached."""
        train, model = self.config.train, self.config.model
        weights = FLOAT * sum(part.parameters for part in self.parts)
        trained = FLOAT * sum(part.trained for part in self.parts)
        last = weights + trained * (ADAM_STATES + bool(train.ema))
        # One more while the next is written, before it takes its place.
        disk: dict[str, float] = {"checkpoints": weights + last * (train.keep_last + 1)}
        videos = counts.videos + counts.val_videos
        if self.still.frames:
            disk["frame features"] = videos * model.num_frames * self.width * FLOAT
        elif self.config.data.cache_frames:
            disk["decoded frames, at most"] = videos * model.num_frames * self.pixels
        return disk

    def _measured(self) -> Costs:
        assert self.costs is not None
        return self.costs


def device_memory(device: str) -> float | None:
    """Bytes of a GPU, or of this machine; None where it cannot be known."""
    if device.startswith("cuda"):
        return float(torch.cuda.get_device_properties(device).total_memory)
    import os

    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    known = getattr(os, "sysconf_names", {})
    return float(math.prod(os.sysconf(name) for name in names)) if all(n in known for n in names) else None

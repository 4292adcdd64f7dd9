"""What a training step costs in time and memory, measured part by part at the real shapes with random weights.

The towers' cost grows with the frames and the texts, the temporal encoder's and the partial orders' with the pairs, the
interaction's with the pairs squared: so each is run at a few small sizes, and the rest is arithmetic (`estimate.py`).
No data, no pretrained weights, no tokenizer and no network are needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tvrkit.config import Config
from tvrkit.core.features import TextFeatures, Tokens, VideoFeatures
from tvrkit.core.model import RetrievalModel
from tvrkit.train.gradients import use_bf16
from tvrkit.train.objective import Objective
from tvrkit.train.optim import make_optimizer, train_mode
from tvrkit.train.towers import checkpoint_gradients

SECONDS_A_PART = 2.0
"""Roughly what one measurement may take; a slow device measures fewer frames."""
MOST_IMAGES = {"cpu": 8, "cuda": 96}
PAIRS = {"cpu": 8, "cuda": 32}
OPTIMISER_SAMPLE = 4_000_000


@dataclass(frozen=True)
class Cost:
    """One part, for one frame, text, pair, or text with a video.

    Attributes:
        forward: seconds of a forward pass alone.
        both: seconds of a forward and a backward pass.
        kept: bytes that the forward pass keeps for the backward one.
        flops: floating-point operations of the forward pass (those of matrix products and convolutions).
    """

    forward: float = 0.0
    both: float = 0.0
    kept: float = 0.0
    flops: float = 0.0


@dataclass(frozen=True)
class Costs:
    """A step's parts as measured on one device.

    Attributes:
        frame: the image tower on one frame.
        text: the text tower on one text.
        pair: temporal encoder and partial orders of one pair.
        cell: the similarity of one text with one video.
        parameter: seconds in which the optimiser changes one parameter.
        device: where this was measured, in words.
        bf16: whether what they keep was counted in bfloat16.
        seconds: what the measuring itself took.
    """

    frame: Cost
    text: Cost
    pair: Cost
    cell: Cost
    parameter: float
    device: str
    bf16: bool
    seconds: float


def measure_costs(
    model: RetrievalModel, objective: Objective, config: Config, *, keep_bf16: bool | None = None
) -> Costs:
    """Run each part on the model's device, in the config's precision.

    Args:
        model: of `random_model`.
        objective: likewise.
        config: of both.
        keep_bf16: whether to count what a run in bfloat16 would keep, for another device than this; None: as here.
    """
    begun, device = time.monotonic(), model.device
    train_mode(model)
    if config.train.gradient_checkpointing:
        checkpoint_gradients(model)
    bf16 = use_bf16(config.train.precision, device)
    kept_in_bf16 = bf16 if keep_bf16 is None else keep_bf16
    weights = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *objective.parameters())}
    meter = _Meter(device, bf16, kept_in_bf16, weights)
    vision_learns = any(p.requires_grad for p in model.backbone.vision_parameters())
    text_learns = any(p.requires_grad for p in model.backbone.text_parameters())
    frame = meter.linear(lambda n: _images(model, n), learns=vision_learns, most=MOST_IMAGES.get(device.type, 8))
    text = meter.linear(lambda n: _texts(model, n), learns=text_learns, most=MOST_IMAGES.get(device.type, 8))
    pair, cell = meter.quadratic(lambda n: _heads(model, objective, n), PAIRS.get(device.type, 8))
    return Costs(
        frame=frame,
        text=text,
        pair=pair,
        cell=cell,
        parameter=_optimiser_seconds(config, device, meter),
        device=device_words(device),
        bf16=kept_in_bf16,
        seconds=time.monotonic() - begun,
    )


def device_words(device: torch.device) -> str:
    """A GPU's name, or the CPU's number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"this machine's CPU, {threads} thread{'' if threads == 1 else 's'}"


def _images(model: RetrievalModel, number: int) -> Callable[[], Tensor]:
    size = model.backbone.clip.visual.image_size
    height, width = size if isinstance(size, Sequence) else (size, size)
    pixels = torch.randn(number, 3, height, width, device=model.device)
    return lambda: model.backbone.encode_images(pixels).float().sum()


def _texts(model: RetrievalModel, number: int) -> Callable[[], Tensor]:
    from tvrkit.core.towers import may_be_trimmed, text_tower

    backbone = model.backbone
    words = backbone.max_words
    length = words if may_be_trimmed(backbone.clip) else backbone.context_length
    # The highest id is a text's end in CLIP's vocabulary, and any other id is as good elsewhere.
    of_hugging_face = getattr(getattr(text_tower(backbone.clip), "config", None), "vocab_size", None)
    last = int(of_hugging_face or backbone.spec.text_cfg.get("vocab_size", 49408)) - 1
    ids = torch.randint(1, max(2, last), (number, length), device=model.device)
    ids[:, words - 1] = last
    mask = torch.ones(number, words, dtype=torch.bool, device=model.device)
    tokens = Tokens(ids, mask, mask.float())

    def run() -> Tensor:
        text = model.encode_text(tokens)
        return text.text_features.sum() + text.word_features.sum()

    return run


def _heads(model: RetrievalModel, objective: Objective, number: int) -> Callable[[], Tensor]:
    """Everything behind the towers, for `number` pairs with all their words and frames."""
    config, device, dim, words = model.config, model.device, model.backbone.dim, model.backbone.max_words
    frames = torch.randn(number, config.num_frames, model.backbone.image_width, device=device, requires_grad=True)
    frame_mask = torch.ones(number, config.num_frames, dtype=torch.bool, device=device)
    sentence = torch.randn(number, dim, device=device, requires_grad=True)
    word_features = torch.randn(number, words, dim, device=device, requires_grad=True)
    word_mask = torch.ones(number, words, dtype=torch.bool, device=device)
    unit = nn.functional.normalize

    def run() -> Tensor:
        text = TextFeatures(unit(sentence, dim=-1), unit(word_features, dim=-1), word_mask, word_mask.float())
        video: VideoFeatures = model.encode_video(frames, frame_mask)
        total = model.similarity(text, video).sum()
        if objective.partial is not None:
            orders = objective.partial(text, video)
            total = total + orders.positive.sum() + orders.negative.sum()
        return total

    return run


def _optimiser_seconds(config: Config, device: torch.device, meter: _Meter) -> float:
    """Seconds a parameter of one optimiser step, its gradient's norm included."""
    parameter = nn.Parameter(torch.zeros(OPTIMISER_SAMPLE // 1000, 1000, device=device))
    group = {"params": [parameter], "names": ["sample"], "peak": 0.0, "weight_decay": config.train.weight_decay}
    optimizer = make_optimizer([group], config.train)

    def run() -> None:
        parameter.grad = torch.ones_like(parameter)
        nn.utils.clip_grad_norm_([parameter], 1.0)
        optimizer.step()

    return meter.seconds(run) / OPTIMISER_SAMPLE


class _Meter:
    """Times a part and counts what it keeps; `weights` are the storages that are there anyway."""

    def __init__(self, device: torch.device, bf16: bool, keep_bf16: bool, weights: set[int]) -> None:
        self._device, self._bf16, self._keep_bf16, self._weights = device, bf16, keep_bf16, weights

    def linear(self, make: Callable[[int], Callable[[], Tensor]], *, learns: bool, most: int) -> Cost:
        """Cost of one of a kind whose cost is in proportion to their number."""
        one, two = make(1), make(2)
        (kept_by_one, flops), (kept_by_two, _) = self._counted(one), self._counted(two)
        kept = max(0.0, kept_by_two - kept_by_one) if learns else 0.0
        number = int(min(most, max(2.0, SECONDS_A_PART / self.seconds(lambda: self._pass(two, learns), tries=1) * 2)))
        many = make(number)
        forward = self.seconds(lambda: self._pass(many, False)) / number
        both = self.seconds(lambda: self._pass(many, True)) / number if learns else forward
        return Cost(forward, both, kept, flops)

    def quadratic(self, make: Callable[[int], Callable[[], Tensor]], unit: int) -> tuple[Cost, Cost]:
        """Cost of one of a kind, and of one meeting of two, where n of them cost k + a n + c n^2.

        Bytes and operations are counted, so `unit`, twice and three times that many give a and c exactly. Times at
        small sizes are too noisy for that: the largest size's is shared out as the operations are.
        """
        runs = [make(times * unit) for times in (1, 2, 3)]
        kept, flops = zip(*(self._counted(run) for run in runs), strict=True)
        (kept_one, kept_meeting), (flops_one, flops_meeting) = _parabola(unit, kept), _parabola(unit, flops)
        number, run = 3 * unit, runs[-1]
        forward = self.seconds(lambda: self._pass(run, False))
        both = self.seconds(lambda: self._pass(run, True))
        share = flops_one / max(1.0, flops_one + flops_meeting * number)
        left = (1 - share) / number**2
        single = Cost(forward * share / number, both * share / number, kept_one, flops_one)
        return single, Cost(forward * left, both * left, kept_meeting, flops_meeting)

    def seconds(self, run: Callable[[], object], tries: int = 2) -> float:
        """The least of a few after one to warm up, or a first one alone that takes long."""
        taken: list[float] = []
        for number in range(tries + 1):
            self._wait()
            start = time.perf_counter()
            run()
            self._wait()
            taken.append(time.perf_counter() - start)
            if number == 0 and taken[0] > SECONDS_A_PART / 2:
                break
        return max(1e-9, min(taken))

    def _pass(self, run: Callable[[], Tensor], backward: bool) -> None:
        with torch.set_grad_enabled(backward), self._precision(self._bf16):
            total = run()
        if backward and total.requires_grad:
            total.backward()

    def _counted(self, run: Callable[[], Tensor]) -> tuple[float, float]:
        """Bytes of all that autograd saves, each storage once and without the weights; and operations."""
        storages: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._weights:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor  # which the graph holds, so that no other can take its place in memory

        hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
        with self._precision(self._keep_bf16), hooks, _Operations() as counted:
            total = run()
        del total
        return float(sum(storages.values())), counted.flops

    def _precision(self, bf16: bool) -> AbstractContextManager[object]:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=bf16)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _parabola(unit: int, values: Sequence[float]) -> tuple[float, float]:
    """The a and the c of k + a n + c n^2 at n = 1, 2 and 3 units, neither below 0."""
    one, two, three = values
    c = max(0.0, (three - 2 * two + one) / (2 * unit**2))
    return max(0.0, (two - one) / unit - 3 * unit * c), c


class _Operations(TorchDispatchMode):
    """Counts floating-point operations by torch's own table; its counter fails on modules called under no_grad."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        return result

"""Where the time of a training step goes, against the encoders alone and a plain step as CLIP4Clip's code does it.

    python benchmarks/train_step.py                                                 the tiny model on the CPU
    python benchmarks/train_step.py --backbone ViT-B-32 --batch 8 --frames 4        real shapes, random weights
    python benchmarks/train_step.py --backbone ViT-B-32 --batch 128 --frames 12     on a GPU: bf16, MFU as well
    python benchmarks/train_step.py --backbone ViT-B-32 --batch 128 --scaled 4      its shares, measured on a CPU

Each part runs forward and backward by itself on detached inputs, so that the parts can be added up; whole steps stand
below them. All of the paper's parts are on, nothing is frozen, pixels lie on the device already. Three steps take
turns: ours; the encoders alone (their features summed, backward, optimiser); and the plain one, which is ours with what
the field's code has instead: whole-tensor einsums for the token-wise scores (`--plain mean`: the mean of the frames, as
CLIP4Clip's meanP), symmetric cross entropy, texts padded to the context length, AdamW parameter by parameter, fp32.
`--scaled N` measures the encoders on N videos, whose time grows with their number and nothing else, and takes it times
batch / N; what meets every caption with every video runs on the whole batch. On the CPU it is CPU seconds of one
thread, the least of several tries; on a GPU the median, with the device waited for.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from timing import peak_bytes, row
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, pad
from torch.utils.flop_counter import FlopCounterMode

from tvrkit.config import LossConfig, ModelConfig, TrainConfig, load_config
from tvrkit.core import RetrievalModel, TextFeatures, Tokens, VideoFeatures, build_model
from tvrkit.losses import neg_nce, triplet_partial_margin
from tvrkit.train.objective import Objective
from tvrkit.train.optim import clip_gradients, freeze, make_optimizer, parameter_groups, set_rates, train_mode
from tvrkit.train.towers import prepare_towers

PEAK_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "RTX 4090": 165, "A10G": 70, "L4": 121}
"""Dense bf16 by the makers' data sheets; `--peak-tflops` for another GPU."""


class Step:
    """A model, a batch that is there already, and the parts of a step."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.device = torch.device(options.device)
        self.bf16 = options.precision == "bf16"
        method = {"interaction": "weighted_token_wise", "text_side": "both", "key_words": True, "nearest_frame": True}
        config: ModelConfig = replace(load_config("tiny").model, **method)
        if options.backbone:
            shapes = {"num_frames": options.frames, "max_words": 32, "temporal": "transformer", "temporal_layers": 4}
            config = replace(config, backbone=options.backbone, pretrained=None, **shapes)
        torch.manual_seed(0)
        model: RetrievalModel = build_model(config, self.device)
        self.model = model
        self.objective = Objective(
            LossConfig(name="neg_nce", partial_weight=1.0),
            dim=model.backbone.dim,
            num_frames=config.num_frames,
            max_words=model.backbone.max_words,
        ).to(self.device)
        freeze(model, "none", learn_scale=False)
        settings = TrainConfig(
            lr=0.0, clip_lr=0.0, compile=options.compile, gradient_checkpointing=options.gradient_checkpointing
        )
        prepare_towers(model, settings)
        train_mode(model)
        groups = parameter_groups(model, {"objective": self.objective}, settings)
        self.optimizer = make_optimizer(groups, settings)
        learned = [{**group, "lr": 0.0} for group in groups]
        self.plain_optimizer = torch.optim.AdamW(learned, lr=0.0, betas=(0.9, 0.98), eps=1e-6, foreach=False)

        size = model.backbone.preprocess_cfg["size"]
        height, width = (size, size) if isinstance(size, int) else size
        few = options.scaled or options.batch
        self.rows = torch.arange(options.batch, device=self.device) % few  # of the encoded ones, for the whole batch
        self.pixels = torch.randn(few, config.num_frames, 3, height, width, device=self.device)
        self.mask = torch.ones(few, config.num_frames, dtype=torch.bool, device=self.device)
        self.captions = [
            f"a small red circle moves left then {n} big blue squares move up" for n in range(options.batch)
        ]
        self.ids = torch.arange(options.batch, device=self.device)
        self.tokens = model.tokenize(self.captions[:few]).to(self.device)

    def autocast(self, function: Callable[[], object]) -> Callable[[], object]:
        def under() -> object:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                return function()

        return under

    def parts(self) -> dict[str, Callable[[], object]]:
        """Forward and backward of each."""
        model, mask, objective = self.model, self.mask, self.objective
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            frames = model.encode_frames(self.pixels, mask)[self.rows]
            frames += 0.1 * torch.randn_like(frames)  # no two alike
            text = model.encode_text(self.tokens)[self.rows]
            video = model.encode_video(frames, mask[self.rows])
            similarity = model.similarity(text, video)

        def margins() -> None:
            assert objective.partial is not None
            orders = objective.partial(leaf_text(text), leaf_video(video))
            found = zip(orders.positive, orders.negative, orders.valid, strict=True)
            torch.stack([triplet_partial_margin(*order, 0.1) for order in found]).sum().backward()

        def encode_text() -> None:
            encoded = model.encode_text(self.tokens)
            total(encoded.text_features, encoded.word_features).backward()

        parts: dict[str, Callable[[], object]] = {
            "vision": lambda: model.encode_frames(self.pixels, mask).sum().backward(),
            "tokenizer": lambda: model.tokenize(self.captions),
            "text": encode_text,
            "temporal": lambda: model.encode_video(leaf(frames), mask[self.rows]).frame_features.sum().backward(),
            "interaction": lambda: model.similarity(leaf_text(text), leaf_video(video)).sum().backward(),
            "NegNCE": lambda: neg_nce(leaf(similarity), 100.0, video_ids=self.ids).backward(),
            "TPM-CL": margins,
        }
        return {name: self.autocast(part) for name, part in parts.items()} | {
            "clip gradient": lambda: clip_gradients(self.optimizer, 1.0),
            "optimiser": self.optimizer.step,
        }

    def ours(self) -> None:
        """As tvrkit trains."""
        model = self.model
        set_rates(self.optimizer, 1.0)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            tokens = model.tokenize(self.captions).to(self.device)
            text = model.encode_text(tokens)
            video = model.encode_video(model.encode_frames(self.pixels, self.mask), self.mask)
            loss = self.objective(model, text, video, self.ids, 0).total
        loss.backward()
        clip_gradients(self.optimizer, 1.0)
        self.optimizer.step()

    def encoders(self) -> None:
        """(a) The two towers, and nothing on top of them."""
        self.optimizer.zero_grad()
        self.encoders_backward()
        self.optimizer.step()

    def encoders_backward(self) -> None:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            text = self.model.encode_text(self.tokens)
            frames = self.model.encode_frames(self.pixels, self.mask)
        total(text.text_features, text.word_features, frames).backward()

    def plain(self, kind: str) -> None:
        """(b) What one writes first, and what the field's code does."""
        model = self.model
        self.plain_optimizer.zero_grad()
        tokens = padded(model.tokenize(self.captions), model.backbone.context_length).to(self.device)
        text = model.encode_text(tokens)
        video = model.encode_video(model.encode_frames(self.pixels, self.mask), self.mask)
        if kind == "mean":
            similarity = text.text_features @ normalize(video.frame_features.mean(dim=1), dim=-1).T
        else:
            similarity = whole_tensor(model, text, video)
        logits = 100.0 * similarity
        (0.5 * (cross_entropy(logits, self.ids) + cross_entropy(logits.T, self.ids))).backward()
        parameters = [p for group in self.plain_optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=False)
        self.plain_optimizer.step()


def whole_tensor(model: RetrievalModel, text: TextFeatures, video: VideoFeatures) -> Tensor:
    """Learned token-wise scores, every step on the (t, v, w, f) tensor, as DRL's code has them."""
    frame_pool = model.interaction.frame_weights(video.frame_features, video.frame_mask)
    word_pool = model.interaction.word_weights(text.word_features, text.word_mask)
    scores = torch.einsum("twd,vfd->tvwf", text.word_features, video.frame_features)
    scores = torch.einsum("tvwf,tw->tvwf", scores, text.word_mask.float())
    scores = torch.einsum("tvwf,vf->tvwf", scores, video.frame_mask.float())
    by_words = torch.einsum("tvw,tw->tv", scores.max(dim=3).values, word_pool)
    by_frames = torch.einsum("tvf,vf->tv", scores.max(dim=2).values, frame_pool)
    return 0.5 * (by_words + by_frames)


def padded(tokens: Tokens, length: int) -> Tokens:
    return Tokens(pad(tokens.ids, (0, length - tokens.ids.shape[1])), tokens.word_mask, tokens.word_weights)


def leaf(tensor: Tensor) -> Tensor:
    """The same numbers, where a backward pass ends."""
    return tensor.detach().requires_grad_()


def leaf_text(text: TextFeatures) -> TextFeatures:
    return replace(text, text_features=leaf(text.text_features), word_features=leaf(text.word_features))


def leaf_video(video: VideoFeatures) -> VideoFeatures:
    return replace(video, frame_features=leaf(video.frame_features))


def total(*features: Tensor) -> Tensor:
    return torch.stack([tensor.float().sum() for tensor in features]).sum()


def timed(functions: dict[str, Callable[[], object]], tries: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each, called in turn after one call to warm up."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(tries + 1):
        for name, function in functions.items():
            synchronize(device)
            start = clock()
            function()
            synchronize(device)
            if turn:
                taken[name].append(clock() - start)
    return taken


def best(taken: dict[str, list[float]], device: torch.device) -> dict[str, float]:
    """The median on a GPU, the least on a CPU."""
    choose = statistics.median if device.type == "cuda" else min
    return {name: choose(values) for name, values in taken.items()}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gigabytes(function: Callable[[], object], device: torch.device) -> float:
    """Most memory held during a call: all that torch holds on a GPU, a call's own tensors on the CPU."""
    if device.type != "cuda":
        return peak_bytes(function) / 1e9
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    function()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) / 1e9


def peak_tflops(device: torch.device, given: float | None) -> float | None:
    if given or device.type != "cuda":
        return given
    name = torch.cuda.get_device_name(device)
    return next((float(tflops) for word, tflops in PEAK_TFLOPS.items() if word in name), None)


def goal(words: str, value: float, most: float) -> str:
    return f"{words}: {value:.1f} % (goal: at most {most:g} %, {'met' if value <= most else 'NOT met'})"


def main() -> None:
    """Read the options and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the tiny model, a batch of 16 and 2 tries")
    parser.add_argument("--backbone", help="an open_clip name, with random weights; default: the tiny model")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--frames", type=int, default=12, help="of a video, with --backbone")
    parser.add_argument("--scaled", type=int, metavar="N", help="measure the encoders on N videos, and scale")
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: bf16 on a GPU, fp32 elsewhere")
    parser.add_argument("--plain", choices=("tokens", "mean"), default="tokens", help="what the plain step scores with")
    parser.add_argument("--compile", action="store_true", help="torch.compile for the towers' blocks")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--peak-tflops", type=float, help="of the device in this precision, for MFU")
    options = parser.parse_args()
    if options.small:
        options.batch, options.tries, options.backbone, options.device = 16, 2, None, "cpu"
        options.scaled = None
    if options.precision is None:
        options.precision = "bf16" if options.device.startswith("cuda") else "fp32"
    torch.set_num_threads(1)
    step = Step(options)
    where = torch.cuda.get_device_name(step.device) if step.device.type == "cuda" else "CPU, one thread"
    frames = step.pixels.shape[1]
    print(f"{options.backbone or 'tiny'}, batch {options.batch} x {frames} frames, {options.precision}, {where}")
    if options.scaled:
        show_parts(step, options, None)
        return
    whole, held = show_steps(step, options)
    mfu = show_parts(step, options, best(whole, step.device)["ours"])
    report(f"a step of {options.backbone or 'tiny'}, {options.batch} x {frames} frames", where, whole, held, mfu)


def report(what: str, where: str, whole: dict[str, list[float]], held: dict[str, float], mfu: float | None) -> None:
    """Rows for results.py: our step against the other two."""
    for name in (name for name in whole if name != "ours"):
        gpu = {} if where.startswith("CPU") else {"device": where, "mfu": mfu, "gigabytes": held["ours"]}
        note = f"peak {held['ours']:.2f} GB, the rival {held[name]:.2f} GB" + ("" if gpu else "; CPU seconds")
        row(what, name, whole["ours"], whole[name], note=note, gpu=gpu)


def show_steps(step: Step, options: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Print a row for each whole step; returns the seconds of each try, and gigabytes at the peak."""
    steps = {
        "ours": step.ours,
        "encoders alone": step.encoders,
        f"plain, {options.plain}": lambda: step.plain(options.plain),
    }
    taken, peaks = timed(steps, options.tries, step.device), {}
    whole = best(taken, step.device)
    print("\nstep                            ms  clips/s  against ours  peak memory")
    for name, value in whole.items():
        step.optimizer.zero_grad()  # the last step's gradients are not this one's
        held = peaks[name] = peak_gigabytes(steps[name], step.device)
        ratio = value / whole["ours"]
        print(f"{name:26} {1000 * value:8.1f} {options.batch / value:8.1f} {ratio:12.2f}x {held:9.2f} GB")
    return taken, peaks


def show_parts(step: Step, options: argparse.Namespace, taken: float | None) -> float | None:
    """Print a row for each part, what the towers compute, and whether the goals are met; gives MFU in per cent."""
    parts = best(timed(step.parts(), options.tries, step.device), step.device)
    factor = options.batch / (options.scaled or options.batch)
    for name in ("vision", "text"):
        parts[name] *= factor
    everything = sum(parts.values())
    print("\npart, forward and backward      ms  share")
    for name, value in parts.items():
        print(f"{name:26} {1000 * value:8.1f} {100 * value / everything:5.1f} %")
    print(f"{'sum':26} {1000 * everything:8.1f}")

    counter = FlopCounterMode(display=False)
    with counter:
        step.encoders_backward()
    tflop, seconds = factor * counter.get_total_flops() / 1e12, taken or everything
    speed, mfu = f"{tflop / seconds:.2f} TFLOP/s", None
    if peak := peak_tflops(step.device, options.peak_tflops):
        mfu = 100 * tflop / seconds / peak
        speed += f", {mfu:.1f} % of the {peak:g} that the device has (MFU)"
    print(f"\nencoders, forward and backward: {tflop:.2f} TFLOP a step; a step computes {speed}")
    head = sum(parts[name] for name in ("interaction", "NegNCE", "TPM-CL"))
    print(goal("interaction + losses + TPM-CL in a step", 100 * head / everything, 5))
    print("TPM-CL against all pairs: benchmarks/partial.py")
    return mfu


if __name__ == "__main__":
    main()

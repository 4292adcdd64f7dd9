"""Where the time of a training step goes, part by part, forward and backward, against the encoders alone.

Each part is run by itself on detached inputs, so the parts can be added up; the whole step stands below them. The model
is the tiny one, all of the paper's parts on, nothing frozen. CPU seconds, one thread, the least of several tries: on a
shared machine read them as shares. `--small` takes a smaller batch and fewer tries.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from tvrkit.config import LossConfig, TrainConfig, load_config
from tvrkit.core import RetrievalModel, TextFeatures, VideoFeatures, build_model
from tvrkit.losses import neg_nce, triplet_partial_margin
from tvrkit.train.objective import Objective
from tvrkit.train.optim import freeze, make_optimizer, parameter_groups, set_rates, train_mode


def seconds(function: Callable[[], object], tries: int) -> float:
    """Least CPU seconds of a call, after one to warm up."""
    function()
    taken = []
    for _ in range(tries):
        start = time.process_time()
        function()
        taken.append(time.process_time() - start)
    return min(taken)


def leaf(tensor: Tensor) -> Tensor:
    """The same numbers, where a backward pass ends."""
    return tensor.detach().requires_grad_()


def leaf_text(text: TextFeatures) -> TextFeatures:
    return replace(text, text_features=leaf(text.text_features), word_features=leaf(text.word_features))


def leaf_video(video: VideoFeatures) -> VideoFeatures:
    return replace(video, frame_features=leaf(video.frame_features))


def total(*features: Tensor) -> Tensor:
    return torch.stack([tensor.sum() for tensor in features]).sum()


def measure(batch: int, tries: int) -> tuple[dict[str, float], float]:
    """CPU seconds of each part, and of a whole step."""
    config = replace(
        load_config("tiny").model,
        interaction="weighted_token_wise",
        text_side="both",
        key_words=True,
        nearest_frame=True,
    )
    torch.manual_seed(0)
    model: RetrievalModel = build_model(config)
    objective = Objective(
        LossConfig(name="neg_nce", partial_weight=1.0),
        dim=model.backbone.dim,
        num_frames=config.num_frames,
        max_words=model.backbone.max_words,
    )
    freeze(model, "none", learn_scale=False)
    train_mode(model)
    settings = TrainConfig(lr=0.0, clip_lr=0.0)
    optimizer = make_optimizer(parameter_groups(model, {"objective": objective}, settings), settings)

    pixels = torch.randn(batch, config.num_frames, 3, 64, 64)
    mask = torch.ones(batch, config.num_frames, dtype=torch.bool)
    captions = [f"a small red circle moves left then {n} big blue squares move up" for n in range(batch)]
    ids = torch.arange(batch)
    tokens = model.tokenize(captions)
    frames = model.encode_frames(pixels, mask)
    text, video = model.encode_text(tokens), model.encode_video(frames, mask)
    similarity = model.similarity(text, video)

    def margins() -> None:
        assert objective.partial is not None
        orders = objective.partial(leaf_text(text), leaf_video(video))
        parts = zip(orders.positive, orders.negative, orders.valid, strict=True)
        torch.stack([triplet_partial_margin(*part, 0.1) for part in parts]).sum().backward()

    def encode_text() -> None:
        encoded = model.encode_text(tokens)
        total(encoded.text_features, encoded.word_features).backward()

    def step() -> None:
        set_rates(optimizer, 1.0)
        optimizer.zero_grad()
        tokens = model.tokenize(captions)
        text = model.encode_text(tokens)
        video = model.encode_video(model.encode_frames(pixels, mask), mask)
        objective(model, text, video, ids, 0).total.backward()
        optimizer.step()

    parts = {
        "vision": lambda: model.encode_frames(pixels, mask).sum().backward(),
        "tokenizer": lambda: model.tokenize(captions),
        "text": encode_text,
        "temporal": lambda: model.encode_video(leaf(frames), mask).frame_features.sum().backward(),
        "interaction": lambda: model.similarity(leaf_text(text), leaf_video(video)).sum().backward(),
        "NegNCE": lambda: neg_nce(leaf(similarity), 100.0, video_ids=ids).backward(),
        "TPM-CL": margins,
        "optimiser": optimizer.step,
    }
    taken = {name: seconds(part, tries) for name, part in parts.items()}
    return taken, seconds(step, tries)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a batch of 16 and 3 tries")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--tries", type=int, default=10)
    arguments = parser.parse_args()
    batch, tries = (16, 3) if arguments.small else (arguments.batch, arguments.tries)
    torch.set_num_threads(1)
    taken, whole = measure(batch, tries)
    everything = sum(taken.values())
    print(f"tiny model, batch {batch}, forward and backward, CPU ms")
    for name, value in taken.items():
        print(f"{name:12} {1000 * value:8.1f} {100 * value / everything:6.1f} %")
    encoders = taken["vision"] + taken["text"]
    print(f"{'sum':12} {1000 * everything:8.1f}, the whole step {1000 * whole:.1f}")
    print(f"{'encoders':12} {1000 * encoders:8.1f}, a step is {whole / encoders:.2f} times that")


if __name__ == "__main__":
    main()

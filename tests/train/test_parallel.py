"""One step by one process, by two and by four: the same loss, the same gradients, the same new weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from backbones import write_backbone
from team import run_team

from tvrkit.config import LossConfig, ModelConfig
from tvrkit.core import build_model
from tvrkit.distributed import SOLO, Team
from tvrkit.train.objective import Objective
from tvrkit.train.optim import freeze, train_mode
from tvrkit.train.parallel import gradient_norm_and_clip, parallel_of, trained
from tvrkit.train.towers import hold_statistics

CAPTIONS = ["red", "a small square", "blue one goes left", "there is a green circle", "white", "two of them", "seven"]
VIDEOS = torch.tensor([0, 1, 2, 3, 4, 2, 6])  # two captions of one video


def make(folder: Path, kind: str = "clip", frozen: str = "none", scale: float | str = "learned"):
    config = ModelConfig(
        backbone=str(write_backbone(folder, kind)) if not folder.exists() else str(folder),
        pretrained=None,
        num_frames=3,
        max_words=12,
        temporal="transformer",
        temporal_layers=1,
        interaction="weighted_token_wise",
        text_side="both",
        nearest_frame=True,
    )
    torch.manual_seed(0)
    model = build_model(config)
    loss = LossConfig(name="neg_nce", logit_scale=scale, partial_weight=0.5)
    objective = Objective(loss, dim=model.backbone.dim, num_frames=3, max_words=model.backbone.max_words)
    freeze(model, frozen, learn_scale=scale == "learned")
    train_mode(model)
    hold_statistics(model)
    return model, objective


def batch():
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(len(CAPTIONS), 3, 3, 32, 32, generator=generator)
    mask = torch.ones(len(CAPTIONS), 3, dtype=torch.bool)
    mask[1, 2] = mask[5, 1:] = False
    return pixels, mask


def forward(model, rows):
    pixels, mask = batch()
    text = model.encode_text(model.tokenize(CAPTIONS[rows]))
    return text, model.encode_video(model.encode_frames(pixels[rows], mask[rows]), mask[rows])


def plain(model, objective, parallel, team, counts):
    def whole():
        rows = team.split(len(CAPTIONS))
        return objective(model, *forward(model, rows), VIDEOS[rows], 0, team, counts)

    loss = parallel.last(whole)
    loss.total.backward()
    parallel.finish()
    return loss.total.item()


def cached(model, objective, parallel, team, counts):
    """Towers twice: without gradients for the loss, then pair by pair with the features' gradients."""
    rows = team.split(len(CAPTIONS))
    with torch.no_grad():
        text, video = forward(model, rows)
    leaves = [text.text_features, text.word_features, video.frame_features]
    for leaf in leaves:
        leaf.requires_grad_()
    loss = objective(model, text, video, VIDEOS[rows], 0, team, counts)
    loss.total.backward()
    # As many passes on each process as on the fullest.
    starts = [min(rows.start + n, rows.stop - 1) for n in range(max(counts))]
    for n, start in enumerate(starts):

        def one(start: int = start):
            text, video = forward(model, slice(start, start + 1))
            return [text.text_features, text.word_features, video.frame_features]

        again = one() if n < len(starts) - 1 else parallel.last(one)
        place, counted = start - rows.start, n < counts[team.rank]
        torch.autograd.backward(again, [leaf.grad[place : place + 1] * counted for leaf in leaves])
    parallel.finish()
    return loss.total.item()


def steps(team: Team, folder: Path, how: str, kind: str, frozen: str, way, number: int = 2):
    """A few steps of AdamW; losses, norms, the last gradients and weights, all whole."""
    model, objective = make(folder, kind, frozen)
    parallel = parallel_of(how, model, objective, team, torch.device("cpu"))
    parameters = trained([model, objective])
    groups = [[p for p in parameters if hasattr(p, "full_tensor") == sharded] for sharded in (False, True)]
    optimizer = torch.optim.AdamW([{"params": group} for group in groups if group], lr=1e-3, fused=True)
    losses, norms = [], []
    counts = team.numbers(len(range(*team.split(len(CAPTIONS)).indices(99)))).flatten().tolist()
    for _ in range(number):
        optimizer.zero_grad()
        losses.append(way(model, objective, parallel, team, counts))
        norms.append(gradient_norm_and_clip(parameters, 1.0).item())
        optimizer.step()
    named = {**dict(model.named_parameters()), **dict(objective.named_parameters(prefix="objective"))}
    gradients = {n: None if p.grad is None else parallel.whole(p.grad).clone() for n, p in named.items()}
    weights = {n: parallel.whole(p.detach()).clone() for n, p in named.items()}
    evaluated = parallel.evaluated(model)
    with torch.no_grad():
        evaluated.eval()
        scores = evaluated.similarity(*forward(evaluated, slice(0, 7)))
    return losses, norms, gradients, weights, scores, evaluated.fingerprint()


def several(team: Team, cases):
    return [steps(team, *case) for case in cases]


def same(one, other) -> None:
    """Within float32's rounding; weights within the step that a gradient near 0 may take in Adam."""
    assert one[0] == pytest.approx(other[0], rel=2e-5)
    assert one[1] == pytest.approx(other[1], rel=1e-4)
    assert one[2].keys() == other[2].keys()
    for name, gradient in one[2].items():
        assert (gradient is None) == (other[2][name] is None), name
        if gradient is not None:
            torch.testing.assert_close(
                gradient, other[2][name], rtol=2e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
    torch.testing.assert_close(one[4], other[4], rtol=1e-3, atol=1e-4)


def test_two_processes_are_one(tmp_path):
    """All in one team, as starting processes is what takes time."""
    cases = [(tmp_path / "b", how, "clip", "none", way) for how in ("ddp", "fsdp") for way in (plain, cached)]
    alone = [steps(SOLO, *case) for case in cases[:2]] * 2
    for answers in run_team(several, 2, cases):
        for together, expected in zip(answers, alone, strict=True):
            same(together, expected)

"""One step by one process, by two and by four: the same loss, the same gradients, the same new weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from backbones import KINDS, write_backbone
from core.test_tower_weights import two_towers
from support import needs_compiler
from team import run_team

from tvrkit.config import LossConfig, ModelConfig, TrainConfig
from tvrkit.core import build_model
from tvrkit.distributed import SOLO, Team
from tvrkit.train.objective import Objective
from tvrkit.train.optim import freeze, train_mode
from tvrkit.train.parallel import average_gradients, gradient_norm_and_clip, is_sharded, parallel_of, trained
from tvrkit.train.towers import prepare_towers

CAPTIONS = ["red", "a small square", "blue one goes left", "there is a green circle", "white", "two of them", "seven"]
VIDEOS = torch.tensor([0, 1, 2, 3, 4, 2, 6])  # two captions of one video


def make(folder: Path, frozen: str = "none", scale: float | str = "learned", **towers):
    config = ModelConfig(
        backbone=str(folder),
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
    prepare_towers(model, TrainConfig(**towers))
    train_mode(model)
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


def steps(team: Team, folder: Path, how: str, frozen: str, way, number: int = 2, **towers):
    """A few steps of AdamW; losses, norms, the last gradients and weights, all whole."""
    model, objective = make(folder, frozen, **towers)
    parallel = parallel_of(how, model, objective, team, torch.device("cpu"))
    parameters = trained([model, objective])
    groups = [[p for p in parameters if is_sharded(p) == sharded] for sharded in (False, True)]
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


def same(one, other, what: str) -> None:
    """Within float32's rounding, which Adam's first steps make larger where a gradient is near 0."""
    assert one[0] == pytest.approx(other[0], rel=2e-5), what
    assert one[1] == pytest.approx(other[1], rel=1e-4), what
    assert one[2].keys() == other[2].keys(), what
    for name, gradient in one[2].items():
        about = f"{name} of {what}"
        assert (gradient is None) == (other[2][name] is None), about
        if gradient is not None:
            close(gradient, other[2][name], 2e-3, 2e-5, about)
    close(one[4], other[4], 1e-3, 1e-4, f"scores of {what}")


def close(one: torch.Tensor, other: torch.Tensor, rtol: float, atol: float, what: str) -> None:
    torch.testing.assert_close(one, other, rtol=rtol, atol=atol, msg=lambda text: f"{what}: {text}")


def check(team_size: int, cases) -> None:
    """Each case as one process would do it; all in one team, as starting processes is what takes time."""
    alone = {(folder, frozen, way): steps(SOLO, folder, "ddp", frozen, way) for folder, _, frozen, way in cases}
    for answers in run_team(several, team_size, cases, timeout=600):
        for (folder, how, frozen, way), together in zip(cases, answers, strict=True):
            what = f"{folder.name}, {how}, freeze={frozen}, {way.__name__}"
            same(together, alone[folder, frozen, way], what)


@pytest.mark.slow
def test_two_processes_are_one_with_every_kind_of_tower(tmp_path):
    """Seven pairs, four and three; and towers that stand still."""
    for kind in KINDS:
        write_backbone(tmp_path / kind, kind)
    engines = [(how, way) for how in ("ddp", "fsdp") for way in (plain, cached)]
    # Projections apart from their trunks; without dropout, which is drawn anew in each process.
    file = two_towers(tmp_path / "towers", image_size=32) / "config.json"
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    file.write_text(json.dumps(json.loads(file.read_text()) | no_dropout))
    cases = [(tmp_path / kind, how, "none", way) for kind in [*KINDS, "towers"] for how, way in engines]
    still = ("vision", "text", "backbone")
    cases += [(tmp_path / next(iter(KINDS)), how, frozen, plain) for how in ("ddp", "fsdp") for frozen in still]
    check(2, cases)


def with_compiled_towers(team: Team, folder: Path):
    towers = {"compile": True, "gradient_checkpointing": True}
    return [steps(team, folder, how, "none", plain, **towers) for how in ("ddp", "fsdp")]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiled_and_checkpointed_towers_go_with_both(tmp_path):
    needs_compiler()
    write_backbone(tmp_path / "clip")
    alone = steps(SOLO, tmp_path / "clip", "ddp", "none", plain)
    for answers in run_team(with_compiled_towers, 2, tmp_path / "clip", timeout=600):
        for how, together in zip(("ddp", "fsdp"), answers, strict=True):
            same(together, alone, f"compiled, {how}")


def one_engine_to_the_other(team: Team, folder: Path):
    """Two steps by ddp, its weights and state handed to fsdp for a third, and that one's back to ddp for a fourth."""
    tensors, losses = None, []
    counts = team.numbers(len(range(*team.split(len(CAPTIONS)).indices(99)))).flatten().tolist()
    for how, number in (("ddp", 2), ("fsdp", 1), ("ddp", 1)):
        model, objective = make(folder)
        parallel = parallel_of(how, model, objective, team, torch.device("cpu"))
        named = {n: p for m in (model, objective) for n, p in m.named_parameters() if p.requires_grad}
        assert any(is_sharded(p) for p in named.values()) == (how == "fsdp" and team.size > 1)
        groups = [[p for p in named.values() if is_sharded(p) == sharded] for sharded in (False, True)]
        optimizer = torch.optim.AdamW([{"params": group} for group in groups if group], lr=1e-3, fused=True)
        if tensors is not None:
            for name, parameter in named.items():
                weights, state = tensors[name]
                with torch.no_grad():
                    parameter.copy_(parallel.like(weights, parameter))
                for key, value in state.items():
                    optimizer.state[parameter][key] = value if key == "step" else parallel.like(value, parameter)
        for _ in range(number):
            optimizer.zero_grad()
            losses.append(plain(model, objective, parallel, team, counts))
            gradient_norm_and_clip(named.values(), 1.0)
            optimizer.step()
        tensors = {
            name: (
                parallel.whole(p.detach()).clone(),
                {key: parallel.whole(value).clone() for key, value in optimizer.state[p].items()},
            )
            for name, p in named.items()
        }
    return losses


@pytest.mark.slow
def test_state_moves_between_the_two(tmp_path):
    write_backbone(tmp_path / "b")
    alone = one_engine_to_the_other(SOLO, tmp_path / "b")
    for losses in run_team(one_engine_to_the_other, 2, tmp_path / "b"):
        assert losses == pytest.approx(alone, rel=2e-4)
    assert len(set(alone)) == 4


def parts_of(team: Team, folder: Path):
    model, objective = make(folder)
    before = sum(p.numel() for p in model.backbone.parameters())
    parallel = parallel_of("fsdp", model, objective, team, torch.device("cpu"))
    held = sum(p.to_local().numel() if is_sharded(p) else p.numel() for p in model.backbone.parameters())
    whole = parallel.evaluated(model)
    first = whole.fingerprint()
    assert parallel.evaluated(model) is whole
    return held / before, first, first == whole.fingerprint(), parallel.even, type(model.backbone.clip).__name__


@pytest.mark.slow
def test_each_process_holds_its_part(tmp_path):
    write_backbone(tmp_path / "b")
    plain_model, _ = make(tmp_path / "b")
    for held, fingerprint, same_again, even, kind in run_team(parts_of, 2, tmp_path / "b"):
        assert 0.49 < held < 0.52
        assert fingerprint == plain_model.fingerprint() and same_again and even and kind == "CLIP"


def gradients_of_some(team: Team):
    used, mine, never = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    used.grad = torch.full((2,), float(team.rank + 1))
    if team.rank == 1:
        mine.grad = torch.tensor([4.0, 8.0])
    average_gradients([used, mine, never], team)
    return used.grad.tolist(), mine.grad.tolist(), never.grad


def test_a_gradient_that_only_one_process_has_is_averaged_with_zeros():
    assert run_team(gradients_of_some, 2) == [([1.5, 1.5], [2.0, 4.0], None)] * 2


def test_without_a_limit_gradients_stay_and_the_norm_is_told():
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert gradient_norm_and_clip([parameter], 0.0).item() == 5.0
    assert parameter.grad.tolist() == [3.0, 4.0]
    assert gradient_norm_and_clip([parameter], 1.0).item() == 5.0
    torch.testing.assert_close(parameter.grad, torch.tensor([0.6, 0.8]))


def test_a_gradient_that_is_no_number_leaves_the_others_alone():
    good, bad = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    good.grad, bad.grad = torch.tensor([3.0, 4.0]), torch.tensor([math.nan, 1.0])
    assert gradient_norm_and_clip([good, bad], 1.0).isnan()
    assert good.grad.tolist() == [3.0, 4.0] and bad.grad[1] == 1.0

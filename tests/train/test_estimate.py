from __future__ import annotations

import json

import pytest
import torch
from core.test_tower_weights import two_towers
from tiny import make_data, tiny_config, write_clip
from torch import nn

from tvrkit.config import load_config
from tvrkit.core import build_model
from tvrkit.core.catalogue import ARCHITECTURES
from tvrkit.errors import ConfigError, DataError
from tvrkit.train.bare import random_model
from tvrkit.train.costs import _Meter, measure_costs
from tvrkit.train.counts import count_data
from tvrkit.train.estimate import estimate
from tvrkit.train.objective import Objective
from tvrkit.train.samplers import Plan


@pytest.fixture
def config(tmp_path):
    return tiny_config(write_clip(tmp_path), make_data(tmp_path / "squares", train=12, captions=2))


def changed(config, **sections):
    from dataclasses import replace

    return replace(config, **{name: replace(getattr(config, name), **keys) for name, keys in sections.items()})


def test_parts_are_those_of_the_real_model_with_its_rates(config):
    config = changed(config, train={"freeze": "text", "clip_lr": 1e-5, "rates": {"temporal.*": 3e-4}})
    plan = estimate(config, measure=False)
    parts = {part.name: part for part in plan.parts}
    model = build_model(config.model)
    objective = Objective(config.loss, dim=32, num_frames=4, max_words=16)
    assert sum(part.parameters for part in plan.parts) == sum(
        p.numel() for p in (*model.parameters(), *objective.parameters())
    )
    vision = sum(p.numel() for p in model.backbone.vision_parameters())
    assert (parts["image tower"].parameters, parts["image tower"].trained) == (vision, vision)
    assert parts["image tower"].rates == (1e-5, 1e-5) and parts["temporal encoder"].rates == (3e-4, 3e-4)
    # The logit scale is learned, and it alone learns of what is not the image tower.
    assert parts["text tower"].trained == 1
    # The predictor of the frames' weights only chooses, so it stands still.
    assert 0 < parts["loss"].trained < parts["loss"].parameters


def test_steps_are_those_of_the_run(config):
    for keys in ({}, {"sampler": "family"}, {"batch_size": 5, "epochs": 3}, {"max_steps": 7}):
        own = changed(config, train=keys)
        plan = estimate(own, measure=False)
        records = count_data(own)[1]
        assert plan.steps == Plan(records, own).total
    assert plan.epochs == 7 / plan.batches and (plan.counts.videos, plan.counts.captions) == (12, 24)
    assert (plan.counts.val_videos, plan.counts.val_captions, plan.counts.protocol) == (4, 4, None)


def test_without_the_data_set_the_protocol_counts(tmp_path):
    counts, records = count_data(load_config("msrvtt-b32"))
    assert records is None and counts.protocol == "msrvtt-1ka"
    assert (counts.videos, counts.captions, counts.val_videos) == (9000, 180_000, 0)
    assert count_data(load_config("tiny"))[0].val_videos == 300
    with pytest.raises(ConfigError, match="name no data set"):
        count_data(load_config("folder"))
    with pytest.raises(DataError, match="no prepared data set 'gone'"):
        count_data(load_config("tiny", ["data.dataset=gone"]))


def test_what_is_kept_for_the_backward_pass_is_counted_without_weights_and_once():
    layer = nn.Linear(10, 20)
    weights = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    meter = _Meter(torch.device("cpu"), False, False, weights)

    def make(number):
        pixels = torch.randn(number, 10)
        return lambda: (nn.functional.gelu(layer(pixels)) * torch.ones(())).sum()

    # The layer keeps its 10 inputs, gelu its 20, and the product what gelu made only if the other factor learns.
    assert meter._counted(make(3))[0] - meter._counted(make(2))[0] == 4 * (10 + 20)
    cost = meter.linear(make, learns=True, most=4)
    assert cost.kept == 4 * (10 + 20) and cost.flops == 2 * 10 * 20
    assert meter.linear(make, learns=False, most=4).kept == 0


def test_pairs_and_meetings_of_pairs_are_told_apart():
    a, b = torch.randn(15, 8, requires_grad=True), torch.randn(8, 8, requires_grad=True)
    meter = _Meter(torch.device("cpu"), False, False, set())
    pair, cell = meter.quadratic(lambda n: lambda: ((a[:n] @ b) @ a[:n].T).square().sum(), 5)
    assert pair.flops == 2 * 8 * 8 and cell.flops == 2 * 8
    # What is kept of the second factor, and the whole of the first, is there for any n; of each row, its product.
    assert pair.kept == 4 * 8
    # square() keeps the n x n product, and nothing else grows with n squared.
    assert cell.kept == 4


def test_memory_follows_from_the_parts(config):
    model, objective = random_model(config)
    measure_costs(model, objective, config)
    whole = estimate(config)
    trained = sum(part.trained for part in whole.parts)
    assert whole.memory is not None
    assert (whole.memory.gradients, whole.memory.optimizer, whole.memory.average) == (4 * trained, 8 * trained, 0)
    assert list(whole.memory_of) == [6, 3, 2, 1] and whole.memory_of[6] == whole.memory.total
    assert whole.memory_of[6] > whole.memory_of[3] > whole.memory_of[1]
    assert whole.seconds > 0 and whole.validations == 2 and whole.step_flops > 0
    # A frozen image tower keeps nothing, and its features are computed once.
    still = estimate(changed(config, train={"freeze": "vision"}))
    assert still.step_seconds["image tower"] == 0 < still.once_seconds
    assert still.memory.activations < whole.memory.activations
    assert still.disk["frame features"] == (12 + 4) * 4 * 32 * 4
    assert estimate(changed(config, train={"ema": 0.9}), measure=False).disk["checkpoints"] > whole.disk["checkpoints"]


def test_trunks_that_stand_still_below_projections_are_computed_once(config, tmp_path):
    towers = {"backbone": str(two_towers(tmp_path / "towers", image_size=32))}
    config = changed(config, model=towers)
    whole = estimate(config)
    trunks = ("backbone.clip.visual.trunk.*", "backbone.clip.text.transformer.*")
    still = estimate(changed(config, train={"freeze_parameters": trunks}))
    assert whole.once_seconds == 0 < still.once_seconds
    assert still.step_seconds["image tower"] == still.step_seconds["text tower"] == 0
    width = random_model(config)[0].backbone.image_width
    assert still.disk["frame features"] == (12 + 4) * 4 * width * 4
    random = estimate(changed(config, train={"freeze_parameters": trunks}, data={"sampling": "random"}))
    assert random.step_seconds["image tower"] > 0


def test_processes_share_the_batch(config):
    two = estimate(config, processes=2)
    assert (two.share, two.processes) == (3, 2)
    sharded = estimate(changed(config, train={"parallel": "fsdp"}), processes=2)
    assert sharded.memory.weights < two.memory.weights and sharded.memory.optimizer < two.memory.optimizer
    cached = estimate(changed(config, train={"micro_batch": 2}), processes=2)
    assert cached.micro_batch == 2 and cached.memory.activations < two.memory.activations
    with pytest.raises(ConfigError, match="7 processes cannot share a batch of 6"):
        estimate(config, processes=7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["msrvtt-b32", "msvd-b16", "didemo-pe-b16", "activitynet-siglip2-b16", "msrvtt-mobileclip2"]
)
def test_published_presets_have_the_parameters_that_are_known_of_their_backbones(name):
    config = load_config(name)
    known = json.loads(ARCHITECTURES.read_text())["backbones"][config.model.backbone]["parameters"]
    parts = {part.name: part for part in estimate(config, measure=False).parts}
    assert [parts["image tower"].parameters, parts["text tower"].parameters] == known
    assert parts["image tower"].trained == known[0] and parts["temporal encoder"].trained > 0

from __future__ import annotations

import math

import pytest
import torch
from tiny import tiny_config, write_clip
from torch import nn

from tvrkit.config import TrainConfig
from tvrkit.core import build_model
from tvrkit.errors import ConfigError
from tvrkit.train.optim import (
    clip_gradients,
    freeze,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    parameter_groups,
    schedule,
    set_rates,
    train_mode,
    trained_parameters,
)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return build_model(tiny_config(write_clip(tmp_path), tmp_path / "none").model)


CONFIG = TrainConfig(lr=1e-3, clip_lr=1e-5, weight_decay=0.2)


def names_of(model, what, learn_scale=False):
    freeze(model, what, learn_scale=learn_scale)
    return {name for name, _ in trained_parameters(model, {})}


def test_freezing_takes_whole_towers_out(model):
    everything = {name for name, _ in model.named_parameters()} - {"backbone.clip.logit_scale"}
    assert names_of(model, "none") == everything
    vision = {name for name in everything if ".visual." in name}
    text = {name for name in everything if name.startswith("backbone.")} - vision
    assert vision and text
    assert names_of(model, "vision") == everything - vision
    assert names_of(model, "text") == everything - text
    assert names_of(model, "backbone") == everything - text - vision
    assert names_of(model, "backbone", learn_scale=True) - names_of(model, "backbone") == {"backbone.clip.logit_scale"}


def test_frozen_modules_stay_in_evaluation_mode(model):
    freeze(model, "vision", learn_scale=False)
    train_mode(model)
    assert model.training and model.temporal.training and model.backbone.clip.transformer.training
    assert not any(module.training for module in model.backbone.clip.visual.modules())


def test_groups_have_their_rates_and_decay_falls_on_matrices_only(model):
    freeze(model, "none", learn_scale=True)
    extra = nn.Linear(3, 2)
    groups = parameter_groups(model, {"objective": extra}, CONFIG)
    named = {name: (group["peak"], group["weight_decay"]) for group in groups for name in group["names"]}
    assert len(named) == sum(1 for _ in trained_parameters(model, {"objective": extra}))
    assert named["objective.weight"] == (1e-3, 0.2) and named["objective.bias"] == (1e-3, 0.0)
    assert named["backbone.clip.visual.conv1.weight"] == (1e-5, 0.2)
    assert named["backbone.clip.logit_scale"] == (1e-5, 0.0)
    for name, parameter in model.named_parameters():
        rate = 1e-5 if name.startswith("backbone.") else 1e-3
        assert named[name] == (rate, 0.2 if parameter.ndim >= 2 else 0.0), name


def test_nothing_to_train_is_an_error(tmp_path):
    config = tiny_config(
        write_clip(tmp_path), tmp_path / "none", model={"temporal": "mean", "interaction": "token_wise"}
    )
    model = build_model(config.model)
    freeze(model, "backbone", learn_scale=False)
    with pytest.raises(ConfigError, match="nothing is left to train"):
        parameter_groups(model, {}, TrainConfig(freeze="backbone"))


def test_rates_rise_linearly_then_fall_as_a_cosine():
    factors = [schedule(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10] == 1.0 and factors[55] == pytest.approx(0.5)
    assert all(a > b for a, b in zip(factors[10:], factors[11:], strict=False))
    assert factors[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert [schedule(step, 4, 0.0) for step in range(4)] == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert 0 < schedule(0, 1, 0.1) <= 1


def test_set_rates_and_clipping(model):
    freeze(model, "none", learn_scale=False)
    optimizer = make_optimizer(parameter_groups(model, {}, CONFIG), CONFIG)
    assert set_rates(optimizer, 0.5) == {"lr": 5e-4, "clip_lr": 5e-6}
    parameter = model.temporal.position if hasattr(model.temporal, "position") else next(model.temporal.parameters())
    parameter.grad = torch.full_like(parameter, 3.0)
    norm = 3.0 * math.sqrt(parameter.numel())
    assert clip_gradients(optimizer, 0).item() == pytest.approx(norm, rel=1e-5)
    assert parameter.grad.flatten()[0].item() == 3.0
    assert clip_gradients(optimizer, 1.0).item() == pytest.approx(norm, rel=1e-5)
    assert parameter.grad.norm().item() == pytest.approx(1.0, rel=1e-4)


def test_the_optimizer_goes_on_from_its_tensors_as_if_nothing_had_happened():
    def make():
        torch.manual_seed(0)
        layer = nn.Linear(4, 3)
        groups = [
            {"params": list(layer.parameters()), "names": ["a", "b"], "label": "lr", "peak": 1e-2, "weight_decay": 0.1}
        ]
        return layer, make_optimizer(groups, CONFIG)

    def step(layer, optimizer, number):
        set_rates(optimizer, 1.0)
        optimizer.zero_grad()
        layer(torch.full((2, 4), float(number))).square().sum().backward()
        optimizer.step()

    whole, its_optimizer = make()
    for number in range(6):
        step(whole, its_optimizer, number)
    first, optimizer = make()
    for number in range(3):
        step(first, optimizer, number)
    tensors = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}
    assert set(tensors) == {f"{p}/{s}" for p in "ab" for s in ("step", "exp_avg", "exp_avg_sq")}
    second, other = make()
    second.load_state_dict(first.state_dict())
    load_optimizer_tensors(other, tensors)
    for number in range(3, 6):
        step(second, other, number)
    assert torch.equal(second.weight, whole.weight) and torch.equal(second.bias, whole.bias)
    with pytest.raises(KeyError):
        load_optimizer_tensors(other, {**tensors, "c/step": torch.tensor(1.0)})

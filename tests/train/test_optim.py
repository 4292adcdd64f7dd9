from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

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
    with pytest.raises(ConfigError, match=r"train.freeze_parameters \(\*\) holds still all .* take a pattern out"):
        parameter_groups(model, {}, TrainConfig(freeze_parameters=("*",)))


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


def rates_of(model, **settings):
    freeze(model, "none", learn_scale=True)
    extra = nn.Linear(3, 2)
    config = replace(CONFIG, **settings)
    groups = parameter_groups(model, {"objective": extra}, config)
    return {name: (group["peak"], group["label"]) for group in groups for name in group["names"]}


def test_rates_by_pattern_and_the_last_one_counts(model):
    patterns = {"temporal.*": 3e-4, "objective.*": 7e-4, "*.ln_1.*": 5e-6, "backbone.clip.logit_scale": 0.0}
    named = rates_of(model, rates=patterns)
    assert named["temporal.positional_embedding"] == (3e-4, "lr/temporal.*")
    assert named["temporal.blocks.0.ln_1.weight"] == (5e-6, "lr/*.ln_1.*")
    assert named["backbone.clip.transformer.resblocks.0.ln_1.bias"] == (5e-6, "lr/*.ln_1.*")
    assert named["objective.bias"] == (7e-4, "lr/objective.*")
    assert named["backbone.clip.logit_scale"] == (0.0, "lr/backbone.clip.logit_scale")
    assert named["backbone.clip.visual.conv1.weight"] == (1e-5, "clip_lr")
    assert named["interaction.word_weights.mlp.0.weight"] == (1e-3, "lr")


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [
        ("temporal", r"did you mean temporal\.\*\?"),
        ("temporal.block.*", r"did you mean temporal\.blocks\.\*\?"),
        ("objektive.*", r"did you mean objective\.\*\?"),
        ("qqqq", r"there are backbone\.\*, interaction\.\*, objective\.\*, temporal\.\*\."),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error(model, pattern, answer):
    with pytest.raises(ConfigError, match=rf"train\.rates: .*{answer}"):
        rates_of(model, rates={"temporal.*": 1e-4, pattern: 1e-4})
    with pytest.raises(ConfigError, match=rf"train\.freeze_parameters: .*{answer}"):
        freeze(model, "none", learn_scale=True, patterns=(pattern,), extra={"objective": nn.Linear(2, 2)})


def test_a_rate_below_nothing_is_an_error(model):
    with pytest.raises(ConfigError, match=r"temporal\.\* must learn at 0 or more"):
        rates_of(model, rates={"temporal.*": -1e-4})


def test_freezing_by_pattern(model):
    extra = {"objective": nn.Linear(3, 2)}
    patterns = ("backbone.clip.visual.transformer.*", "objective.weight")
    freeze(model, "text", learn_scale=True, patterns=patterns, extra=extra)
    train_mode(model)
    learning = {name for name, _ in trained_parameters(model, extra)}
    assert "objective.bias" in learning and "objective.weight" not in learning
    assert "backbone.clip.visual.conv1.weight" in learning and "temporal.positional_embedding" in learning
    assert not any(name.startswith(("backbone.clip.visual.transformer", "backbone.clip.tr")) for name in learning)
    # What stands still as a whole is in evaluation mode, down to what has no parameters (dropout).
    assert not any(module.training for module in model.backbone.clip.visual.transformer.modules())
    assert model.backbone.clip.visual.training
    with pytest.raises(ConfigError, match="holds still all that train.freeze=backbone leaves"):
        freeze(model, "backbone", learn_scale=False, patterns=("temporal.*", "interaction.*"))
        parameter_groups(model, {}, TrainConfig(freeze="backbone", freeze_parameters=("temporal.*", "interaction.*")))


def test_layers_further_from_the_output_learn_slower(tmp_path):
    tree = json.loads(write_clip(tmp_path).read_text())
    for tower in ("vision_cfg", "text_cfg"):
        tree["model_cfg"][tower]["layers"] = 3
    path = tmp_path / "deep.json"
    path.write_text(json.dumps(tree))
    model = build_model(tiny_config(path, tmp_path / "none").model)
    named = rates_of(model, layer_decay=0.5)
    for name, distance in {
        "backbone.clip.logit_scale": 0,
        "backbone.clip.visual.proj": 0,
        "backbone.clip.visual.ln_post.weight": 0,
        "backbone.clip.visual.transformer.resblocks.2.mlp.c_fc.weight": 1,
        "backbone.clip.visual.transformer.resblocks.0.ln_1.bias": 3,
        "backbone.clip.visual.conv1.weight": 4,
        "backbone.clip.visual.class_embedding": 4,
        "backbone.clip.text_projection": 0,
        "backbone.clip.transformer.resblocks.1.attn.in_proj_weight": 2,
        "backbone.clip.token_embedding.weight": 4,
        "backbone.clip.positional_embedding": 4,
    }.items():
        assert named[name] == (pytest.approx(1e-5 * 0.5**distance), "clip_lr"), name
    assert named["temporal.positional_embedding"] == (1e-3, "lr")
    config = replace(CONFIG, layer_decay=0.5, rates={"temporal.*": 2e-3})
    optimizer = make_optimizer(parameter_groups(model, {}, config), config)
    assert set_rates(optimizer, 0.5) == pytest.approx(
        {"lr": 5e-4, "clip_lr": 5e-6, "clip_lr_lowest": 5e-6 / 16, "lr/temporal.*": 1e-3}
    )


def test_the_kernel_of_the_whole_step_gives_the_steps_of_the_plain_one(model):
    freeze(model, "none", learn_scale=True)
    groups = parameter_groups(model, {}, CONFIG)
    optimizer = make_optimizer(groups, CONFIG)
    assert all(group["fused"] for group in optimizer.param_groups)
    twin = copy.deepcopy(model)
    plain = torch.optim.AdamW(parameter_groups(twin, {}, CONFIG), lr=0.0, betas=CONFIG.betas, eps=CONFIG.eps)
    for _ in range(3):
        for one, other in zip(model.parameters(), twin.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for each in (optimizer, plain):
            set_rates(each, 1.0)
            each.step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_tensors_pass_through_the_functions_for_shards():
    layer = nn.Linear(4, 3)
    groups = [
        {"params": list(layer.parameters()), "names": ["a", "b"], "label": "lr", "peak": 1e-2, "weight_decay": 0.0}
    ]
    optimizer = make_optimizer(groups, CONFIG)
    layer(torch.ones(2, 4)).sum().backward()
    set_rates(optimizer, 1.0)
    optimizer.step()
    doubled = optimizer_tensors(optimizer, lambda tensor: tensor * 2)
    assert torch.equal(doubled["a/exp_avg"], optimizer.state[layer.weight]["exp_avg"] * 2)
    shapes = []

    def like(full, parameter):
        shapes.append((full.shape, parameter.shape))
        return full / 2

    before = {key: value.clone() for key, value in optimizer_tensors(optimizer).items()}
    load_optimizer_tensors(optimizer, {**doubled, "a/step": before["a/step"], "b/step": before["b/step"]}, like)
    assert len(shapes) == 4 and all(full == parameter for full, parameter in shapes)
    assert all(torch.equal(value, before[key]) for key, value in optimizer_tensors(optimizer).items())
    # What is loaded is the optimiser's own from then on.
    optimizer.step()
    assert not torch.equal(optimizer.state[layer.weight]["step"], before["a/step"])
    with pytest.raises(KeyError, match="a/exp_avg of another shape"):
        load_optimizer_tensors(optimizer, {**before, "a/exp_avg": torch.zeros(4, 3)})
    with pytest.raises(KeyError, match="nobody"):
        load_optimizer_tensors(optimizer, {**before, "nobody/step": torch.zeros(())})

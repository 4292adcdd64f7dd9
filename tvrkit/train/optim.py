"""What is trained, how fast, and the optimiser whose state can be written without pickle (method: the paper's base)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from tvrkit.config import TrainConfig
from tvrkit.core.model import RetrievalModel
from tvrkit.errors import ConfigError


def freeze(model: RetrievalModel, what: str, *, learn_scale: bool) -> None:
    """Take what is not trained out of training: no gradient, and evaluation mode for good.

    Args:
        model: changed in place.
        what: `none`, `vision`, `text` or `backbone` (both towers).
        learn_scale: whether the backbone's logit scale is trained; it is no part of either tower.
    """
    backbone = model.backbone
    backbone.requires_grad_(False)
    for parameter in backbone.vision_parameters():
        parameter.requires_grad_(what not in ("vision", "backbone"))
    for parameter in backbone.text_parameters():
        parameter.requires_grad_(what not in ("text", "backbone"))
    backbone.logit_scale.requires_grad_(learn_scale)


def train_mode(model: RetrievalModel) -> None:
    """Training mode for the modules that have something to train, evaluation mode for frozen ones."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def parameter_groups(model: RetrievalModel, extra: Mapping[str, nn.Module], config: TrainConfig) -> list[dict]:
    """Trainable parameters by learning rate and weight decay.

    The backbone learns at `clip_lr`, everything else at `lr`. Weight decay falls on matrices only, that is on
    parameters of two axes or more (embedding tables are among them, as in the papers' code); gains, biases and the
    logit scale have none.

    Args:
        model: after `freeze`.
        extra: modules that only training has, by the prefix of their parameters' names.
        config: rates and weight decay.

    Returns:
        Groups for AdamW; each has `peak` (its rate after warm-up) and `names` beside `params`.

    Raises:
        ConfigError: nothing is left to train.
    """
    groups: dict[tuple[bool, bool], dict] = {}
    for name, parameter in trained_parameters(model, extra):
        backbone, matrix = name.startswith("backbone."), parameter.ndim >= 2
        group = groups.setdefault(
            (backbone, matrix),
            {
                "params": [],
                "names": [],
                "peak": config.clip_lr if backbone else config.lr,
                "weight_decay": config.weight_decay if matrix else 0.0,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise ConfigError(
            f"nothing is left to train: train.freeze={config.freeze} freezes the backbone and the model has no other"
            " parameters; set model.temporal=transformer, or train.freeze=vision."
        )
    return [groups[key] for key in sorted(groups)]


def trained_parameters(model: RetrievalModel, extra: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    """Name and parameter of everything that has a gradient."""
    modules: list[tuple[str, nn.Module]] = [("", model), *((f"{prefix}.", m) for prefix, m in extra.items())]
    for prefix, module in modules:
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                yield prefix + name, parameter


def make_optimizer(groups: list[dict], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the groups; rates are set by `set_rates` before each step."""
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=config.eps)


def schedule(step: int, total: int, warmup: float) -> float:
    """Factor on the peak rate at a step, 0 to 1: a linear rise over `warmup * total` steps, then a cosine to 0.

    Args:
        step: counts from 0; step 0 already learns.
        total: optimiser steps of the whole run.
        warmup: part of the steps, 0 to 1.
    """
    rise = math.ceil(warmup * total)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Set each group's rate to `factor` times its peak; returns the rates as `lr` and `clip_lr`."""
    rates = {}
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak"]
        rates["clip_lr" if group["names"][0].startswith("backbone.") else "lr"] = group["lr"]
    return rates


def clip_gradients(optimizer: torch.optim.Optimizer, largest: float) -> Tensor:
    """Scale all gradients so that their global norm is at most `largest` (0: leave them); returns the norm before."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return nn.utils.clip_grad_norm_(parameters, largest or math.inf)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as named tensors, `<parameter>/<state>`."""
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        for key, value in optimizer.state[parameter].items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises:
        KeyError: the state of another set of parameters.
    """
    rest = dict(tensors)
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            keys = [key for key in rest if key.rpartition("/")[0] == name]
            for key in keys:
                value, word = rest.pop(key), key.rpartition("/")[2]
                # AdamW keeps its step count on the CPU whatever the parameters' device.
                optimizer.state[parameter][word] = value.to("cpu" if word == "step" else parameter.device)
    if rest:
        raise KeyError(next(iter(rest)))

"""What is trained, how fast, and the optimiser whose state can be written without pickle (method: the paper's base)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from tvrkit.config import TrainConfig
from tvrkit.core.model import RetrievalModel
from tvrkit.errors import ConfigError
from tvrkit.train.depth import distances
from tvrkit.train.parallel import gradient_norm_and_clip, is_sharded
from tvrkit.train.patterns import check_patterns, last_match, named_parameters
from tvrkit.train.towers import hold_statistics

# Where torch has one kernel for the whole step. ViT-B/32's 151 M parameters take a processor .12 s instead of .70.
_FUSED = ("cuda", "cpu")
_CLIP = "backbone.clip."


def freeze(
    model: RetrievalModel,
    what: str,
    *,
    learn_scale: bool,
    patterns: Sequence[str] = (),
    extra: Mapping[str, nn.Module] | None = None,
) -> None:
    """Take what is not trained out of training: no gradient, and evaluation mode for good.

    Args:
        model: changed in place.
        what: `none`, `vision`, `text` or `backbone` (both towers).
        learn_scale: whether the backbone's logit scale is trained; it is no part of either tower.
        patterns: names of parameters that stand still beside that (train.freeze_parameters).
        extra: modules that only training has, by the prefix of their parameters' names.

    Raises:
        ConfigError: a pattern that no name matches.
    """
    backbone = model.backbone
    backbone.requires_grad_(False)
    for parameter in backbone.vision_parameters():
        parameter.requires_grad_(what not in ("vision", "backbone"))
    for parameter in backbone.text_parameters():
        parameter.requires_grad_(what not in ("text", "backbone"))
    backbone.logit_scale.requires_grad_(learn_scale)
    named = dict(named_parameters(model, extra or {}))
    check_patterns("train.freeze_parameters", patterns, list(named))
    for name, parameter in named.items():
        if last_match(name, patterns) is not None:
            parameter.requires_grad_(False)


def train_mode(model: RetrievalModel) -> None:
    """Training mode for the modules that have something to train, evaluation mode for frozen ones.

    Batch normalisation stays in evaluation mode everywhere, see `hold_statistics`.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
    hold_statistics(model)


def parameter_groups(model: RetrievalModel, extra: Mapping[str, nn.Module], config: TrainConfig) -> list[dict]:
    """Trainable parameters by learning rate and weight decay.

    The backbone learns at `clip_lr`, times `layer_decay` for each layer further from its output; everything else at
    `lr`; what matches one of `rates` at that very rate. Weight decay falls on matrices only, that is on parameters of
    two axes or more (embedding tables are among them, as in the papers' code); gains, biases and the logit scale have
    none.

    Args:
        model: after `freeze`.
        extra: modules that only training has, by the prefix of their parameters' names.
        config: rates and weight decay.

    Returns:
        Groups for AdamW; each has `peak` (its rate after warm-up), `names` and `label` (what its rate is called in
        the log) beside `params`. Whole and sharded parameters are never in one group: no kernel takes both.

    Raises:
        ConfigError: nothing is left to train, a rate below 0, a pattern that no name matches, or a backbone whose
            layers cannot be told apart.
    """
    peaks = _peaks([name for name, _ in named_parameters(model, extra)], config)
    groups: dict[tuple[str, float, bool, bool], dict] = {}
    for name, parameter in trained_parameters(model, extra):
        (label, peak), matrix = peaks[name], parameter.ndim >= 2
        group = groups.setdefault(
            (label, peak, matrix, is_sharded(parameter)),
            {
                "params": [],
                "names": [],
                "label": label,
                "peak": peak,
                "weight_decay": config.weight_decay if matrix else 0.0,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        if config.freeze_parameters:
            patterns = ", ".join(config.freeze_parameters)
            raise ConfigError(
                f"nothing is left to train: train.freeze_parameters ({patterns}) holds still all that"
                f" train.freeze={config.freeze} leaves; take a pattern out."
            )
        raise ConfigError(
            f"nothing is left to train: train.freeze={config.freeze} freezes the backbone and the model has no"
            " other parameters; set model.temporal=transformer, or train.freeze=vision."
        )
    return [groups[key] for key in sorted(groups)]


def trained_parameters(model: RetrievalModel, extra: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    """Name and parameter of everything that has a gradient."""
    for name, parameter in named_parameters(model, extra):
        if parameter.requires_grad:
            yield name, parameter


def _peaks(names: Sequence[str], config: TrainConfig) -> dict[str, tuple[str, float]]:
    """What each parameter's rate is called in the log, and what it is after warm-up."""
    check_patterns("train.rates", config.rates, names)
    for pattern, rate in config.rates.items():
        if rate < 0:
            raise ConfigError(f"train.rates: {pattern} must learn at 0 or more, not {rate}.")
    away: dict[str, int] = {}
    if config.layer_decay != 1:
        away = distances([name.removeprefix(_CLIP) for name in names if name.startswith(_CLIP)])
    peaks = {}
    for name in names:
        if (rule := last_match(name, config.rates)) is not None:
            peaks[name] = (f"lr/{rule}", config.rates[rule])
        elif name.startswith(_CLIP):
            peaks[name] = ("clip_lr", config.clip_lr * config.layer_decay ** away.get(name.removeprefix(_CLIP), 0))
        else:
            peaks[name] = ("lr", config.lr)
    return peaks


def make_optimizer(groups: list[dict], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the groups, in one kernel where there is one; rates are set by `set_rates` before each step."""
    fused = all(parameter.device.type in _FUSED for group in groups for parameter in group["params"])
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=config.eps, fused=fused or None)


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
    """Set each group's rate to `factor` times its peak.

    Returns:
        The rates for the log: `lr` (new modules), `clip_lr` (the backbone's fastest layer), `clip_lr_lowest` (its
        slowest, where layers differ), `lr/<pattern>` for each of train.rates.
    """
    rates: dict[str, float] = {}
    slowest = math.inf
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak"]
        label = group["label"]
        rates[label] = max(rates.get(label, 0.0), group["lr"])
        if label == "clip_lr":
            slowest = min(slowest, group["lr"])
    if slowest < rates.get("clip_lr", 0.0):
        rates["clip_lr_lowest"] = slowest
    return rates


def clip_gradients(optimizer: torch.optim.Optimizer, largest: float) -> Tensor:
    """Scale all gradients so that their global norm is at most `largest` (0: leave them); returns the norm before.

    Where parameters are sharded, all processes call it.
    """
    return gradient_norm_and_clip([p for group in optimizer.param_groups for p in group["params"]], largest)


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, whole: Callable[[Tensor], Tensor] = lambda tensor: tensor
) -> dict[str, Tensor]:
    """The optimiser's state as named tensors, `<parameter>/<state>`.

    Args:
        optimizer: with groups that `parameter_groups` made.
        whole: makes a full tensor of a sharded one; where several processes hold the shards, all of them call this.
    """
    return {
        f"{name}/{key}": whole(torch.as_tensor(value))
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        for key, value in sorted(optimizer.state.get(parameter, {}).items())
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    like: Callable[[Tensor, nn.Parameter], Tensor] = lambda full, parameter: full.to(parameter.device),
) -> None:
    """Put back what `optimizer_tensors` gave, whatever the groups and the number of processes were then.

    Args:
        optimizer: with a group for each parameter that the tensors name.
        tensors: full ones.
        like: makes of a full tensor one that lies on devices as the parameter does.

    Raises:
        KeyError: the state of another set of parameters.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, word = key.rpartition("/")
        states.setdefault(name, {})[word] = tensor
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            state = states.pop(name, None)
            if state is None:  # it had no gradient yet
                optimizer.state.pop(parameter, None)
                continue
            for word, value in state.items():
                if word == "step":
                    # A fused AdamW counts where the parameter lies, any other on the CPU.
                    value = value.to(parameter.device if group["fused"] else "cpu")
                elif value.shape != parameter.shape:
                    raise KeyError(f"{name}/{word} of another shape")
                else:
                    value = like(value, parameter)
                # A copy: the step changes it in place, and what was given may be read again.
                optimizer.state[parameter][word] = value.clone()
    if states:
        raise KeyError(next(iter(states)))

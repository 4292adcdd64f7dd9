"""A model of the right shapes and nothing else, for measuring: no weights file, no tokenizer, no network."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tvrkit.config import Config
from tvrkit.core.architecture import build_clip
from tvrkit.core.backbone import Backbone
from tvrkit.core.model import RetrievalModel
from tvrkit.core.spec import BackboneSpec, find_spec
from tvrkit.train.objective import Objective
from tvrkit.train.optim import freeze

_DRAWING = ("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "erfinv_")


class _BareBackbone(Backbone):
    """A backbone without tokenizer and preprocessing, whose files may have to be downloaded: ids are drawn instead."""

    def __init__(self, spec: BackboneSpec, clip: nn.Module, max_words: int) -> None:
        nn.Module.__init__(self)
        clip._modules.pop("text_decoder", None)
        self.spec, self.clip = spec, clip
        self.dim = int(spec.model_cfg["embed_dim"])
        self.context_length = int(spec.text_cfg.get("context_length", 77))
        self.max_words = min(max_words, self.context_length)


def random_model(config: Config, device: str = "cpu") -> tuple[RetrievalModel, Objective]:
    """The model and the objective of a config, frozen as it says, with random weights whatever `model.pretrained` says.

    Raises:
        ModelError: there is no such backbone.
    """
    spec = find_spec(config.model.backbone, config.model.pretrained)
    with torch.device(device), _NoStart():
        clip = build_clip(spec)
        model = RetrievalModel(config.model, _BareBackbone(spec, clip, config.model.max_words))
        objective = Objective(
            config.loss,
            dim=model.backbone.dim,
            num_frames=config.model.num_frames,
            max_words=model.backbone.max_words,
        )
    _fill(itertools.chain(model.parameters(), objective.parameters()))
    freeze(
        model,
        config.train.freeze,
        learn_scale=config.loss.logit_scale == "learned",
        patterns=config.train.freeze_parameters,
        extra={"objective": objective},
    )
    return model, objective


class _NoStart(TorchFunctionMode):
    """Leaves out the drawing of first weights, which takes longer than all the measuring."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        drawn = getattr(func, "__name__", "") in _DRAWING
        if drawn and (tensor := args[0] if args else (kwargs or {}).get("tensor")) is not None:
            return tensor
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def _fill(parameters: Iterator[Tensor]) -> None:
    """Small random numbers for all parameters, the same million again and again: values must be of an ordinary size."""
    pool: Tensor | None = None
    for parameter in parameters:
        if pool is None:
            pool = 0.02 * torch.randn(1_000_000, device=parameter.device)
        for piece in parameter.detach().view(-1).split(len(pool)):
            piece.copy_(pool[: len(piece)])

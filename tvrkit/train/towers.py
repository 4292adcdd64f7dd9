"""How the backbone's towers run in training: what is computed twice, what is compiled, what stands still.

Nothing here changes a name or a number of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tvrkit.config import TrainConfig
from tvrkit.core.model import RetrievalModel
from tvrkit.errors import InstallError

# Each block is compiled by itself, and torch counts recompilations by code, which they share.
_RECOMPILATIONS = 256


def prepare_towers(model: RetrievalModel, config: TrainConfig) -> None:
    """Gradient checkpointing and compilation as the config has them; on the model's own device, before sharding.

    Raises:
        InstallError: there is no compiler for `train.compile`.
    """
    if config.gradient_checkpointing:
        checkpoint_gradients(model)
    if config.compile:
        compile_blocks(model)


def hold_statistics(model: nn.Module) -> None:
    """Batch normalisation by the statistics that came with the weights, also in training mode.

    Those of a micro batch or of one process's share would make the result depend on how a batch is cut.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def checkpoint_gradients(model: RetrievalModel) -> None:
    """Keep each block's input alone for the backward pass, and compute the rest of it again there.

    Convolutional towers that cannot are left as they are.
    """
    clip: Any = model.backbone.clip
    clip.visual.set_grad_checkpointing(True)
    if not hasattr(clip, "text"):
        clip.transformer.grad_checkpointing = True
    elif hasattr(clip.text.transformer, "gradient_checkpointing_enable"):  # transformers' default is the reentrant kind
        clip.text.transformer.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    else:
        clip.text.set_grad_checkpointing(True)


def compile_blocks(model: RetrievalModel) -> None:
    """torch.compile for every block by itself: seconds rather than minutes, and any batch size."""
    check_compiler(model.device)
    import torch._dynamo.config as dynamo

    # A block is smaller than what DistributedDataParallel reduces at a time: nothing is won by cutting it.
    dynamo.optimize_ddp = False
    for limit in ("recompile_limit", "cache_size_limit"):  # its name before torch 2.7
        if hasattr(dynamo, limit):
            setattr(dynamo, limit, max(getattr(dynamo, limit), _RECOMPILATIONS))
    for block in tower_blocks(model.backbone.clip):
        block.compile()


def check_compiler(device: torch.device) -> None:
    """Compile two operations, to learn now rather than in the first step whether that can be done.

    Raises:
        InstallError: it cannot.
    """
    try:
        torch.compile(lambda x: torch.relu(x) + 1)(torch.ones(8, device=device))
    except Exception as error:  # compilers, Triton and torch each have errors of their own
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InstallError(
            f"train.compile needs a C++ compiler that works with torch, and there is none ({reason.rstrip('.')}):"
            " install g++ (on Debian: `apt install g++ python3-dev`), or set train.compile=false."
        ) from None


def tower_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks that towers are stacked of, outermost ones only: transformer layers, residual blocks, stages.

    A block is a child of a list or sequence of modules of one class that have parts of their own.
    """
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.Sequential) and _is_stack(child):
            yield from child
        else:
            yield from tower_blocks(child)


def _is_stack(modules: nn.Module) -> bool:
    children = list(modules.children())
    if len({type(child) for child in children}) != 1:
        return False
    has_parts = all(any(True for _ in child.children()) for child in children)
    return has_parts and any(True for _ in modules.parameters())

"""Processes that train one model: whose gradients are averaged how, and who holds which part of the weights.

Every process computes the whole batch's loss from features that `Team.rows` gathered, so each parameter's gradient,
averaged over processes, is that of one process with the whole batch. This is about the average, and nothing else.

- `Parallel` itself: one process, nothing to do.
- `ddp`: every process holds the whole model; torch's DistributedDataParallel averages while the backward pass runs.
- `fsdp`: each process holds a part of the backbone, of its gradients and its optimiser state (see `sharding`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tvrkit.core.model import RetrievalModel
from tvrkit.distributed import Team

T = TypeVar("T")


class Parallel:
    """One process by itself; the base of the others.

    Attributes:
        even: whether all processes must run the towers equally often, forward and backward, also a process that has
            no pairs left; without gradients too.
    """

    even = False

    def last(self, function: Callable[[], T]) -> T:
        """Call a forward pass, the step's last: the backward pass of what it returns averages the gradients.

        Backward passes before it only add up on their own process; what they added is averaged with the rest. Every
        process calls it equally often, and each must run a backward pass through what it returns.

        Args:
            function: the forward pass; returns tensors, or sequences, mappings or dataclasses of them.
        """
        return function()

    def finish(self) -> None:
        """After the step's last backward pass: average what has not been yet. All processes call it."""

    def whole(self, tensor: Tensor) -> Tensor:
        """The full tensor of a sharded one, on every process (a collective); any other as it is."""
        return tensor

    def like(self, full: Tensor, parameter: Tensor) -> Tensor:
        """My part of a full tensor, cut and placed as the parameter is (a collective if it is sharded)."""
        return full.to(parameter.device)

    def evaluated(self, model: RetrievalModel) -> RetrievalModel:
        """The model as it is now with whole weights, to evaluate, name or save it (a collective where sharded)."""
        return model


def parallel_of(
    how: str, model: RetrievalModel, objective: nn.Module, team: Team, device: torch.device | str
) -> Parallel:
    """Make a model ready to be trained by a team; after freezing, and before the optimiser is made.

    Args:
        how: `ddp` or `fsdp`; with one process they are the same.
        model: on its device, with the same weights on every process; `fsdp` shards its backbone in place.
        objective: its weights are trained too.
        team: the processes.
        device: where the model is.

    Raises:
        InstallError: this torch has no FSDP2.
    """
    if team.size == 1:
        return Parallel()
    if how == "fsdp":
        from tvrkit.train.sharding import Sharded

        return Sharded(model, objective, team, torch.device(device))
    return Replicated(model, objective, team)


class Replicated(Parallel):
    """The whole model on every process, by DistributedDataParallel."""

    def __init__(self, model: RetrievalModel, objective: nn.Module, team: Team) -> None:
        """Send rank 0's weights to all, and get ready to average gradients."""
        self._team = team
        self._modules = (model, objective)
        self._averaged = False
        self._engine: nn.Module | None = None
        if trained(self._modules):
            engine: Any = nn.parallel.DistributedDataParallel
            known = inspect.signature(engine).parameters
            # Newer torch has another name for it, and warns each user of the old one.
            buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
            # A group of its own: its reductions come whenever a bucket is full, also between those of `Team.rows`.
            self._engine = engine(
                _Calls(model, objective),
                find_unused_parameters=True,
                process_group=dist.new_group(),
                **{buffers: False},
            )

    def last(self, function: Callable[[], T]) -> T:
        """See `Parallel`."""
        if self._engine is None or not torch.is_grad_enabled():
            return function()
        self._averaged = True
        result: T = self._engine(function)
        return result

    def finish(self) -> None:
        """Average by hand where the step had no last pass, as when no tower learns and the heads are by themselves."""
        if not self._averaged:
            average_gradients(trained(self._modules), self._team)
        self._averaged = False


class _Calls(nn.Module):
    """A module whose forward pass is any function over the modules that it holds."""

    def __init__(self, model: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        # Never used: with one such parameter DistributedDataParallel does not warn that it found none.
        self.unused = nn.Parameter(torch.zeros(1, device=next(model.parameters()).device))

    def forward(self, function: Callable[[], Any]) -> Any:
        return function()


def trained(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The parameters that learn, each once."""
    return list({id(p): p for module in modules for p in module.parameters() if p.requires_grad}.values())


def average_gradients(parameters: Iterable[nn.Parameter], team: Team) -> None:
    """Average gradients over processes, in one collective for each type of number and place.

    Where only some processes have a gradient, the others count as zeros; where none has, it stays None.
    """
    parameters = list(parameters)
    if team.size == 1 or not parameters:
        return
    # The same on all processes, so that they reduce the same tensors.
    used = team.numbers(*(parameter.grad is not None for parameter in parameters)).any(dim=0).tolist()
    kinds: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for parameter, is_used in zip(parameters, used, strict=True):
        if is_used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            kinds.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    for some in kinds.values():
        gradients = [parameter.grad for parameter in some if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= team.size
        for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def gradient_norm_and_clip(parameters: Iterable[Tensor], largest: float) -> Tensor:
    """Scale gradients so that their global norm is at most `largest` (0: leave them), sharded ones among them.

    Returns:
        The norm before, (), the same on every process. If a parameter is sharded this is a collective.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    shards: list[Any] = [gradient for gradient in gradients if is_sharded(gradient)]
    local = [shard.to_local() for shard in shards]
    plain = [gradient for gradient in gradients if not is_sharded(gradient)]
    square = _square(plain)
    if shards:
        of_shards = _square(local)
        dist.all_reduce(of_shards, group=shards[0].device_mesh.get_group())
        square = of_shards + square.to(of_shards)
    norm = square.sqrt()
    if largest and gradients:
        factor = (largest / (norm + 1e-6)).clamp(max=1.0)  # as torch's own
        # Where the norm is no number, a factor would spoil all gradients, and the report could not name the bad ones.
        torch._foreach_mul_([*local, *plain], torch.where(norm.isfinite(), factor, 1.0))
    return norm


def is_sharded(tensor: Tensor) -> bool:
    """Whether each process has a part of it only (torch's DTensor)."""
    return hasattr(tensor, "full_tensor")


def _square(tensors: list[Tensor]) -> Tensor:
    """Square of the norm of them all, () float32."""
    if not tensors:
        return torch.zeros(())
    return torch.stack([norm.float() for norm in torch._foreach_norm(tensors)]).square().sum()

"""The moving average of the weights, which is what is validated and kept as the best where `train.ema` is above 0.

    average = d * average + (1 - d) * weights    after each step,    d = min(train.ema, (1 + step) / (10 + step))

The rising d lets go of the first, random weights of new modules within a few steps, however short the run is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def _itself(tensor: Tensor, parameter: Tensor) -> Tensor:
    return tensor


class Ema:
    """Averages of the parameters that are trained, whole or, under FSDP, of each process's shards."""

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        """Begin with the weights as they are.

        Args:
            named_parameters: float32, as all that is trained; what stands still needs no average.
            decay: above 0 and below 1.
        """
        self.decay = decay
        self._parameters = dict(named_parameters)
        for name, parameter in self._parameters.items():
            if parameter.dtype != torch.float32:
                raise ValueError(f"a moving average in {parameter.dtype} would stand still: {name}")
        self._averages = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._swapped = False

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after an optimiser step.

        Args:
            step: optimiser steps done, this one included; counts from 1.
        """
        if self._swapped:
            raise RuntimeError("the averages are in the model's place")
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        averages = [_local(average) for average in self._averages.values()]
        weights = [_local(parameter.detach()) for parameter in self._parameters.values()]
        torch._foreach_lerp_(averages, weights, weight)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The averages in the model's place, for a validation; the weights are back afterwards, whatever happens."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def tensors(self, whole: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """The averages by the parameters' names, to be saved.

        Args:
            whole: makes the full tensor of a shard; all processes take part.
        """
        return {name: average if whole is None else whole(average) for name, average in self._averages.items()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], like: Callable[[Tensor, Tensor], Tensor] = _itself) -> None:
        """Put back what `tensors` gave.

        Args:
            tensors: of these very parameters, full.
            like: takes from a full tensor what the process holds of it: `like(full, parameter)`.

        Raises:
            KeyError: an average is missing, or is of no parameter.
            RuntimeError: it has another shape.
        """
        for name in sorted(tensors.keys() ^ self._averages.keys()):
            raise KeyError(name)
        for name, average in self._averages.items():
            part = like(tensors[name], self._parameters[name])
            if part.shape != average.shape:
                raise RuntimeError(f"{name} is {tuple(part.shape)}, not {tuple(average.shape)}")
            average.copy_(part)

    @torch.no_grad()
    def _swap(self) -> None:
        # Values change places, not tensors: FSDP and compiled code know a parameter by where it lies.
        for name, parameter in self._parameters.items():
            mine, average = _local(parameter), _local(self._averages[name])
            before = mine.clone()
            mine.copy_(average)
            average.copy_(before)
        self._swapped = not self._swapped


def _local(tensor: Tensor) -> Tensor:
    """A shard's own numbers (an average is taken number by number, so no other process is asked)."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor

"""Weights taken over where name and shape fit, and an account of what did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_POSITIONS = "temporal.positional_embedding"


@dataclass(frozen=True)
class Match:
    """Which tensors went over; all are names.

    Attributes:
        matched: taken over.
        cut: of these, positions of more frames than the model has, of which the first were taken.
        reshaped: there on both sides in different shapes, written out with both; left as they were.
        missing: of the model, and nothing was given for them; left as they were.
        unused: given, and the model has no place for them.
    """

    matched: tuple[str, ...]
    cut: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether everything on both sides fitted."""
        return not (self.reshaped or self.missing or self.unused)

    def words(self) -> str:
        """One line for people: how many fitted, and the first names of those that did not."""
        total = len(self.matched) + len(self.reshaped) + len(self.missing)
        parts = [f"{len(self.matched)} of the model's {total} tensors taken over"]
        if self.cut:
            parts.append(f"of {', '.join(self.cut)} the first rows")
        for word, names in (
            ("another shape", self.reshaped),
            ("not among the weights", self.missing),
            ("no place in the model", self.unused),
        ):
            if names:
                parts.append(f"{len(names)} {word} ({first(names)})")
        return "; ".join(parts)


def take_over(model: nn.Module, tensors: Mapping[str, Tensor]) -> Match:
    """Copy tensors into a model's parameters and buffers of the same name and shape, in place.

    Positions of a temporal encoder made for more frames are cut to the model's; made for fewer, they do not fit.

    Args:
        model: on any device.
        tensors: by the model's own names, of any float type.
    """
    own: dict[str, Tensor] = model.state_dict()
    matched, cut, reshaped = [], [], []
    with torch.no_grad():
        for name in own:
            if name not in tensors:
                continue
            given, wanted = tensors[name], own[name]
            if name == _POSITIONS and given.shape[1:] == wanted.shape[1:] and len(given) > len(wanted):
                given = given[: len(wanted)]
                cut.append(name)
            if given.shape != wanted.shape:
                reshaped.append(f"{name}: {_shape(given)}, not {_shape(wanted)}")
                continue
            wanted.copy_(given)
            matched.append(name)
    missing = [name for name in own if name not in tensors]
    unused = [name for name in tensors if name not in own]
    return Match(tuple(matched), tuple(cut), tuple(reshaped), tuple(missing), tuple(unused))


def first(names: Sequence[str], count: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"

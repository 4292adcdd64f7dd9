"""The second part of an image transform: 8-bit colours to what a tower takes, on the model's device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalise:
    """(x / 255 - mean) / std for each colour, to the last bit as torchvision does it on the CPU.

    Args:
        mean: of each colour on a scale of 0 to 1.
        std: likewise.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = tuple(mean), tuple(std)
        self._on: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) float32 of uint8 ones, on their device."""
        largest, mean, std = self._constants(pixels.device)
        return pixels.to(torch.float32).div_(largest).sub_(mean).div_(std)

    def __getstate__(self) -> dict[str, object]:
        return {"mean": self.mean, "std": self.std, "_on": {}}

    def _constants(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        # Made once a device: a copy to a GPU in each step would make the CPU wait for it.
        if device not in self._on:
            # 255 as a tensor of that device: a GPU multiplies by the inverse of a plain number, which rounds otherwise.
            largest = torch.tensor(255.0, device=device)
            mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (self.mean, self.std))
            self._on[device] = (largest, mean, std)
        return self._on[device]

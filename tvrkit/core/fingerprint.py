"""Short names for a model's numbers, so that features computed with other numbers are never taken for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_Stamp = tuple[tuple[str, int, int, bytes], ...]


class Fingerprint:
    """Hash of tensors and facts, computed again only when a tensor has changed."""

    def __init__(self) -> None:
        self._stamp: _Stamp | None = None
        self._digest = ""

    def __call__(self, tensors: Mapping[str, Tensor], facts: Any) -> str:
        """Hexadecimal digest of 16 bytes.

        Args:
            tensors: by name; their order, device and strides do not matter.
            facts: what else decides the outcome, as JSON values; taken to be the same at every call.
        """
        stamp = _stamp(tensors)
        if stamp != self._stamp:
            self._digest, self._stamp = _digest(tensors, facts), stamp
        return self._digest


def _stamp(tensors: Mapping[str, Tensor]) -> _Stamp:
    # Autograd's version counter sees changes in place; some numbers of each tensor guard against code around it.
    return tuple((name, t.data_ptr(), t._version, _bytes(t.flatten()[:4])) for name, t in sorted(tensors.items()))


def _digest(tensors: Mapping[str, Tensor], facts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(facts, sort_keys=True, default=list).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> Any:
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return raw.tobytes() if raw.size <= 64 else raw

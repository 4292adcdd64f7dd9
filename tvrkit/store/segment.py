"""One segment: a safetensors file that holds many items of one kind, each name's arrays joined along axis 0."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tvrkit.files import atomic_path

_OFFSETS = ".offsets"  # beside each array: where its items begin, and the end of the last


@dataclass(frozen=True)
class StoredRows:
    """Items of one segment.

    Attributes:
        keys: their n keys.
        tensors: for each name the items' arrays joined along axis 0; items without an axis are (n,). They may
            be memory-mapped (copy on write): to be read, not changed.
        lengths: for each name (n,) int64, the rows of each item.
        scalars: the names whose items have no axis.
    """

    keys: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    lengths: Mapping[str, Tensor]
    scalars: frozenset[str]


class SegmentEntry(NamedTuple):
    """What the catalogue knows of a segment; `signature` is what its items share (names, types, shapes)."""

    name: str
    signature: str
    items: int
    bytes: int
    checksum: str


@dataclass(frozen=True)
class Segment:
    """A segment, memory-mapped."""

    tensors: dict[str, Tensor]
    offsets: dict[str, Tensor]
    scalars: frozenset[str]

    def take(self, rows: Tensor, keys: tuple[str, ...], names: Collection[str] | None = None) -> StoredRows:
        """The items `rows` (n,) int64, ascending; no copy is made when they stand side by side.

        Args:
            rows: which.
            keys: theirs.
            names: the arrays that are wanted; None gives all.
        """
        tensors, lengths = {}, {}
        together = bool(rows[-1] - rows[0] + 1 == len(rows))
        for name in self.tensors if names is None else names:
            tensor = self.tensors[name]
            starts, stops = self.offsets[name][rows], self.offsets[name][rows + 1]
            lengths[name] = stops - starts
            if together:
                tensors[name] = tensor[int(starts[0]) : int(stops[-1])]
            else:
                parts = zip(starts.tolist(), stops.tolist(), strict=True)
                tensors[name] = torch.cat([tensor[start:stop] for start, stop in parts])
        return StoredRows(keys, tensors, lengths, self.scalars)


def signature_of(key: str, arrays: Mapping[str, Tensor]) -> str:
    """What items must share to lie in one segment: names, types, and shapes but for the first axis.

    Raises:
        ValueError: no array, or a name that is taken by the format.
    """
    if not arrays or any(name.endswith(_OFFSETS) for name in arrays):
        raise ValueError(f"{key}: at least one array, and no name that ends in {_OFFSETS!r}; got {list(arrays)}")
    kind = {
        name: (str(array.dtype), None if array.ndim == 0 else list(array.shape[1:]))
        for name, array in sorted(arrays.items())
    }
    return json.dumps(kind)


def join_items(signature: str, items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of a segment of new items."""
    tensors = {}
    for name, (_, shape) in json.loads(signature).items():
        arrays = [item[name].detach().cpu() for item in items]
        tensors[name] = torch.stack(arrays) if shape is None else torch.cat(arrays)
        tensors[name + _OFFSETS] = _offsets(torch.tensor([1 if shape is None else len(array) for array in arrays]))
    return tensors


def join_rows(parts: Sequence[StoredRows]) -> dict[str, Tensor]:
    """The tensors of a segment that takes the place of several."""
    tensors = {}
    for name in parts[0].tensors:
        tensors[name] = torch.cat([part.tensors[name] for part in parts])
        tensors[name + _OFFSETS] = _offsets(torch.cat([part.lengths[name] for part in parts]))
    return tensors


def write_segment(path: Path, signature: str, keys: Sequence[str], tensors: dict[str, Tensor]) -> SegmentEntry:
    """Write a segment atomically, on disk when this returns.

    Raises:
        OSError, SafetensorError: the disk is full, the folder cannot be written.
    """
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"signature": signature, "keys": json.dumps(keys)})
    return SegmentEntry(path.name, signature, len(keys), path.stat().st_size, checksum_of(path))


def open_segment(path: Path, entry: SegmentEntry, *, checked: bool = False) -> Segment:
    """Check a segment against its entry and map it.

    Args:
        path: where it lies.
        entry: what was written.
        checked: whether its checksum is known to be right.

    Raises:
        DamagedError: it is not what was written.
        OSError, RuntimeError, SafetensorError: it cannot be read now; that says nothing about its content.
    """
    kind = json.loads(entry.signature)
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            raise DamagedError(f"{size} bytes instead of {entry.bytes}")
        if not checked and checksum_of(path) != entry.checksum:
            raise DamagedError("its checksum is wrong")
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in kind}
            offsets = {name: file.get_tensor(name + _OFFSETS) for name in kind}
    except FileNotFoundError:  # at any of these steps: another process may have merged it away meanwhile
        raise DamagedError("it is not there") from None
    except (RuntimeError, SafetensorError):  # torch opens it once more, by its name, and has no class for what is gone
        if path.exists():
            raise
        raise DamagedError("it is not there") from None
    return Segment(tensors, offsets, frozenset(name for name, (_, shape) in kind.items() if shape is None))


def describe_segment(path: Path) -> tuple[SegmentEntry, list[str]] | None:
    """Entry and keys of a segment that no catalogue knows, out of its own header; None when it is no whole segment."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        keys = [str(key) for key in json.loads(metadata["keys"])]
        return SegmentEntry(path.name, metadata["signature"], len(keys), path.stat().st_size, checksum_of(path)), keys
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def checksum_of(path: Path) -> str:
    """Sum of a file's 64-bit words: finds accidents (cut short, zeroed, overwritten) as fast as memory is read."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    whole = len(data) // 8 * 8
    tail = int.from_bytes(data[whole:].tobytes(), "little")
    total = int(data[:whole].view("<u8").sum(dtype=np.uint64)) + tail
    return f"{total % 2**64:016x}"


class DamagedError(Exception):
    """A segment that is not what was written."""


def _offsets(lengths: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])

"""The tensors of a TorchScript archive, read without running anything that is in it.

OpenAI published CLIP as such archives. `torch.jit.load` would hand code from the file to an interpreter; here only
the pickle that lists the tensors is read, by an unpickler that can build tensors, plain containers and nothing else.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tvrkit.errors import ModelError

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_archive(path: Path) -> bool:
    """Whether the file is a TorchScript archive: a zip with its code beside the tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_archive(path: Path) -> dict[str, Tensor]:
    """Every tensor attribute of the archive's modules, named as a state dict names them.

    Raises:
        ModelError: it is damaged, or holds something that a model's tensors do not need.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            module = _TensorUnpickler(archive, _root_of(archive)).load()
        if not isinstance(module, _Module):
            raise pickle.UnpicklingError("it holds no module")
        return _tensors_of(module)
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = str(error).strip("'\"") or type(error).__name__
        raise ModelError(f"{path} cannot be read as a TorchScript archive of a model: {reason}.") from None


class _Module:
    """Stands for any scripted module: unpickling fills its attributes, and nothing of it is callable."""


class _Storage:
    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


def _root_of(archive: zipfile.ZipFile) -> str:
    for name in archive.namelist():
        folder, _, last = name.rpartition("/")
        if last == "data.pkl":
            return folder
    raise KeyError("it has no data.pkl")


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler whose only callables build tensors and containers."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive = archive
        self._root = root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _DTYPES:
            return _Storage(_DTYPES[name])
        allowed = {
            ("torch._utils", "_rebuild_tensor_v2"): _view,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch.jit._pickle", "build_intlist"): list,
            ("torch.jit._pickle", "build_doublelist"): list,
            ("torch.jit._pickle", "build_boollist"): list,
            ("torch.jit._pickle", "build_tensorlist"): list,
            ("torch.jit._pickle", "restore_type_tag"): _untyped,
        }
        if (module, name) in allowed:
            return allowed[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no tensor needs")

    def persistent_load(self, identifier: Any) -> Tensor:
        kind, storage, key, _, count = identifier
        if kind != "storage" or not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("it refers to something other than a tensor's storage")
        if key not in self._storages:
            self._storages[key] = self._read_storage(str(key), storage.dtype, int(count))
        return self._storages[key]

    def _read_storage(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        entry = self._archive.getinfo(f"{self._root}/data/{key}")
        # torch stores its entries as they are; a compressed one could unpack to any size.
        if entry.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError(f"its entry {entry.filename} is compressed")
        data = bytearray(self._archive.read(entry))
        if count * dtype.itemsize > len(data):
            raise pickle.UnpicklingError(f"its entry {entry.filename} is shorter than its tensor")
        if not count:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(data, dtype=dtype, count=count)


def _view(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if min((*size, *stride, offset), default=0) < 0:
        raise pickle.UnpicklingError("a tensor has a negative size")
    # A zero stride would let a small file unfold to any size.
    if math.prod(size) > max(storage.numel(), 1):
        raise pickle.UnpicklingError("a tensor is larger than its storage")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _untyped(value: Any, _: str) -> Any:
    return value


def _tensors_of(root: _Module) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    seen = {id(root)}  # a crafted archive could nest a module in itself
    waiting = [("", root)]
    while waiting:
        prefix, module = waiting.pop()
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                tensors[prefix + name] = value
            elif isinstance(value, _Module) and id(value) not in seen:
                seen.add(id(value))
                waiting.append((f"{prefix}{name}.", value))
    return tensors

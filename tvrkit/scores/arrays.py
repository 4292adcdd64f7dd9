"""One array out of a .npy, .npz or .safetensors file that a stranger made: no pickle, and no promise believed.

What the file is, its first bytes say, not its name. A header is checked against the size of the file before anything
is set aside for it.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from tvrkit.errors import DataError

_READ_AT_ONCE = 2**24
_PICKLE = "as numpy.save(…, allow_pickle=True), torch.save and pickle.dump leave it: save the plain array by numpy.save"


def read_array(source: str | Path) -> np.ndarray:
    """Read an array as it was stored, of whatever shape and type.

    Args:
        source: a .npy, a .npz or .safetensors with one array, or `FILE:NAME` for one of several. A .npy and what a
            .safetensors holds is mapped into memory, copied where it is written to; the file is never changed.

    Raises:
        DataError: it is not there, is none of the three, is cut short or damaged, has several arrays and none is named,
            or holds a pickle.
    """
    path, name = split_source(source)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(9)
            file.seek(0)
            if head.startswith(npy.MAGIC_PREFIX):
                _no_name(path, name, "a .npy")
                return _from_npy(path, file, size)
            if head.startswith(b"PK\x03\x04"):
                return _from_npz(path, name)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    if path.suffix == ".safetensors" or (head[8:] == b"{" and int.from_bytes(head[:8], "little") < size):
        return _from_safetensors(path, name)
    if head.startswith(b"\x80"):
        raise DataError(f"{path} holds a pickle, which could run anything when it is read, {_PICKLE}.")
    raise DataError(f"{path} is neither .npy nor .npz nor .safetensors: its first bytes are of another kind of file.")


def split_source(source: str | Path) -> tuple[Path, str | None]:
    """The file, and the name behind the colon in `FILE.npz:NAME`."""
    path = Path(source)
    before, colon, after = str(source).rpartition(":")
    if colon and not path.exists() and Path(before).suffix in (".npz", ".safetensors", ".npy"):
        return Path(before), after
    return path, None


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    order: Any  # "C" or "F"
    dtype: np.dtype[Any]
    offset: int


def _header(file: IO[bytes], size: int, where: str) -> _Header:
    """The header of a .npy stream of `size` bytes, checked; `file` then stands at the first number."""
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (zipfile.BadZipFile, zlib.error):
        raise
    except Exception:  # the header is a Python expression of a stranger: numpy's parser fails in many ways
        raise DataError(f"{where} begins like a .npy file, and its header cannot be understood.") from None
    if dtype.hasobject:
        raise DataError(f"{where} holds a pickle, which could run anything when it is read, {_PICKLE}.")
    offset = file.tell()
    if any(n < 0 for n in shape):
        raise DataError(f"{where}: its header gives the shape {shape}.")
    promised = math.prod(shape) * dtype.itemsize
    if promised > size - offset:
        raise DataError(
            f"{where} is cut short: its header promises {promised:,} bytes of numbers (shape {_by(shape)},"
            f" {dtype}), and {max(0, size - offset):,} follow."
        )
    return _Header(shape, "F" if fortran else "C", dtype, offset)


def _from_npy(path: Path, file: IO[bytes], size: int) -> np.ndarray:
    header = _header(file, size, str(path))
    if 0 in header.shape or not header.dtype.itemsize:
        return np.zeros(header.shape, header.dtype)  # nothing can be mapped
    # Copy on write: torch warns of arrays that it could not write to.
    return np.memmap(path, header.dtype, mode="c", offset=header.offset, shape=header.shape, order=header.order)


def _from_npz(path: Path, name: str | None) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
            if not names:
                raise DataError(f"{path} is a zip file without a .npy in it, {_PICKLE}.")
            entry = archive.getinfo(f"{_chosen(path, name, names)}.npy")
            where = f"{path}:{entry.filename.removesuffix('.npy')}"
            with archive.open(entry) as file:
                header = _header(file, entry.file_size, where)
                flat = np.empty(math.prod(header.shape), header.dtype)
                _fill(flat, file, where)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path} is a damaged or locked .npz ({' '.join(str(error).split())}).") from None
    return flat.reshape(header.shape, order=header.order)


def _fill(flat: np.ndarray, file: IO[bytes], where: str) -> None:
    """Read `flat` full, and to the end of `file`, where the checksum is compared."""
    raw = flat.view(np.uint8).data if flat.nbytes else memoryview(b"")
    done = 0
    while done < len(raw):
        some = file.read(min(_READ_AT_ONCE, len(raw) - done))
        if not some:
            raise DataError(f"{where} is cut short.")
        raw[done : done + len(some)] = some
        done += len(some)
    while file.read(_READ_AT_ONCE):
        pass


def _from_safetensors(path: Path, name: str | None) -> np.ndarray:
    # torch, not numpy: bfloat16 is no type of numpy's.
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if not names:
                raise DataError(f"{path} holds no array.")
            tensor = file.get_tensor(_chosen(path, name, names))
        plain = tensor.dtype in (torch.float32, torch.float64, torch.float16) or not tensor.is_floating_point()
        return (tensor if plain else tensor.float()).numpy()
    except (SafetensorError, RuntimeError, TypeError, NotImplementedError) as error:
        raise DataError(f"{path} is a damaged .safetensors ({' '.join(str(error).split())}).") from None


def _chosen(path: Path, name: str | None, names: list[str]) -> str:
    some = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
    if name is not None and name not in names:
        raise DataError(f"{path} has no array {name!r}; it has {some}.")
    if name is None and len(names) > 1:
        raise DataError(f"{path} holds {len(names)} arrays ({some}): name one, as {path.name}:{names[0]}.")
    return names[0] if name is None else name


def _no_name(path: Path, name: str | None, kind: str) -> None:
    if name is not None:
        raise DataError(f"{path} is {kind} file, which holds one array without a name: leave out :{name}.")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{n:,}" for n in shape) or "of one number"

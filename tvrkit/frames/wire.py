"""Objects over a pipe: a pickle whose arrays follow it as they are, without being copied into it."""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any

_COUNT = struct.Struct("<Q")


def send(file: IO[bytes], value: Any) -> None:
    """Write one object.

    Raises:
        OSError: the other end is gone.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts: list[bytes | memoryview] = [head, *(buffer.raw() for buffer in buffers)]
    file.write(_COUNT.pack(len(parts)) + b"".join(_COUNT.pack(len(part)) for part in parts))
    for part in parts:
        file.write(part)
    file.flush()


def receive(file: IO[bytes]) -> Any:
    """Read one object.

    Raises:
        EOFError: the other end is gone.
    """
    count = _COUNT.unpack(_read(file, _COUNT.size))[0]
    sizes = [_COUNT.unpack(_read(file, _COUNT.size))[0] for _ in range(count)]
    head, *buffers = [_read(file, size) for size in sizes]
    # Safe: the other end of the pipe is our own parent or child process, never a file or a network.
    return pickle.loads(head, buffers=buffers)


def _read(file: IO[bytes], size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        read = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not read:
            raise EOFError
        done += read
    return data

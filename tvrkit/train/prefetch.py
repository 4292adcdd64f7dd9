"""The next batches, read, padded and brought to the device by a thread while a step is under way.

Decoding processes are handed new videos only as batches are asked for: without such a thread they would run dry during
each step.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from tvrkit.data import Batch

# A thread that is in the middle of a video at the end ends by itself, once the pool that reads it is closed.
_END_SECONDS = 5.0


@dataclass(frozen=True)
class _Ready:
    """A batch on the device; `uploaded` is what a CUDA stream has to wait for before it uses it."""

    batch: Batch | None
    uploaded: Any = None


@dataclass(frozen=True)
class _End:
    """No batch any more, or the error that ended them."""

    error: BaseException | None = None


def prefetched(
    batches: Iterable[Batch | None], device: torch.device | str = "cpu", depth: int = 2
) -> Generator[Batch | None, None, None]:
    """The same batches in the same order, on `device`, read ahead by a thread.

    What is raised while they are read is raised here in its place. Use it with `contextlib.closing`, so that the thread
    ends when the loop does.

    Args:
        batches: read and closed by the thread; nobody else may touch them meanwhile.
        device: where frames and masks are wanted. A GPU gets them from pinned memory, on a stream of its own.
        depth: batches that are ready or in the making, beside the one in use; >= 1.
    """
    device = torch.device(device)
    ready: queue.SimpleQueue[_Ready | _End] = queue.SimpleQueue()
    free, stop = threading.Semaphore(depth), threading.Event()
    thread = threading.Thread(
        target=_read, args=(batches, device, ready, free, stop), name="tvrkit-prefetch", daemon=True
    )
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            free.release()
            yield _arrived(item, device)
    finally:
        stop.set()
        free.release()
        thread.join(_END_SECONDS)


def _read(
    batches: Iterable[Batch | None],
    device: torch.device,
    ready: queue.SimpleQueue[_Ready | _End],
    free: threading.Semaphore,
    stop: threading.Event,
) -> None:
    """What the thread does: a batch for each free place, until there are none or it is told to stop."""
    iterator = iter(batches)
    try:
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        while True:
            free.acquire()
            if stop.is_set():
                return
            try:
                batch = next(iterator)
            except StopIteration:
                break
            ready.put(_uploaded(batch, device, stream))
        ready.put(_End())
    except BaseException as error:  # whatever it is, it belongs to the thread that uses the batches
        ready.put(_End(error))
    finally:
        if hasattr(iterator, "close"):
            iterator.close()


def _uploaded(batch: Batch | None, device: torch.device, stream: Any) -> _Ready:
    if batch is None:
        return _Ready(None)
    if stream is None:
        return _Ready(replace(batch, frames=batch.frames.to(device), frame_mask=batch.frame_mask.to(device)))
    with torch.cuda.stream(stream):
        frames, mask = (
            tensor.pin_memory().to(device, non_blocking=True) for tensor in (batch.frames, batch.frame_mask)
        )
        return _Ready(replace(batch, frames=frames, frame_mask=mask), stream.record_event())


def _arrived(item: _Ready, device: torch.device) -> Batch | None:
    if item.batch is not None and item.uploaded is not None:
        using = torch.cuda.current_stream(device)
        using.wait_event(item.uploaded)
        for tensor in (item.batch.frames, item.batch.frame_mask):
            tensor.record_stream(using)  # its memory is not given away before that stream is done with it
    return item.batch

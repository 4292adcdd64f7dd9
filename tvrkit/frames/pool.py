"""Many videos at once: processes that decode and preprocess, in order, with a time limit for each video.

The one mechanism of training, encoding and preparing. A thread of this process looks after each decoding process:
it hands it a video, waits for the frames, and kills and replaces it when it hangs. So neither a decoder that
crashes nor one that never answers ends the run, and what is decoded ahead is bounded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from tvrkit.errors import ConfigError
from tvrkit.frames.cache import PixelCache
from tvrkit.frames.child import Child
from tvrkit.frames.children import Children, pickled
from tvrkit.frames.preprocess import Transform, without_torch
from tvrkit.frames.reader import decode_here
from tvrkit.frames.reading import Reading
from tvrkit.frames.request import Decoded, FrameRequest, check_settings

__all__ = ["DecodePool", "Decoded"]

log = logging.getLogger("tvrkit.frames")


class DecodePool:
    """Decodes and transforms videos in worker processes. Use it in a `with` block: its end kills the processes.

    A worker starts with its first video and is kept until the end of the block. A start takes a fraction of a
    second, unless the transform is one that needs torch (`tvrkit.frames.preprocess`): importing that takes seconds.

    Args:
        workers: how many processes; 0 decodes in this one, where nothing can be killed: the time limit is then
            looked at between packets only.
        transform: picture to tensor or array of a fixed shape, run in the workers; it must be picklable and come
            from a module (open_clip's do). None gives raw frames.
        reader: `auto`, `av` or `decord`.
        timeout_seconds: limit for one video, decoding and transforming.
        prefetch: how many videos may be ahead of the one asked for; 4 a worker if not given.
        cache: where frames are looked up and kept; what it has is not decoded.

    Raises:
        ConfigError: a reader, a number of workers, or a transform that cannot be used.
    """

    def __init__(
        self,
        workers: int,
        transform: Transform | None = None,
        reader: str = "auto",
        timeout_seconds: float = 60.0,
        prefetch: int | None = None,
        cache: PixelCache | None = None,
    ) -> None:
        check_settings(reader, timeout_seconds)
        if workers < 0 or (prefetch is not None and prefetch < 1):
            raise ConfigError(f"a pool needs workers >= 0 and prefetch >= 1, not {workers} and {prefetch}.")
        self._transform = None if transform is None else without_torch(transform)
        self._children = Children(workers, pickled(self._transform)) if workers else None
        self._reader = reader
        self._timeout_seconds = timeout_seconds
        self._prefetch = prefetch
        self._cache = cache
        self._closed = False

    @classmethod
    def of(cls, reading: Reading, transform: Transform | None = None) -> DecodePool:
        """A pool that reads as `reading` says."""
        return cls(reading.workers, transform, reading.reader, reading.timeout_seconds, cache=reading.cache)

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that have started."""
        return self._children.pids if self._children else []

    def close(self) -> None:
        """Kill the workers, finished or not."""
        self._closed = True
        if self._children is not None:
            self._children.close()

    def imap(self, requests: Iterable[FrameRequest]) -> Iterator[Decoded]:
        """One `Decoded` for each request, in the same order; a bad video is one with `error` set, never an exception.

        Raises:
            InstallError: the workers cannot start, or decord was asked for and is not installed.
            ConfigError: a request that makes no sense for any video.
        """
        if self._closed:
            raise ConfigError("this DecodePool was closed.")
        if self._children is None:
            answers = self._here(requests)
        else:
            answers = self._children.imap((partial(self._decode, request) for request in requests), self._prefetch)
        for decoded in answers:
            if decoded.note:
                log.warning(decoded.note)
            yield decoded

    def _here(self, requests: Iterable[FrameRequest]) -> Iterator[Decoded]:
        for request in requests:
            yield self._cached(
                request, partial(decode_here, request, self._reader, self._timeout_seconds, self._transform)
            )

    def _decode(self, request: FrameRequest, child: Child) -> Iterator[Decoded]:
        yield self._cached(request, partial(child.decode, request, self._reader, self._timeout_seconds))

    def _cached(self, request: FrameRequest, decode: Callable[[], Decoded]) -> Decoded:
        if self._cache is None:
            return decode()
        kept = self._cache.get(request)
        if kept is None:
            kept = decode()
            self._cache.put(kept)
        return kept

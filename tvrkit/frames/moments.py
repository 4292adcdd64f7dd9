"""The moments of many videos, in order: cut, sampled and transformed by processes that can be killed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace

from tvrkit.errors import ConfigError, InstallError, VideoTimeoutError
from tvrkit.frames.child import Child
from tvrkit.frames.children import Children, pickled
from tvrkit.frames.decode import second_reader_note
from tvrkit.frames.moment_reader import read_moments
from tvrkit.frames.moment_request import CutPart, Cutting, MomentRequest
from tvrkit.frames.preprocess import Transform, without_torch
from tvrkit.frames.reading import Reading
from tvrkit.frames.request import check_settings

# Of a film two parts wait, and each holds as many pictures as a hundred short videos.
_AHEAD = 2  # videos a process


class MomentPool:
    """Cuts videos into moments. Use it in a `with` block: its end kills the processes.

    Args:
        reading: by how many processes and with what; the time limit is that of a part of at most 16 moments, and no
            cache is used. Without processes nothing can be killed, and the limit is looked at between packets only.
        transform: picture to array of a fixed shape, as for `DecodePool`. None gives raw frames.
        num_frames: of a moment, at most.
        cutting: how they are cut.

    Raises:
        ConfigError: a reader, a number of workers, or a transform that cannot be used.
    """

    def __init__(self, reading: Reading, transform: Transform | None, num_frames: int, cutting: Cutting) -> None:
        check_settings(reading.reader, reading.timeout_seconds)
        if reading.workers < 0 or num_frames < 1:
            raise ConfigError(f"moments need workers >= 0 and num_frames >= 1, not {reading.workers} and {num_frames}.")
        self._reading, self._num_frames, self._cutting = reading, num_frames, cutting
        self._transform = None if transform is None else without_torch(transform)
        self._children = Children(reading.workers, pickled(self._transform)) if reading.workers else None
        self._closed = False

    def __enter__(self) -> MomentPool:
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

    def imap(self, paths: Iterable[str]) -> Iterator[CutPart]:
        """The parts of each video, in order; the last of a video has no `next_seconds`.

        A bad video is one part with `error` set, and one that goes bad on the way ends with such a part; neither is an
        exception.

        Raises:
            InstallError: the workers cannot start, or decord was asked for and is not installed.
        """
        if self._closed:
            raise ConfigError("this MomentPool was closed.")
        requests = (MomentRequest(path, self._num_frames, self._cutting) for path in paths)
        if self._children is None:
            for request in requests:
                yield from self._here(request)
        else:
            jobs = (_Job(request, self._reading) for request in requests)
            yield from self._children.imap(jobs, _AHEAD * self._reading.workers)

    def _here(self, request: MomentRequest) -> Iterator[CutPart]:
        reading = self._reading
        if reading.reader == "decord":
            yield from self._by_decord(request)
            return
        for part in read_moments(request, "av", reading.timeout_seconds, self._transform):
            hopeless = reading.reader == "av" or isinstance(part.error, VideoTimeoutError)
            if part.error is None or part.request != request or hopeless:
                yield part
            else:
                yield from self._second_reader(request, part)

    def _second_reader(self, request: MomentRequest, first: CutPart) -> Iterator[CutPart]:
        """What decord makes of it; PyAV's error where it does no better, for PyAV knows more of what can be wrong."""
        assert first.error is not None
        try:
            for part in self._by_decord(request):
                if part.error is not None and part.request == request:
                    break
                yield replace(part, note=second_reader_note(first.error))
            else:
                return
        except InstallError:
            pass
        yield first

    def _by_decord(self, request: MomentRequest) -> Iterator[CutPart]:
        with closing(Child(pickled(self._transform))) as child:
            yield from _Job(request, replace(self._reading, reader="decord"))(child)


class _Job:
    """All parts of one video, asked for one after the other."""

    def __init__(self, request: MomentRequest, reading: Reading) -> None:
        self._request, self._reading = request, reading

    def __call__(self, child: Child) -> Iterator[CutPart]:
        request: MomentRequest | None = self._request
        while request is not None:
            part = child.cut(request, self._reading.reader, self._reading.timeout_seconds)
            yield part
            request = None if part.next_seconds is None else replace(request, from_seconds=part.next_seconds)

"""`--compress`: small copies of a data set's videos, made once, and anew only for what changed."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tvrkit.errors import ConfigError, DataError, VideoError
from tvrkit.frames.copying import copy_videos
from tvrkit.frames.identity import file_identity
from tvrkit.frames.request import CopyRequest
from tvrkit.frames.transcode import ENCODER
from tvrkit.prepare.memory import Memory
from tvrkit.reporting import Bar, Reporter

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

COPIES_NAME = "copies.json"
LOCK_NAME = ".copies.lock"

Job = tuple[Path, Path]  # source, destination


@dataclass(frozen=True)
class Compressed:
    """What became of the videos.

    Attributes:
        done: the file to be read for each source: its copy, or the source itself where that is as small already.
        failures: why there is no copy of each other source.
        new: how many of `done` were made, or found small already, now.
        kept: how many of `done` were taken over from an earlier run.
        bytes_before: size of the sources of `done`.
        bytes_after: size of the files that are to be read in their place.
    """

    done: dict[Path, Path]
    failures: dict[Path, str]
    new: int
    kept: int
    bytes_before: int
    bytes_after: int


def compress_all(
    jobs: Sequence[Job],
    *,
    fps: float = 3.0,
    short_side: int = 224,
    workers: int,
    timeout_seconds: float,
    watcher: Reporter,
) -> Compressed:
    """Make a copy of every source that has none yet, or whose copy was made of another content or with other settings.

    An index in each folder of copies says what each was made of. A copy appears whole or not at all, and what an
    interrupted run left half done is removed by the next one.

    Args:
        jobs: (source, destination) pairs; a destination is an mp4 file in a folder that holds copies only.
        fps: frames a second of a copy at most.
        short_side: pixels of the shorter side of its frames at most.
        workers: processes that copy, one video each at a time.
        timeout_seconds: limit for a video, again for every 20 MB of it.
        watcher: is told how it goes.

    Raises:
        ConfigError: settings that make no sense.
        DataError: a copy cannot be written, two sources have one destination, a destination is a source, or another
            process makes copies in the same folder.
    """
    if not 0 < fps <= 1000 or short_side < 2:
        raise ConfigError(
            f"a copy needs fps above 0 and a short side of at least 2 pixels, not {fps} and {short_side}."
        )
    jobs = list(dict.fromkeys(jobs))
    _check(jobs)
    how = f"{fps:g} fps, {short_side} px, {' '.join(f'{key} {value}' for key, value in ENCODER.items())}"
    tally = _Tally()
    try:
        with _Index({destination.parent for _, destination in jobs}) as index:
            for leftover in index.leftovers({destination for _, destination in jobs}):
                leftover.unlink(missing_ok=True)
            waiting: dict[CopyRequest, _Wanted] = {}
            for source, destination in jobs:
                wanted = _wanted(source, destination, how, tally)
                if wanted is None:
                    continue
                if (size := index.size_of_copy(wanted)) is None:
                    waiting[CopyRequest(str(source), str(destination), fps, short_side)] = wanted
                else:
                    tally.kept += 1
                    tally.count(wanted, size)
            if waiting:
                with watcher.progress("Compressing clips", len(waiting)) as bar:
                    _make(waiting, workers, timeout_seconds, index, tally, bar)
    except OSError as error:
        raise DataError(f"cannot write to {error.filename or 'the copies'}: {error.strerror or error}.") from None
    return Compressed(tally.done, tally.failures, tally.new, tally.kept, tally.bytes_before, tally.bytes_after)


def _make(
    waiting: Mapping[CopyRequest, _Wanted],
    workers: int,
    timeout_seconds: float,
    index: _Index,
    tally: _Tally,
    bar: Bar,
) -> None:
    # Closed at once when this is interrupted: nobody is to go on copying then.
    with closing(copy_videos(list(waiting), workers, timeout_seconds)) as copies:
        for copied in copies:
            wanted = waiting[copied.request]
            if copied.error is not None:
                tally.failures[wanted.source] = copied.error.reason
                bar.note(f"{len(tally.failures)} failed")
            else:
                tally.new += 1
                index.note(wanted, copied.size_bytes or 0)
                tally.count(wanted, copied.size_bytes or 0)
            bar.advance()


@dataclass(frozen=True)
class _Wanted:
    """A copy that there should be; `made_from` says of what content and how."""

    source: Path
    destination: Path
    made_from: str
    source_bytes: int


def _wanted(source: Path, destination: Path, how: str, tally: _Tally) -> _Wanted | None:
    """None, and a failure in `tally`, where the source cannot be opened."""
    try:
        return _Wanted(source, destination, f"{file_identity(source)}, {how}", source.stat().st_size)
    except VideoError as error:
        reason = error.reason
    except OSError as error:  # gone since
        reason = f"cannot be opened ({error.strerror})"
    tally.failures[source] = reason
    return None


@dataclass
class _Tally:
    """A `Compressed` that is not finished."""

    done: dict[Path, Path] = field(default_factory=dict)
    failures: dict[Path, str] = field(default_factory=dict)
    new: int = 0
    kept: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    def count(self, wanted: _Wanted, size: int) -> None:
        """A copy of `size` bytes; 0 says that the source is to be read."""
        self.done[wanted.source] = wanted.destination if size else wanted.source
        self.bytes_before += wanted.source_bytes
        self.bytes_after += size or wanted.source_bytes


class _Index:
    """What each copy in some folders was made of; while it is open, no other process may make copies there."""

    def __init__(self, folders: set[Path]) -> None:
        self._open = ExitStack()
        self._memories: dict[Path, Memory] = {}
        with ExitStack() as opening:
            for folder in sorted(folders):
                folder.mkdir(parents=True, exist_ok=True)
                opening.enter_context(_locked(folder))
                self._memories[folder] = Memory(folder / COPIES_NAME)
            self._open = opening.pop_all()

    def __enter__(self) -> _Index:
        return self

    def __exit__(self, *_: object) -> None:
        with self._open:
            for memory in self._memories.values():
                memory.save()

    def size_of_copy(self, wanted: _Wanted) -> int | None:
        """Bytes of the copy that is there; 0 where the source is to be read; None where there is no copy of this."""
        answer = self._memories[wanted.destination.parent].answers.get(wanted.destination.name)
        if not isinstance(answer, dict) or answer.get("made_from") != wanted.made_from:
            return None
        size = answer.get("bytes")
        if size == 0:
            return 0
        try:
            return size if wanted.destination.stat().st_size == size else None
        except OSError:
            return None

    def note(self, wanted: _Wanted, size: int) -> None:
        """Remember a copy that was made."""
        memory = self._memories[wanted.destination.parent]
        memory.keep(wanted.destination.name, {"made_from": wanted.made_from, "bytes": size})

    def leftovers(self, destinations: set[Path]) -> Iterator[Path]:
        """Temporary files of processes that died while they wrote one of these."""
        for folder in self._memories:
            for entry in os.scandir(folder):
                # The name that `tvrkit.files.atomic_path` gives.
                match = re.fullmatch(r"\.(.+)\.[^.]+\.tmp", entry.name)
                if match and (match[1] == COPIES_NAME or folder / match[1] in destinations):
                    yield folder / entry.name


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep others out for as long as this process lives; where the system has no such locks, nobody is."""
    with (folder / LOCK_NAME).open("a") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(
                    f"another tvrkit makes copies in {folder} at this moment: let it finish, then run this again."
                ) from None
            except OSError:  # some network drives
                pass
        yield


def _check(jobs: Sequence[Job]) -> None:
    """Refuse what would write over a video or over another copy."""
    folder_of = functools.cache(os.path.realpath)
    places = [tuple(os.path.join(folder_of(path.parent), path.name) for path in job) for job in jobs]
    sources = {source for source, _ in places}
    taken: dict[str, Path] = {}
    for (source, destination), (_, place) in zip(jobs, places, strict=True):
        if place in sources:
            raise DataError(
                f"the copy {destination} would be written over a video: choose another folder for the copies."
            )
        if place in taken:
            raise DataError(f"{taken[place]} and {source} would have the same copy {destination}: rename one of them.")
        taken[place] = source

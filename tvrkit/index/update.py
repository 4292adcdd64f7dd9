"""Bringing an index up to date: what is new, changed, moved or gone, and the features that are missing."""

from __future__ import annotations

import logging
import os
import random
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvrkit.errors import DataError, VideoError
from tvrkit.frames.identity import content_hash
from tvrkit.frames.reading import Reading
from tvrkit.index.remote import is_address
from tvrkit.index.scan import Found, Sighted, find, is_below, sight
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.video_index import FileRow, VideoIndex

if TYPE_CHECKING:
    from tvrkit.core import RetrievalModel
    from tvrkit.encode.moments import VideoMoments

OnProgress = Callable[[int, int], None]
Shard = tuple[int, int]

_COMMIT_SECONDS = 0.25  # results that come faster than this are kept together: each time costs two flushes of the disk
_NOTED_SECONDS = 1.0  # hashes of files, the same
_LOOKED_UP = 16  # contents whose absence is made sure of at a time, just before they are read

_log = logging.getLogger("tvrkit.index")


@dataclass(frozen=True)
class Plan:
    """What a look at some places found, by path; what is new is known to the index when this is returned.

    Attributes:
        places: where was looked, absolute.
        files: those that are there, by path, in order.
        new: not seen before.
        moved: of those, the ones whose content lay at a path that is gone.
        changed: with another content than before.
        same: known, and still the same; those that were only touched are among them.
        gone: not there any more.
        todo: contents that are neither encoded nor failed, each with one of its files.
    """

    places: tuple[str, ...]
    files: Mapping[str, FileRow]
    new: tuple[str, ...]
    moved: tuple[str, ...]
    changed: tuple[str, ...]
    same: tuple[str, ...]
    gone: tuple[str, ...]
    todo: Mapping[str, FileRow]

    def counts(self) -> dict[str, int]:
        """How many of each."""
        return {name: len(getattr(self, name)) for name in ("new", "moved", "changed", "same", "gone")}

    def __str__(self) -> str:
        counts = self.counts()
        counts["new"] -= counts["moved"]
        counts["gone"] -= min(counts["gone"], counts["moved"])
        words = [f"{count} {name}" for name, count in counts.items() if count and name != "same"]
        return ", ".join(words) if words else "Nothing has changed"

    @property
    def unreadable(self) -> dict[str, str]:
        """Path -> reason of those that cannot even be opened."""
        return {path: row.reason for path, row in self.files.items() if row.reason}


def plan(
    index: VideoIndex,
    places: Sequence[str],
    *,
    only: Shard | None = None,
    emptied: bool = False,
    on_progress: OnProgress | None = None,
) -> Plan:
    """Look what lies at some places; the files of the index there are as they are on disk when this returns.

    Only new and touched files are opened. Their features are not computed yet, and those of deleted files are kept: a
    drive that comes back costs no encoding.

    Args:
        index: to be brought up to date.
        places: folders, files, addresses.
        only: (i, n), the i-th of n equal parts of all paths, i from 1.
        emptied: whether a place may be gone or have lost all its videos.
        on_progress: called with the number of files that were hashed, and of those that have to be.

    Raises:
        DataError: a place is not there, or has lost all its videos, or no video lies in any.
        StoreError: the index cannot be written.
    """
    found = find(places)
    known = {row.path: row for row in index.files(found.places)}
    if not emptied:
        _check_places(found, known)
    mine = {path: sighted for path, sighted in found.files.items() if _in_shard(path, only)}
    known = {path: row for path, row in known.items() if _in_shard(path, only)}
    hidden = [row for path, row in known.items() if path not in mine and any(is_below(path, c) for c in found.closed)]
    touched = [s for path, s in mine.items() if path not in known or _differs(known[path], s)]
    rows = dict(known)
    for row in _identified(index, touched, on_progress):
        rows[row.path] = row
    files = {path: rows[path] for path in mine} | {row.path: row for row in hidden}
    gone = tuple(path for path in known if path not in files)
    index.drop_files(gone)
    new = tuple(path for path in mine if path not in known)
    left = {known[path].identity for path in gone}
    changed = tuple(s.path for s in touched if s.path in known and known[s.path].identity != rows[s.path].identity)
    otherwise = set(changed)
    first = {row.identity: row for row in reversed(list(files.values())) if row.identity}
    missing = index.missing(row.identity for row in files.values() if row.identity)
    return Plan(
        places=found.places,
        files=files,
        new=new,
        moved=tuple(path for path in new if rows[path].identity in left),
        changed=changed,
        same=tuple(path for path in files if path in known and path not in otherwise),
        gone=gone,
        todo={identity: first[identity] for identity in missing},
    )


def encode(
    index: VideoIndex,
    model: RetrievalModel,
    plan: Plan,
    *,
    reading: Reading = Reading(),
    on_progress: OnProgress | None = None,
) -> None:
    """Encode what is missing, keeping each video as soon as it is done: whatever ends this loses the one in flight.

    Of several processes at once each begins elsewhere in the list and leaves out what another has done meanwhile.

    Args:
        index: to be filled.
        model: the index's.
        plan: its `todo` is encoded.
        reading: by how many processes and with what videos are read.
        on_progress: called with the number of videos done (by whichever process), and how many of those failed here.

    Raises:
        StoreError: the index cannot be written; what was kept stays.
    """
    from tvrkit.index.encoding import iter_anywhere

    todo = list(plan.todo.items())
    begin = random.SystemRandom().randrange(len(todo)) if todo else 0  # whatever is seeded, two processes must differ
    feed = _Feed(index, todo[begin:] + todo[:begin])
    keeper = _Keeper(index)
    try:
        for answer in iter_anywhere(model, feed.paths(), cutting=index.meta.cutting, reading=reading):
            keeper.take(feed.fed.popleft(), answer)
            if on_progress:
                on_progress(keeper.taken + feed.passed, keeper.failed)
    finally:
        keeper.keep()
    if on_progress and feed.passed:
        on_progress(keeper.taken + feed.passed, keeper.failed)


def prune(index: VideoIndex) -> int:
    """Forget contents that have no file any more, and give back their room; returns how many there were."""
    there = {row.identity for row in index.files()}
    without = [identity for identity in (*index.identities(), *index.failures()) if identity not in there]
    index.forget(without, failures_only=False)
    if isinstance(index, SegmentIndex):
        index.store.compact()
    return len(without)


class _Feed:
    """Files to be read, in order; `fed` are those whose answers are awaited, `passed` counts what others did."""

    def __init__(self, index: VideoIndex, todo: Sequence[tuple[str, FileRow]]) -> None:
        self._index, self._todo = index, todo
        self.fed: deque[FileRow] = deque()
        self.passed = 0

    def paths(self) -> Iterator[str]:
        for first in range(0, len(self._todo), _LOOKED_UP):
            part = dict(self._todo[first : first + _LOOKED_UP])
            missing = self._index.missing(part)
            self.passed += len(part) - len(missing)
            for identity in missing:
                self.fed.append(part[identity])
                yield part[identity].path


class _Keeper:
    """Results on their way to the disk."""

    def __init__(self, index: VideoIndex) -> None:
        self._index = index
        self._videos: dict[str, VideoMoments] = {}
        self._failures: dict[str, str] = {}
        self._kept_at = -_COMMIT_SECONDS
        self.taken = self.failed = 0

    def take(self, row: FileRow, answer: VideoMoments | VideoError) -> None:
        self.taken += 1
        failed = isinstance(answer, VideoError)
        self.failed += failed
        # A file that was moved, or is still being written, says nothing about the content that it was seen with.
        if not is_address(row.path) and sight(row.path).stamp != row.stamp:
            _log.warning("%s was changed while it was read: the next `tvrkit index` looks at it again", row.path)
            return
        if isinstance(answer, VideoError):
            self._failures[row.identity] = answer.reason
        else:
            self._videos[row.identity] = answer
        if time.monotonic() - self._kept_at >= _COMMIT_SECONDS:
            self.keep()

    def keep(self) -> None:
        if self._videos:
            self._index.put(self._videos)
            self._videos = {}
        if self._failures:
            self._index.put_failures(self._failures)
            self._failures = {}
        self._kept_at = time.monotonic()


def _check_places(found: Found, known: Mapping[str, FileRow]) -> None:
    for place in found.places:
        before = sum(is_below(path, place) for path in known)
        if before and (place in found.absent or not any(is_below(path, place) for path in found.files)):
            what = "is not there" if place in found.absent else "holds no video"
            raise DataError(
                f"{place} {what}, and {before} videos of the index lay there: is its drive not mounted? Nothing was"
                " changed; `tvrkit index --prune` with the same folder forgets them."
            )
        if place in found.absent:
            raise DataError(f"there is no folder or file {place}: give a folder of videos, or one video.")
    if not found.files and not known:
        where = ", ".join(found.places)
        raise DataError(f"no video lies in {where}: looked for files such as .mp4, .mkv, .webm, .avi, .mov, .gif.")


def _identified(index: VideoIndex, touched: Sequence[Sighted], on_progress: OnProgress | None) -> Iterator[FileRow]:
    """Rows of files whose content has to be looked at, each known to the index within a second."""
    waiting: list[FileRow] = []
    noted = time.monotonic()
    try:
        for number, sighted in enumerate(touched, start=1):
            row = _identify(sighted)
            waiting.append(row)
            if time.monotonic() - noted >= _NOTED_SECONDS:
                index.put_files(waiting)
                waiting, noted = [], time.monotonic()
            if on_progress:
                on_progress(number, len(touched))
            yield row
    finally:
        index.put_files(waiting)


def _identify(sighted: Sighted) -> FileRow:
    identity, reason = sighted.identity, sighted.reason
    if not identity and not reason:
        try:
            identity = content_hash(sighted.path)
        except VideoError as error:
            reason = error.reason
    return FileRow(sighted.path, sighted.stamp, sighted.modified, identity, reason)


def _differs(row: FileRow, sighted: Sighted) -> bool:
    return row.stamp != sighted.stamp or row.reason != sighted.reason or not (row.identity or row.reason)


def _in_shard(path: str, only: Shard | None) -> bool:
    return only is None or zlib.crc32(os.fsencode(path)) % only[1] == only[0] - 1

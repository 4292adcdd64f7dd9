"""Indexes of several machines or shards, made one. Merging again what was merged changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tvrkit.errors import DataError
from tvrkit.index.meta import check_fits
from tvrkit.index.opening import is_lance, read_meta
from tvrkit.index.video_index import FileRow, VideoIndex

_VIDEOS_AT_ONCE = 256


@dataclass(frozen=True)
class Merged:
    """What one index brought: `videos` of which `known` were there already, and so on."""

    videos: int
    known: int
    failures: int
    files: int

    def __str__(self) -> str:
        return f"{self.videos} videos ({self.known} known), {self.failures} failures, {self.files} files"


def find_indexes(place: str) -> list[str]:
    """An index, or all those that lie in a folder of shards.

    Raises:
        DataError: there is none.
    """
    if is_lance(place) or read_meta(place) is not None:
        return [place]
    try:
        below = sorted(str(folder) for folder in Path(place).iterdir() if folder.is_dir())
    except OSError:
        below = []
    if found := [folder for folder in below if read_meta(folder) is not None]:
        return found
    raise DataError(f"--merge {place}: no index lies there: give an index, or the folder that holds the shards.")


def merge(into: VideoIndex, source: VideoIndex) -> Merged:
    """Take over what another index has: features, failures, files, places.

    What was encoded here or there counts as encoded; of two rows for one path the later one counts.

    Raises:
        ConfigError: they were not made alike.
        StoreError: one of them cannot be read or written; doing it again goes on from there.
    """
    check_fits(into.place, into.meta, source.meta)
    have = set(into.identities())
    theirs = source.identities()
    new = iter([identity for identity in theirs if identity not in have])
    while part := list(islice(new, _VIDEOS_AT_ONCE)):
        into.put(dict(source.iter_videos(part)))
    reasons = source.failures()
    unknown = set(into.missing(reasons))
    into.put_failures({identity: reason for identity, reason in reasons.items() if identity in unknown})
    rows = source.files()
    into.put_files(_later(into, rows))
    into.set_places(sorted({*into.places(), *source.places()}))
    return Merged(len(theirs), sum(identity in have for identity in theirs), len(reasons), len(rows))


def _later(into: VideoIndex, rows: list[FileRow]) -> Iterator[FileRow]:
    known = {row.path: row for row in into.files()}
    for row in rows:
        own = known.get(row.path)
        if own is None or (own.modified, own.stamp, own.identity) < (row.modified, row.stamp, row.identity):
            yield row

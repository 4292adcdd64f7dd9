"""The counts of an index, by content and by file. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tvrkit.index.video_index import FileRow, Status, VideoIndex


@dataclass(frozen=True)
class Tally:
    """What became of some files; `files` is the sum of all but `copies`.

    Attributes:
        files: how many were seen.
        ok: that can be found.
        failed: that cannot be read.
        blank: whose frames are all black or blank.
        pending: not encoded yet.
        copies: of the `ok` ones, those whose content another one has as well.
    """

    files: int
    ok: int
    failed: int
    blank: int
    pending: int
    copies: int

    def __str__(self) -> str:
        copies = f" ({self.copies} of them copies)" if self.copies else ""
        pending = f" + {self.pending} pending" if self.pending else ""
        return f"{self.files} files = {self.ok} ok{copies} + {self.failed} failed + {self.blank} blank{pending}"


def tally(rows: Iterable[FileRow], *indexes: VideoIndex) -> Tally:
    """What became of some files in some indexes together."""
    moments: dict[str, int] = {}
    failures: dict[str, str] = {}
    for index in indexes:
        moments |= index.moments()
        failures |= index.failures()
    files = ok = failed = blank = pending = 0
    contents = set()
    for row in rows:
        files += 1
        if row.reason or (row.identity in failures and row.identity not in moments):
            failed += 1
        elif row.identity not in moments:
            pending += 1
        elif moments[row.identity]:
            ok += 1
            contents.add(row.identity)
        else:
            blank += 1
    return Tally(files, ok, failed, blank, pending, ok - len(contents))


def count(files: Iterable[FileRow], moments: Mapping[str, int], failures: Mapping[str, str], size: int) -> Status:
    """The counts of an index.

    Args:
        files: all of them.
        moments: of each encoded content, how many it has.
        failures: content -> reason.
        size: bytes on disk.
    """
    rows = list(files)
    with_file = {row.identity for row in rows if row.identity}
    encoded = [identity for identity in with_file if identity in moments]
    reasons = {row.path: row.reason or failures.get(row.identity, "") for row in rows}
    return Status(
        files=len(rows),
        videos=len(encoded),
        moments=sum(moments[identity] for identity in encoded),
        failures={path: reason for path, reason in reasons.items() if reason},
        pending=len(with_file) - len(encoded) - sum(identity in failures for identity in with_file),
        without_file=len(moments) - len(encoded),
        blank=sum(moments[identity] == 0 for identity in encoded),
        bytes=size,
    )

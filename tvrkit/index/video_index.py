"""What every persistent index can do, wherever it keeps its rows; see `segments.py` and `lance.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tvrkit.frames.moment_request import Cutting

if TYPE_CHECKING:
    from tvrkit.encode.moments import VideoMoments
    from tvrkit.index.engine import Engine

FORMAT = 1
"""To be raised when frames are chosen otherwise, or something else is kept of them: older indexes are then refused."""


@dataclass(frozen=True)
class IndexMeta:
    """What all rows of an index share; two that differ in anything but `model` cannot be mixed.

    Attributes:
        fingerprint: of the model (`RetrievalModel.fingerprint`): weights of the vision side, and preprocessing.
        model: what `--model` said, or would have to say, to get that model again.
        dim: D.
        num_frames: of a moment, at most.
        cutting: how videos are cut.
        format: `FORMAT` of the writer.
    """

    fingerprint: str
    model: str
    dim: int
    num_frames: int
    cutting: Cutting
    format: int = FORMAT


@dataclass(frozen=True)
class FileRow:
    """A file that was seen: its path or address, what tells its state without opening it, and its content.

    Attributes:
        path: absolute; bytes that are no UTF-8 as surrogates (`os.fsdecode`).
        stamp: size, times and inode, or size and etag, as one text: another stamp means that it was touched.
        modified: time of the last change, seconds since 1970.
        identity: `content_hash` of the file; "" when it could not be opened.
        reason: why it could not be opened, else "".
    """

    path: str
    stamp: str
    modified: float
    identity: str
    reason: str = ""


@dataclass(frozen=True)
class Status:
    """Counts of an index.

    Attributes:
        files: paths that were there when last looked.
        videos: contents that are encoded and have a file.
        moments: of those videos.
        failures: path -> reason, of files that cannot be read.
        pending: contents that were seen and are neither encoded nor failed.
        without_file: encoded contents whose files are gone.
        blank: videos without a moment, for all their frames are black or blank.
        bytes: on disk.
    """

    files: int
    videos: int
    moments: int
    failures: Mapping[str, str]
    pending: int
    without_file: int
    blank: int
    bytes: int


class VideoIndex(Protocol):
    """Features of videos by content, files by path. A context manager; one object belongs to one thread.

    Everything is on disk when a method returns; a kill loses the call in flight and nothing else. Other processes may
    write at the same time. Every method raises StoreError when the place cannot be read or written.
    """

    meta: IndexMeta
    place: str

    def __enter__(self) -> VideoIndex: ...

    def __exit__(self, *exception: object) -> None: ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...

    def missing(self, identities: Iterable[str]) -> list[str]:
        """Contents that are neither encoded nor failed, once each, in order."""
        ...

    def put(self, videos: Mapping[str, VideoMoments]) -> None:
        """Keep encoded videos; a content that was there or had failed gets the new rows."""
        ...

    def put_failures(self, reasons: Mapping[str, str]) -> None:
        """Note contents that cannot be read, and why, so that they are not tried again."""
        ...

    def failures(self) -> dict[str, str]:
        """Content -> reason."""
        ...

    def notes(self) -> dict[str, str]:
        """Content -> `VideoMoments.note`, of those that have one."""
        ...

    def forget(self, identities: Iterable[str], *, failures_only: bool) -> None:
        """Make them missing again."""
        ...

    def identities(self) -> list[str]:
        """All encoded contents, sorted, with or without a file."""
        ...

    def moments(self) -> dict[str, int]:
        """Encoded content -> how many moments it has: 0 where all its frames are black or blank."""
        ...

    def iter_videos(self, identities: Sequence[str] | None = None) -> Iterator[tuple[str, VideoMoments]]:
        """Encoded contents with their rows, in the order that is fastest to read; None gives all."""
        ...

    def put_files(self, rows: Iterable[FileRow]) -> None:
        """Note what lies where; a row takes the place of one with the same path."""
        ...

    def drop_files(self, paths: Iterable[str]) -> None:
        """These are gone."""
        ...

    def files(self, inside: Sequence[str] | None = None) -> list[FileRow]:
        """Files that were seen, by path; those at or below some absolute places, or all."""
        ...

    def places(self) -> list[str]:
        """Where videos are looked for when nothing else is said."""
        ...

    def set_places(self, places: Sequence[str]) -> None:
        """Note them in place of those before."""
        ...

    def status(self) -> Status:
        """Counts."""
        ...

    def generation(self) -> str:
        """Changes whenever another answer could come out."""
        ...

    def engine(self) -> Engine:
        """To search in it, as it is now."""
        ...

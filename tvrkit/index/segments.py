"""The default index: a folder of append-only segments of features, and a table of files beside them.

PLACE/index.json          what all rows share: model, cutting, format
PLACE/files.sqlite        path -> stamp and content
PLACE/moments-…/          content -> features (`FeatureStore`); the name says with what they were made,
                          so that rows of two models never lie in one store, whatever happens to index.json
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tvrkit.errors import DataError, StoreError
from tvrkit.files import write_text
from tvrkit.index.engine import Engine
from tvrkit.index.files_table import FilesTable
from tvrkit.index.meta import check_fits, from_json, to_json
from tvrkit.index.tally import count
from tvrkit.index.video_index import FileRow, IndexMeta, Status
from tvrkit.store import FeatureStore
from tvrkit.store.segment import StoredRows

if TYPE_CHECKING:
    from tvrkit.encode.moments import VideoMoments
    from tvrkit.index.gallery import Gallery

META = "index.json"


@dataclass(frozen=True)
class IndexPart:
    """Some of the index as it lies on disk, memory-mapped: it can be read for as long as it is held.

    The arrays are joined over videos, and over the moments of each; between the n videos of the part there may be rows
    that do not count, so `first_moment` and `first_frame` say where a video's begin.

    Attributes:
        keys: identities of the n videos.
        first_moment, moments: (n,) int64, rows of each video in `pooled`, `spans` and `counts`.
        first_frame, frames: (n,) int64, rows of each video in the frame-wise arrays.
        pooled: (all M, P, D) float16.
        spans: (all M, 2) float64, seconds.
        counts: (all M,) int64, frames of each moment; a video's moments lie one behind the other.
        frame_features: (all N, D) float16.
        pts_seconds: (all N,) float64.
        nearest_gain: (all N,) float32.
        nearest_frame: (all N,) int16.
        duration_seconds: (n,) float64.
    """

    keys: tuple[str, ...]
    first_moment: Tensor
    moments: Tensor
    first_frame: Tensor
    frames: Tensor
    pooled: Tensor
    spans: Tensor
    counts: Tensor
    frame_features: Tensor
    pts_seconds: Tensor
    nearest_gain: Tensor
    nearest_frame: Tensor
    duration_seconds: Tensor


class SegmentIndex:
    """An index in a folder; see `VideoIndex`.

    Args:
        place: the folder.
        meta: what it must be made of; None takes what it says of itself.
        create: make it where there is none.

    Raises:
        DataError: it is not there, and is not to be made.
        ConfigError: it was made otherwise, see `check_fits`.
        StoreError: it cannot be read or made.
    """

    def __init__(self, place: str, meta: IndexMeta | None = None, *, create: bool = False) -> None:
        self.place = place
        self._gallery: Gallery | None = None
        self._folder = Path(place)
        stored = read_meta(place)
        wanted = meta or stored
        if wanted is None or (stored is None and not create):
            raise DataError(f"there is no index at {place}: `tvrkit index DIR` makes one of a folder of videos.")
        if stored is None:
            _write_meta(self._folder, wanted)
        elif meta is not None:
            check_fits(place, stored, meta)
        self.meta = stored or wanted
        self.store = FeatureStore(self._folder / _store_name(self.meta), what="index")
        try:
            self.table = FilesTable(self._folder)
        except BaseException:
            self.store.close()
            raise

    def __enter__(self) -> SegmentIndex:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and connections; closing twice is fine."""
        self.store.close()
        self.table.close()

    def missing(self, identities: Iterable[str]) -> list[str]:
        """Contents that are neither encoded nor failed, once each, in order."""
        return self.store.missing([identity for identity in identities if identity])

    def put(self, videos: Mapping[str, VideoMoments]) -> None:
        """Keep encoded videos."""
        for identity, video in videos.items():
            if video.pooled.shape[2] != self.meta.dim:
                raise StoreError(
                    f"the index {self.place} keeps {self.meta.dim} numbers a frame, and {identity} has"
                    f" {tuple(video.pooled.shape)}: it was encoded by another model."
                )
        self.store.put({identity: _item(video) for identity, video in videos.items()})

    def put_failures(self, reasons: Mapping[str, str]) -> None:
        """Note contents that cannot be read, and why."""
        if reasons:
            self.store.put_failures(reasons)

    def failures(self) -> dict[str, str]:
        """Content -> reason."""
        return self.store.failures()

    def notes(self) -> dict[str, str]:
        """Content -> note."""
        found = {}
        for rows in self.store.iter_rows(names=["note"]):
            texts = rows.tensors["note"].split(rows.lengths["note"].tolist())
            found.update({key: _words(text) for key, text in zip(rows.keys, texts, strict=True) if len(text)})
        return found

    def forget(self, identities: Iterable[str], *, failures_only: bool) -> None:
        """Make them missing again."""
        if failures_only:
            self.store.forget_failures(list(identities))
        else:
            self.store.forget(list(identities))

    def identities(self) -> list[str]:
        """All encoded contents, sorted."""
        return self.store.keys()

    def moments(self) -> dict[str, int]:
        """Encoded content -> how many moments it has."""
        found: dict[str, int] = {}
        for rows in self.store.iter_rows(names=["spans"]):
            found.update(zip(rows.keys, rows.lengths["spans"].tolist(), strict=True))
        return found

    def iter_videos(self, identities: Sequence[str] | None = None) -> Iterator[tuple[str, VideoMoments]]:
        """Encoded contents with their rows, in the order that is fastest to read."""
        for rows in self.store.iter_rows(identities, chunk=256):
            yield from _videos(rows)

    def iter_parts(self) -> Iterator[IndexPart]:
        """All encoded videos that count, with or without a file, as they lie on disk: what an engine is built of."""
        for segment, located in self.store.iter_segments():
            at = torch.tensor([row for _, row in located])
            moment, frame = segment.offsets["spans"], segment.offsets["frame_features"]
            yield IndexPart(
                keys=tuple(key for key, _ in located),
                first_moment=moment[at],
                moments=moment[at + 1] - moment[at],
                first_frame=frame[at],
                frames=frame[at + 1] - frame[at],
                duration_seconds=segment.tensors["duration_seconds"][at],
                **{name: segment.tensors[name] for name in _BY_MOMENT + _BY_FRAME},
            )

    def put_files(self, rows: Iterable[FileRow]) -> None:
        """Note what lies where."""
        self.table.put(rows)

    def drop_files(self, paths: Iterable[str]) -> None:
        """These are gone."""
        self.table.drop(paths)

    def files(self, inside: Sequence[str] | None = None) -> list[FileRow]:
        """Files that were seen, by path; those at or below some absolute places, or all."""
        return self.table.rows(inside)

    def places(self) -> list[str]:
        """Where videos are looked for when nothing else is said."""
        return self.table.places()

    def set_places(self, places: Sequence[str]) -> None:
        """Note them in place of those before."""
        self.table.set_places(places)

    def status(self) -> Status:
        """Counts."""
        return count(self.files(), self.moments(), self.failures(), _bytes_below(self._folder))

    def generation(self) -> str:
        """Changes whenever another answer could come out."""
        return f"{self.store.folder.name}-{self.store.changes()}-{self.table.changes()}"

    def engine(self) -> Engine:
        """To search in it, as it is now; what has not changed since the last one was made is not read again."""
        from tvrkit.index.gallery import Gallery

        if self._gallery is None or self._gallery.generation != self.generation():
            self._gallery = Gallery(self, self._gallery)
        return self._gallery


def read_meta(place: str) -> IndexMeta | None:
    """What the index in a folder says of itself; None where there is none.

    Raises:
        StoreError: it cannot be read.
    """
    path = Path(place) / META
    try:
        return from_json(path.read_text(encoding="utf-8"), place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from None


def renew(place: str, stored: IndexMeta, meta: IndexMeta) -> None:
    """Let an index be made of something else: its features go, the files that were seen stay known.

    A process that is still writing the old features writes nothing that could be taken for new ones.
    """
    _write_meta(Path(place), meta)
    shutil.rmtree(Path(place) / _store_name(stored), ignore_errors=True)


_BY_MOMENT = ("spans", "counts", "pooled")
_BY_FRAME = ("frame_features", "pts_seconds", "nearest_gain", "nearest_frame")


def _item(video: VideoMoments) -> dict[str, Tensor]:
    note = (video.note or "").encode("utf-8", "backslashreplace")
    return {
        **{name: getattr(video, name) for name in _BY_MOMENT + _BY_FRAME},
        "duration_seconds": torch.tensor(video.duration_seconds, dtype=torch.float64),
        "note": torch.frombuffer(bytearray(note), dtype=torch.uint8) if note else torch.zeros(0, dtype=torch.uint8),
    }


def _videos(rows: StoredRows) -> Iterator[tuple[str, VideoMoments]]:
    from tvrkit.encode.moments import VideoMoments  # brings the video readers, which an answer does without

    names = (*_BY_MOMENT, *_BY_FRAME, "note")
    split = {name: rows.tensors[name].split(rows.lengths[name].tolist()) for name in names}
    for i, key in enumerate(rows.keys):
        arrays = {name: parts[i] for name, parts in split.items()}
        note = _words(arrays.pop("note")) or None
        yield key, VideoMoments(**arrays, duration_seconds=float(rows.tensors["duration_seconds"][i]), note=note)


def _words(text: Tensor) -> str:
    return bytes(text.tolist()).decode("utf-8", "backslashreplace")


def _store_name(meta: IndexMeta) -> str:
    facts = {name: value for name, value in asdict(meta).items() if name != "model"}
    return f"moments-{hashlib.blake2b(repr(sorted(facts.items())).encode(), digest_size=4).hexdigest()}"


def _write_meta(folder: Path, meta: IndexMeta) -> None:
    try:
        write_text(folder / META, to_json(meta))
    except OSError as error:
        raise StoreError(f"cannot make the index {folder}: {error.strerror or error}.") from None


def _bytes_below(folder: Path) -> int:
    sizes = 0
    for path in (*folder.glob("*"), *folder.glob("moments-*/*")):
        try:
            sizes += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            pass  # another process has merged it away
    return sizes

"""The features of videos under one model: kept on disk, computed when a video is new or has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tvrkit.core import RetrievalModel, VideoFeatures
from tvrkit.core.interaction import nearest_frames
from tvrkit.errors import StoreError, VideoError
from tvrkit.frames.identity import file_identity
from tvrkit.frames.reading import Reading
from tvrkit.frames.request import FrameRequest
from tvrkit.index.scan import VideoFile
from tvrkit.store import FeatureStore

if TYPE_CHECKING:
    from tvrkit.encode import EncodedFrames

OnProgress = Callable[[int, int], None]
_FORMAT = 1  # part of every key: to be raised when frames are chosen otherwise, or something else is kept of them
_BATCH = 8  # videos encoded, and kept, at a time: what a Ctrl-C can cost


@dataclass(frozen=True)
class IndexedVideos:
    """Some videos of the index.

    Attributes:
        keys: of the V videos.
        features: (V, F, D) as the model made them, in float32, from float16 on disk.
        nearest: `nearest_frames` of them, for visual attention; they depend on the video alone.
        pts_seconds: (V, F) float64, time of each frame, 0 where there is none.
        duration_seconds: (V,) float64.
    """

    keys: tuple[str, ...]
    features: VideoFeatures
    nearest: tuple[Tensor, Tensor]
    pts_seconds: Tensor
    duration_seconds: Tensor


class VideoIndex:
    """Encoded videos of one model, in a folder of their own below `folder`.

    Args:
        model: its fingerprint names the folder, so features of another model are never taken for its own.
        folder: where indexes are kept, one folder a model.
        warn: told once, in a sentence, when nothing can be kept on disk; the index then lives in memory.
    """

    def __init__(self, model: RetrievalModel, folder: Path, warn: Callable[[str], None]) -> None:
        self._model, self._warn = model, warn
        self._unsaved: dict[str, dict[str, Tensor]] = {}
        self._failed: dict[str, str] = {}
        self._store: FeatureStore | None = None
        self._can_write = True
        try:
            self._store = FeatureStore(folder / model.fingerprint())
        except StoreError as error:
            self._give_up_writing(error)

    def __enter__(self) -> VideoIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._store is not None:
            self._store.close()

    def key(self, file: VideoFile) -> str:
        """What a file's features are kept under: the same file under another name is the same video."""
        return f"{file.identity}/{self._model.config.num_frames}/{_FORMAT}"

    def missing(self, files: Sequence[VideoFile]) -> list[VideoFile]:
        """Those whose features are not there and that have not failed before, each content once."""
        by_key = {self.key(file): file for file in reversed(files)}
        keys = [self.key(file) for file in files if self.key(file) not in self._unsaved]
        missing = self._store.missing(keys) if self._store is not None else list(dict.fromkeys(keys))
        return [by_key[key] for key in missing if key not in self._failed]

    def failures(self, files: Sequence[VideoFile]) -> dict[Path, str]:
        """Path and reason of those that could not be read, now or when they were last tried."""
        keys = [self.key(file) for file in files]
        reasons = self._store.failures(keys) if self._store is not None else {}
        reasons |= self._failed
        return {file.path: reasons[key] for file, key in zip(files, keys, strict=True) if key in reasons}

    def forget(self, files: Sequence[VideoFile], *, failures_only: bool) -> None:
        """Make them missing again: all of them, or those that failed."""
        if self._store is None:
            return
        keys = [self.key(file) for file in files]
        try:
            self._store.forget_failures(keys) if failures_only else self._store.forget(keys)
        except StoreError as error:
            self._give_up_writing(error)

    def encode(
        self,
        files: Sequence[VideoFile],
        *,
        reading: Reading = Reading(),
        on_progress: OnProgress | None = None,
    ) -> None:
        """Read and encode videos, keeping each batch as soon as it is done.

        Args:
            files: to be encoded, usually `missing(...)`.
            reading: as in `iter_encoded`.
            on_progress: called with the number of videos done and how many of those failed.
        """
        from tvrkit.encode import iter_encoded  # brings the video readers, which an answer from the cache does without

        num_frames = self._model.config.num_frames
        requests = [FrameRequest(str(file.path), num_frames) for file in files]
        done = failed = 0
        for batch in iter_encoded(self._model, requests, reading=reading, batch_videos=_BATCH):
            if len(batch):
                self._keep(self._items(batch, files))
            for row, error in batch.failures.items():
                self._keep_failure(files[row], error)
            failed += len(batch.failures)
            done += len(batch) + len(batch.failures)
            if on_progress:
                on_progress(done, failed)

    def read(self, files: Sequence[VideoFile], chunk: int = 1024) -> Iterator[IndexedVideos]:
        """The encoded ones among `files`, each content once, at most `chunk` at a time: memory stays bounded."""
        keys = list(dict.fromkeys(self.key(file) for file in files))
        unsaved = [key for key in keys if key in self._unsaved]
        if self._store is not None:
            for rows in self._store.iter_rows([key for key in keys if key not in self._unsaved], chunk):
                yield _indexed(rows.keys, rows.tensors, rows.lengths["frame_features"])
        for first in range(0, len(unsaved), chunk):
            part = unsaved[first : first + chunk]
            items = [self._unsaved[key] for key in part]
            joined = {
                name: (torch.cat if array.ndim else torch.stack)([item[name] for item in items])
                for name, array in items[0].items()
            }
            yield _indexed(tuple(part), joined, torch.tensor([len(item["frame_features"]) for item in items]))

    def _items(self, batch: EncodedFrames, files: Sequence[VideoFile]) -> dict[str, dict[str, Tensor]]:
        from tvrkit.encode import encode_videos

        features = encode_videos(self._model, batch.frame_features, batch.frame_mask)
        gain, neighbour = nearest_frames(features.frame_features, features.frame_mask)
        items = {}
        for i, row in enumerate(batch.rows.tolist()):
            real = batch.frame_mask[i]
            items[self.key(files[row])] = {
                "frame_features": features.frame_features[i][real].half(),
                "nearest_gain": gain[i][real],
                "nearest_frame": neighbour[i][real].short(),
                "pts_seconds": batch.pts_seconds[i][real],
                "duration_seconds": batch.duration_seconds[i],
            }
        return items

    def _keep(self, items: dict[str, dict[str, Tensor]]) -> None:
        if self._store is not None and self._can_write:
            try:
                self._store.put(items)
                return
            except StoreError as error:
                self._give_up_writing(error)
        self._unsaved.update(items)

    def _keep_failure(self, file: VideoFile, error: VideoError) -> None:
        self._failed[self.key(file)] = error.reason
        try:
            # A file that was moved or is still being written says nothing about what it will be.
            if self._store is not None and self._can_write and file_identity(file.path) == file.identity:
                self._store.put_failure(self.key(file), error.reason)
        except VideoError:
            pass
        except StoreError as store_error:
            self._give_up_writing(store_error)

    def _give_up_writing(self, error: StoreError) -> None:
        if self._can_write:
            self._warn(f"{error} What is encoded now is used for this answer and not kept.")
        self._can_write = False


def _indexed(keys: tuple[str, ...], tensors: Mapping[str, Tensor], lengths: Tensor) -> IndexedVideos:
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return IndexedVideos(
        keys,
        VideoFeatures(_padded(tensors["frame_features"].float(), mask), mask),
        (_padded(tensors["nearest_gain"], mask), _padded(tensors["nearest_frame"].long(), mask)),
        _padded(tensors["pts_seconds"], mask),
        tensors["duration_seconds"],
    )


def _padded(joined: Tensor, mask: Tensor) -> Tensor:
    """(sum of lengths, ...) to (V, F, ...), zero where the mask is False; no copy when all are equally long."""
    if bool(mask.all()):
        return joined.view(*mask.shape, *joined.shape[1:])
    padded = joined.new_zeros(*mask.shape, *joined.shape[1:])
    padded[mask] = joined
    return padded

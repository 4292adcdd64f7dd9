"""Features on disk: append-only safetensors segments, and a sqlite catalogue that says which rows count.

A segment is written under a temporary name, flushed, renamed, and only then committed in the catalogue. So a
kill at any moment loses the batch in flight at most; what a commit never reached is litter, swept up later.
Writers of several processes append segments of their own, and the catalogue's transactions put them in order.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import torch
from safetensors import SafetensorError
from torch import Tensor

from tvrkit.errors import StoreError
from tvrkit.store.catalogue import Catalogue, OvertakenError
from tvrkit.store.checked import Checked
from tvrkit.store.segment import (
    DamagedError,
    Segment,
    StoredRows,
    join_items,
    join_rows,
    open_segment,
    signature_of,
    write_segment,
)

_MERGE_COUNT = 64  # this many small segments of one kind become one: opening a file costs more than reading it
_SMALL_BYTES, _SMALL_ITEMS = 8 * 2**20, 10_000
_LITTER_SECONDS = 3600.0  # a file that no catalogue names for this long is no other process's work in flight

_log = logging.getLogger("tvrkit.store")


class FeatureStore:
    """Named arrays a key, on disk, safe against kills, full disks and other processes.

    One object belongs to one thread. `folder` is made when it is not there; one that cannot be written can
    still be read. A damaged segment is named in a warning and dropped: its keys are missing again.

    Args:
        folder: where.
        what: the thing that it is to a user, in the words of messages.
        busy_seconds: longest wait for other processes.

    Raises:
        StoreError: the folder cannot be used, or a newer tvrkit wrote it; from every method when the catalogue
            cannot be read, and from those that write when nothing can be written. What was stored stays.
    """

    def __init__(self, folder: Path, *, what: str = "cache", busy_seconds: float = 30.0) -> None:
        self.folder = Path(folder)
        self._what = what
        self._segments: dict[int, Segment] = {}
        self._dropped: set[int] = set()
        self._swept = False
        self._checked = Checked(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the {what} folder {self.folder}: {error.strerror or error}.") from None
        self._catalogue = Catalogue(self.folder, f"the {what} {self.folder}", busy_seconds)

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self._catalogue.count()

    def close(self) -> None:
        """Let go of the catalogue and of the mapped segments; closing twice is fine."""
        self._catalogue.close()
        self._segments.clear()

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Keys that are neither stored nor failed, once each, in their order."""
        have = {key for rows in self._locate(keys).values() for key, _ in rows}
        have.update(self.failures([key for key in keys if key not in have]))
        return [key for key in dict.fromkeys(keys) if key not in have]

    def put(self, items: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Store each key's arrays, on disk when this returns; a key stored or failed before gets the new ones.

        Arrays keep their type. Many items a call are faster than many calls.
        """
        kinds: dict[str, list[str]] = {}
        for key, arrays in items.items():
            kinds.setdefault(signature_of(key, arrays), []).append(key)
        for signature, keys in kinds.items():
            self._append(signature, keys, join_items(signature, [items[key] for key in keys]))
        if kinds:
            self._merge_small()
            self._sweep()

    def get(self, keys: Sequence[str]) -> dict[str, dict[str, Tensor]]:
        """The arrays of the stored ones among `keys`; they may be memory-mapped (copy on write): only read them."""
        found: dict[str, dict[str, Tensor]] = {}
        for rows in self.iter_rows(keys):
            split = {name: tensor.split(rows.lengths[name].tolist()) for name, tensor in rows.tensors.items()}
            for i, key in enumerate(rows.keys):
                found[key] = {name: part[i][0] if name in rows.scalars else part[i] for name, part in split.items()}
        return {key: found[key] for key in keys if key in found}

    def iter_rows(
        self, keys: Sequence[str] | None = None, chunk: int = 4096, names: Collection[str] | None = None
    ) -> Iterator[StoredRows]:
        """The stored ones among `keys`, in the order that is fastest to read, at most `chunk` items at a time.

        None gives all keys, and all arrays.
        """
        for segment, located in self._locate(keys).items():
            for first in range(0, len(located), chunk):
                part = located[first : first + chunk]
                rows = torch.tensor([row for _, row in part])
                yield self._segments[segment].take(rows, tuple(key for key, _ in part), names)

    def iter_segments(self) -> Iterator[tuple[Segment, list[tuple[str, int]]]]:
        """Every segment, memory-mapped, with the (key, row) that count in it, by row.

        What was given out can be read for as long as it is held, whatever other processes put, merge or forget.
        """
        for segment, located in self._locate(None).items():
            yield self._segments[segment], located

    def keys(self) -> list[str]:
        """All stored keys, sorted."""
        return sorted(key for key, _, _ in self._catalogue.locate(None))

    def put_failure(self, key: str, reason: str) -> None:
        """Note that nothing can be had for `key`, and why, so that it is not tried again."""
        self.put_failures({key: reason})

    def put_failures(self, reasons: Mapping[str, str]) -> None:
        """The same for several."""
        # A reason may quote a file name with bytes that are no UTF-8.
        clean = {key: reason.encode("utf-8", "backslashreplace").decode() for key, reason in reasons.items()}
        self._catalogue.put_failures(clean)

    def failures(self, keys: Sequence[str] | None = None) -> dict[str, str]:
        """Reasons of the failed ones among `keys`, or of all."""
        return self._catalogue.failures(keys)

    def compact(self) -> None:
        """Give back the room of what was replaced or forgotten."""
        for segment, entry in self._catalogue.segments().items():
            if len(self._catalogue.live(segment)) < entry.items:
                self._join(entry.signature, [segment])

    def verify(self) -> list[str]:
        """Read all of it, and drop what is damaged: its keys are missing again.

        Returns:
            A sentence for each damage.
        """
        said = self._catalogue.check()
        self._checked.forget()
        for segment, entry in self._catalogue.segments().items():
            path = self.folder / entry.name
            self._segments.pop(segment, None)
            self._dropped.discard(segment)
            if not self._open(segment) and segment in self._dropped:
                said.append(f"{path} was damaged: what it held is missing.")
        return said

    def changes(self) -> int:
        """A number that is another one after every change, by whichever process."""
        return self._catalogue.changes()

    def forget_failures(self, keys: Sequence[str]) -> None:
        """Make failed keys missing again."""
        self._catalogue.forget(keys, failures_only=True)

    def forget(self, keys: Sequence[str]) -> None:
        """Make stored and failed keys missing again."""
        self._catalogue.forget(keys, failures_only=False)

    def _locate(self, keys: Sequence[str] | None) -> dict[int, list[tuple[str, int]]]:
        """Where the stored keys lie: segment -> (key, row), rows ascending; every segment is open and whole."""
        for _ in range(10):
            located: dict[int, list[tuple[str, int]]] = {}
            for key, segment, row in sorted(self._catalogue.locate(keys), key=lambda item: item[1:]):
                if segment not in self._dropped:
                    located.setdefault(segment, []).append((key, row))
            whole = all([self._open(segment) for segment in located])
            self._checked.save()
            if whole:
                return located
        raise StoreError(f"the {self._what} {self.folder} changes faster than it can be read: try again in a moment.")

    def _open(self, segment: int) -> bool:
        """Map a segment; False when another process has merged it away, or when it is damaged (then it is dropped)."""
        entry = self._catalogue.segment(segment) if segment not in self._segments else None
        if entry is None:
            return segment in self._segments
        path = self.folder / entry.name
        try:
            checked = self._checked.has(path)
            self._segments[segment] = open_segment(path, entry, checked=checked)
            if not checked:
                self._checked.note(path)
            return True
        except DamagedError as damage:
            if self._catalogue.segment(segment) is not None:
                self._drop(segment, path, damage)
            return False
        except (OSError, RuntimeError, SafetensorError) as error:
            raise StoreError(f"cannot read {path}: {error}.") from None

    def _drop(self, segment: int, path: Path, damage: DamagedError) -> None:
        self._dropped.add(segment)  # holds even where the catalogue cannot be written
        _log.warning("the %s file %s is damaged (%s): what it held will be computed again", self._what, path, damage)
        try:
            self._catalogue.drop(segment)
            _remove(path)
        except StoreError:
            pass

    def _append(self, signature: str, keys: list[str], tensors: dict[str, Tensor], merged: Sequence[int] = ()) -> None:
        path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.safetensors"
        try:
            entry = write_segment(path, signature, keys, tensors)
        except (OSError, SafetensorError) as error:
            _remove(path)
            raise StoreError(f"cannot write to the {self._what} {self.folder}: {_reason(error)}.") from None
        try:
            self._catalogue.add(entry, keys, merged)
        except BaseException:
            _remove(path)
            raise

    def _merge_small(self) -> None:
        """Join the small segments of one kind once they are many, leaving out what was replaced."""
        for signature, sources in self._catalogue.small(_MERGE_COUNT, _SMALL_BYTES, _SMALL_ITEMS):
            self._join(signature, sources)

    def _join(self, signature: str, sources: list[int]) -> None:
        """Write what counts in some segments as one, in their place."""
        paths, parts = [], []
        for source in sources:
            entry = self._catalogue.segment(source) if self._open(source) else None
            if entry is None:
                return  # another process is at it
            paths.append(self.folder / entry.name)
            if live := self._catalogue.live(source):
                rows = torch.tensor([row for _, row in live])
                parts.append(self._segments[source].take(rows, tuple(key for key, _ in live)))
        self._replace(signature, sources, paths, parts)

    def _replace(self, signature: str, sources: list[int], paths: list[Path], parts: list[StoredRows]) -> None:
        try:
            if parts:
                self._append(signature, [key for part in parts for key in part.keys], join_rows(parts), sources)
            else:
                for source in sources:
                    self._catalogue.drop(source)
        except OvertakenError:
            return  # another process has replaced some of it meanwhile; the next `put` tries again
        for source, path in zip(sources, paths, strict=True):
            self._segments.pop(source, None)
            _remove(path)

    def _sweep(self) -> None:
        """Once a process: remove what killed writers left behind."""
        if self._swept:
            return
        self._swept = True
        known = {entry.name for entry in self._catalogue.segments().values()}
        for pattern in ("*.safetensors", ".*.safetensors.*.tmp", ".tmp??????"):  # the last is safetensors' own
            for path in self.folder.glob(pattern):
                if path.name not in known and time.time() - _modified(path) > _LITTER_SECONDS:
                    _remove(path)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # Windows keeps a mapped file; the sweep finds it later


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)

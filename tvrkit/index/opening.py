"""From the word after `--index` to the index that it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvrkit.errors import ConfigError

if TYPE_CHECKING:
    from tvrkit.index.engine import Engine
    from tvrkit.index.video_index import IndexMeta, VideoIndex

QDRANT = "qdrant:"


def is_server(place: str) -> bool:
    """Whether a place is a search server, which can be asked and not updated."""
    return place.startswith(QDRANT)


def is_lance(place: str) -> bool:
    """Whether a place is a LanceDB data set: a folder `….lance`, here or on object storage."""
    return "://" in place or place.rstrip("/").endswith(".lance")


def open_index(
    place: str, meta: IndexMeta | None = None, *, create: bool = False, warn: Callable[[str], None] | None = None
) -> VideoIndex:
    """The index at a place: a folder, or a LanceDB data set (`*.lance`, `s3://…`).

    Args:
        place: where.
        meta: what it must be made of; None takes what it says of itself.
        create: make it where there is none.
        warn: told, in a sentence, what is worth knowing and no error.

    Raises:
        DataError: there is none.
        ConfigError: it was made by another model or cut otherwise, or can only be searched.
        StoreError: it cannot be read or made.
        InstallError: the package for it is missing.
    """
    _refuse_server(place)
    if is_lance(place):
        from tvrkit.index.lance import LanceIndex

        return LanceIndex(place, meta, create=create)
    from tvrkit.index.segments import SegmentIndex

    return SegmentIndex(str(Path(place).expanduser().absolute()), meta, create=create)


def read_meta(place: str) -> IndexMeta | None:
    """What an index says of itself; None where there is none.

    Raises:
        ConfigError: it is a search server.
        StoreError: it cannot be read.
    """
    _refuse_server(place)
    if is_lance(place):
        from tvrkit.index import lance

        return lance.read_meta(place)
    from tvrkit.index import segments

    return segments.read_meta(str(Path(place).expanduser().absolute()))


def renew_index(place: str, stored: IndexMeta, meta: IndexMeta) -> None:
    """Drop all features of an index that was made otherwise; its files stay known.

    Raises:
        ConfigError: it was made otherwise, and lies in a LanceDB data set.
    """
    if replace(stored, model=meta.model) == meta:
        return
    if is_lance(place):
        raise ConfigError(f"{place} was made by another model or cut otherwise: delete it, or give another --index.")
    from tvrkit.index import segments

    segments.renew(str(Path(place).expanduser().absolute()), stored, meta)


def open_server(place: str) -> Engine:
    """The search server at a place.

    Raises:
        StoreError: it cannot be reached, or holds no index.
        InstallError: the package for it is missing.
    """
    from tvrkit.index.qdrant import QdrantEngine

    return QdrantEngine(place)


def _refuse_server(place: str) -> None:
    if is_server(place):
        raise ConfigError(f"{place} can only be searched: `tvrkit index --to {place}` copies an index there.")

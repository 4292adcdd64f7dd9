"""What lies where in a collection of Qdrant, its address, and every failure of it as one sentence.

A collection has one point a moment, one a video, and one that says of what model they are:

    moment   named vectors `pooled` (P, D), compared by the greatest product of each query vector (MaxSim);
             identity, moment, path, start_seconds, end_seconds, duration_seconds, modified; frames, see `PACKED`
    video    no vector; identity, path, paths, duration_seconds, modified, moments, digest
    meta     no vector; meta

The id of each is made of its name, so a point that is sent twice is there once. A video without a digest is on its way.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tvrkit.errors import ConfigError, InstallError, StoreError
from tvrkit.index.meta import from_json
from tvrkit.index.video_index import IndexMeta

POOLED_VECTORS = "pooled"

PACKED: Mapping[str, Any] = {
    "frame_features": np.float16,
    "pts_seconds": np.float64,
    "nearest_gain": np.float32,
    "nearest_frame": np.int16,
}
"""Numbers of a moment's frames, in base64: as JSON they would be several times as long, and slower to read."""

_NAMES = uuid.UUID("5f0c29a1-7c6e-4c57-9a5c-0a1f4b4a8e11")
_TIMEOUT_SECONDS = 60
_PAGE = 1000  # points that are listed at once

_log = logging.getLogger("tvrkit.index")


@dataclass(frozen=True)
class QdrantAddress:
    """Where a collection is.

    Attributes:
        place: as it was given, `qdrant:…`.
        server: URL of a server, or a folder for Qdrant's embedded mode.
        collection: name.
    """

    place: str
    server: str
    collection: str

    @property
    def is_folder(self) -> bool:
        """Whether it is no server, but files that only one process at a time can use."""
        return "://" not in self.server


def parse_address(place: str) -> QdrantAddress:
    """The address `qdrant:URL/COLLECTION` or `qdrant:FOLDER/COLLECTION`.

    Raises:
        ConfigError: it is none.
    """
    server, _, collection = place.removeprefix("qdrant:").rpartition("/")
    url = urlsplit(server)
    if not server or not collection or (url.scheme and not url.netloc) or url.scheme not in ("", "http", "https"):
        raise ConfigError(
            f"{place} is no collection: write qdrant:URL/COLLECTION, as in qdrant:http://localhost:6333/videos, or"
            " qdrant:FOLDER/COLLECTION for Qdrant's embedded mode."
        )
    if "@" in url.netloc:
        raise ConfigError("a key must not stand in the address of a Qdrant server: put it into $QDRANT_API_KEY.")
    if not re.fullmatch(r"[\w.-]+", collection):
        raise ConfigError(f"{collection!r} cannot name a collection: use letters, digits, '-', '_' and '.'.")
    return QdrantAddress(place, server if url.scheme else str(Path(server).expanduser().absolute()), collection)


class Collection:
    """A collection, opened; the key of the server is in `$QDRANT_API_KEY`.

    Args:
        address: of it.

    Raises:
        InstallError: qdrant-client is missing.
        StoreError: it cannot be reached.
    """

    def __init__(self, address: QdrantAddress) -> None:
        try:
            from qdrant_client import QdrantClient, models
        except ImportError as error:
            raise InstallError(
                f"{address.place} needs qdrant-client ({error}): pip install 'tvrkit[qdrant]'."
            ) from None
        self.address, self.name, self.models = address, address.collection, models
        with said(address), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address.is_folder:
                self.client: Any = QdrantClient(path=address.server, force_disable_check_same_thread=True)
            else:
                key = os.environ.get("QDRANT_API_KEY") or None
                if key and address.server.startswith("http://"):
                    _log.warning("the key in $QDRANT_API_KEY goes to %s without encryption", address.server)
                self.client = QdrantClient(
                    url=_with_port(address.server), api_key=key, timeout=_TIMEOUT_SECONDS, check_compatibility=False
                )

    def close(self) -> None:
        """Let go of it; closing twice is fine."""
        self.client.close()

    def exists(self) -> bool:
        """Whether there is such a collection."""
        with said(self.address):
            return bool(self.client.collection_exists(self.name))

    def meta(self) -> IndexMeta | None:
        """Of what its moments are made; None when it is no index of ours."""
        with said(self.address):
            points = self.client.retrieve(self.name, [point_id("meta")], with_payload=True)
        return from_json(points[0].payload["meta"], self.address.place) if points else None

    def videos(self) -> Iterator[Mapping[str, Any]]:
        """What is known of each video, those on their way included."""
        offset = None
        where = self.models.Filter(must=[self.is_("kind", "video")])
        while True:
            with said(self.address):
                points, offset = self.client.scroll(
                    self.name, scroll_filter=where, limit=_PAGE, offset=offset, with_payload=True
                )
            yield from (point.payload for point in points)
            if offset is None:
                return

    def is_(self, key: str, value: str) -> Any:
        """The condition that a field has a value."""
        return self.models.FieldCondition(key=key, match=self.models.MatchValue(value=value))

    def is_one_of(self, key: str, values: Iterable[str]) -> Any:
        """The condition that a field has one of some values."""
        return self.models.FieldCondition(key=key, match=self.models.MatchAny(any=list(values)))


def point_id(*name: str | int) -> str:
    """The id of a point: `meta`; a video's identity; a moment's identity and number."""
    return str(uuid.uuid5(_NAMES, "/".join(map(str, name))))


def pack(array: np.ndarray) -> str:
    """An array as text."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def unpack(payload: Mapping[str, Any], dim: int) -> dict[str, np.ndarray]:
    """A moment's frames, as `padded` takes them."""
    row = {name: np.frombuffer(base64.b64decode(payload[name]), kind) for name, kind in PACKED.items()}
    row["frame_features"] = row["frame_features"].reshape(-1, dim)
    row["span"] = np.array([payload["start_seconds"], payload["end_seconds"]])
    return row


def shown(path: str) -> str:
    """A path as text for people."""
    return path.encode("utf-8", "backslashreplace").decode()


def paths_to_text(paths: Iterable[str]) -> str:
    """Paths as text that can be sent whatever bytes they have."""
    return json.dumps(list(paths))


@contextmanager
def said(address: QdrantAddress) -> Iterator[None]:
    """What qdrant-client raises, as a StoreError of one line."""
    from qdrant_client.http.exceptions import ApiException

    try:
        yield
    except (ApiException, OSError, RuntimeError, ValueError, KeyError) as error:
        words = " ".join(str(error).split()).rstrip(".")
        where = f"in {address.server}" if address.is_folder else f"at {address.server}"
        raise StoreError(f"the Qdrant collection {address.collection} {where} cannot be used: {words[:300]}.") from None


def _with_port(server: str) -> str:
    """A URL whose port is said: the client takes 6333 where none is, for https as well."""
    url = urlsplit(server)
    if url.port is not None or url.scheme != "https":
        return server
    return url._replace(netloc=f"{url.netloc}:443").geturl()

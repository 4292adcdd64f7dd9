"""Search in a collection of a Qdrant server, or of Qdrant's embedded mode; `qdrant_export.py` fills it."""

from __future__ import annotations

import json
import weakref
from collections.abc import Collection as Names
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tvrkit.errors import DataError, StoreError
from tvrkit.index.engine import MomentFeatures, MomentRef, VideoFacts
from tvrkit.index.padded import padded
from tvrkit.index.qdrant_points import POOLED_VECTORS, Collection, parse_address, point_id, said, unpack

EXACT_MOMENTS = 20_000
"""Up to this many the server is told to look at each."""

_SLACK = 64  # candidates more than asked for: some may be of a video on its way
_FILTERED = 10_000  # a longer list of names is not sent; what comes back is looked through instead
_READ_AT_ONCE = 128  # moments, some 20 kB each


class QdrantEngine:
    """The moments of a collection. What is known of the videos is read once; the moments stay on the server.

    Args:
        place: `qdrant:URL/COLLECTION` or `qdrant:FOLDER/COLLECTION`.

    Attributes:
        model: what `--model` has to say.

    Raises:
        ConfigError: it is no such address.
        DataError: nothing of ours lies there.
        StoreError: the server cannot be reached.
        InstallError: qdrant-client is missing.
    """

    def __init__(self, place: str) -> None:
        address = parse_address(place)
        nothing = f"there is no index at {place}: `tvrkit index --to {place}` copies one there."
        if address.is_folder and not Path(address.server).is_dir():
            raise DataError(nothing)
        self._collection = Collection(address)
        # Its embedded mode writes when it is closed, and complains when that is left to the end of the process.
        self.close = weakref.finalize(self, self._collection.close)
        meta = self._collection.meta() if self._collection.exists() else None
        if meta is None:
            self.close()
            raise DataError(nothing)
        self.fingerprint, self.model, self._dim = meta.fingerprint, meta.model, meta.dim
        whole = (video for video in self._collection.videos() if video["digest"])
        self._facts = {video["identity"]: _facts(video) for video in whole}
        self._moments = sum(facts.moments for facts in self._facts.values())
        self.exact = self._moments <= EXACT_MOMENTS or address.is_folder

    def __len__(self) -> int:
        return self._moments

    def facts(self) -> Mapping[str, VideoFacts]:
        """All indexed contents that have a file, by identity."""
        return self._facts

    def candidates(self, vectors: Tensor, count: int, allowed: Names[str] | None = None) -> list[MomentRef]:
        """First stage, see `Engine`; equal ones stand as the server says."""
        wanted = self._facts.keys() if allowed is None else self._facts.keys() & set(allowed)
        possible = sum(self._facts[identity].moments for identity in wanted)
        count = min(count, possible)
        if count == 0:
            return []
        where = self._where(wanted)
        query = vectors.detach().cpu().float().tolist()
        limit = count + _SLACK
        while True:
            found = self._query(query, limit, where)
            fitting = [ref for ref in found if ref.identity in wanted]
            if len(fitting) >= count or len(found) < limit:
                return fitting[:count]
            limit *= 4

    def read(self, refs: Sequence[MomentRef]) -> MomentFeatures:
        """Second stage, see `Engine`."""
        rows: list[dict[str, Any]] = []
        for first in range(0, len(refs), _READ_AT_ONCE):
            ids = [point_id(*ref) for ref in refs[first : first + _READ_AT_ONCE]]
            with said(self._collection.address):
                points = self._collection.client.retrieve(self._collection.name, ids, with_payload=True)
            payloads = {str(point.id): point.payload for point in points}
            if lost := [ref for ref, one in zip(refs[first:], ids, strict=False) if one not in payloads]:
                moment, place = f"moment {lost[0].moment} of {lost[0].identity}", self._collection.address.place
                raise StoreError(f"{moment} is gone from {place}: it was changed meanwhile, search again.")
            rows += [unpack(payloads[one], self._dim) for one in ids]
        return padded(refs, rows, self._dim)

    def refs(self, allowed: Names[str] | None = None, chunk: int = 1024) -> Iterator[list[MomentRef]]:
        """Every allowed moment, by content."""
        wanted = self._facts.keys() if allowed is None else self._facts.keys() & set(allowed)
        some: list[MomentRef] = []
        for identity in sorted(wanted):
            for number in range(self._facts[identity].moments):
                some.append(MomentRef(identity, number))
                if len(some) == chunk:
                    yield some
                    some = []
        if some:
            yield some

    def _query(self, query: list[list[float]], limit: int, where: Any) -> list[MomentRef]:
        collection = self._collection
        settings = collection.models.SearchParams(exact=self.exact, hnsw_ef=None if self.exact else max(256, limit))
        with said(collection.address):
            answer = collection.client.query_points(
                collection.name,
                query=query,
                using=POOLED_VECTORS,
                limit=limit,
                query_filter=where,
                with_payload=["identity", "moment"],
                search_params=None if collection.address.is_folder else settings,  # the embedded mode is always exact
            )
        return [MomentRef(point.payload["identity"], point.payload["moment"]) for point in answer.points]

    def _where(self, wanted: Names[str]) -> Any:
        """The filter of some videos; None where all are wanted, or too many to be sent."""
        others = self._facts.keys() - wanted
        collection = self._collection
        if not others or min(len(wanted), len(others)) > _FILTERED:
            return None
        if len(wanted) <= len(others):
            return collection.models.Filter(must=[collection.is_one_of("identity", wanted)])
        return collection.models.Filter(must_not=[collection.is_one_of("identity", others)])


def _facts(video: Mapping[str, Any]) -> VideoFacts:
    return VideoFacts(
        tuple(json.loads(video["paths"])), video["duration_seconds"], video["modified"], int(video["moments"])
    )

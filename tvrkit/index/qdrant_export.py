"""An index copied to a collection of Qdrant. Copying again sends what is new or changed, and deletes what is gone."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from tvrkit.encode.moments import VideoMoments
from tvrkit.errors import ConfigError
from tvrkit.index.meta import cut_words, to_json
from tvrkit.index.qdrant_points import (
    PACKED,
    POOLED_VECTORS,
    Collection,
    pack,
    parse_address,
    paths_to_text,
    point_id,
    said,
    shown,
)
from tvrkit.index.video_index import FileRow, IndexMeta, VideoIndex

_AT_ONCE = 64  # moments in one message, some 50 kB each
_NAMES_AT_ONCE = 500


def export_to_qdrant(index: VideoIndex, place: str, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Make a collection the same as an index: all encoded contents that have a file.

    It can be stopped at any moment, and goes on where it was when it is called again. Searches see each video whole
    or not at all.

    Args:
        index: to be copied.
        place: `qdrant:URL/COLLECTION` or `qdrant:FOLDER/COLLECTION`; the collection is made where there is none.
        on_progress: called with the number of videos that are done, and of all.

    Raises:
        ConfigError: it is no such address, or the collection holds something else.
        StoreError: the server or the index cannot be used.
        InstallError: qdrant-client is missing.
    """
    collection = Collection(parse_address(place))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the embedded mode is slow; docs/scale.md says so, too
            _prepare(collection, index.meta)
            _Export(collection, index, on_progress or (lambda done, total: None)).run()
    finally:
        collection.close()


def _prepare(collection: Collection, meta: IndexMeta) -> None:
    """Make the collection, or see that it fits."""
    models, client, place = collection.models, collection.client, collection.address.place
    if collection.exists():
        stored = collection.meta()
        with said(collection.address):
            empty = stored is None and client.count(collection.name).count == 0
        if stored is None and not empty:
            raise ConfigError(f"{place} holds something else than an index: give the collection another name.")
        if stored is not None and replace(stored, model=meta.model) != meta:
            held, new = (f"{m.model} ({m.fingerprint[:8]}; {cut_words(m)})" for m in (stored, meta))
            raise ConfigError(
                f"{place} holds moments of {held}, and this index those of {new}, which cannot be mixed: give the"
                " collection another name, or delete it."
            )
    else:
        vectors = models.VectorParams(
            size=meta.dim,
            distance=models.Distance.DOT,  # the vectors have length 1, and are kept as they are
            datatype=models.Datatype.FLOAT16,
            multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        )
        with said(collection.address):
            client.create_collection(collection.name, vectors_config={POOLED_VECTORS: vectors}, on_disk_payload=True)
            for field in ("kind", "identity") if not collection.address.is_folder else ():
                client.create_payload_index(collection.name, field, models.PayloadSchemaType.KEYWORD)
    with said(collection.address):
        point = models.PointStruct(id=point_id("meta"), vector={}, payload={"kind": "meta", "meta": to_json(meta)})
        client.upsert(collection.name, [point], wait=True)


class _Export:
    def __init__(self, collection: Collection, index: VideoIndex, on_progress: Callable[[int, int], None]) -> None:
        self._collection, self._index, self._on_progress = collection, index, on_progress
        self._files: dict[str, list[FileRow]] = {}
        for file in index.files():
            if file.identity:
                self._files.setdefault(file.identity, []).append(file)
        self._known = {video["identity"]: video for video in collection.videos()}
        self._waiting: dict[str, VideoMoments] = {}

    def run(self) -> None:
        wanted = [identity for identity in self._index.identities() if identity in self._files]
        self._delete(sorted(self._known.keys() - set(wanted)))
        for done, (identity, video) in enumerate(self._index.iter_videos(wanted), start=1):
            self._take(identity, video)
            self._on_progress(done, len(wanted))
        self._send()

    def _take(self, identity: str, video: VideoMoments) -> None:
        known, now = self._known.get(identity), self._video(identity, video)
        if known == now:
            return
        if known is not None and known["digest"] == now["digest"]:
            # The same content at another place: its moments need not be sent again.
            common = {name: now[name] for name in ("path", "modified")}
            with said(self._collection.address):
                self._collection.client.set_payload(
                    self._collection.name, common, self._points_of([identity]), wait=True
                )
            self._upsert([self._point(now)])
            return
        self._waiting[identity] = video
        if sum(map(len, self._waiting.values())) >= _AT_ONCE:
            self._send()

    def _send(self) -> None:
        """First that they are on their way, then their moments, then that they are whole."""
        videos = {identity: self._video(identity, video) for identity, video in self._waiting.items()}
        self._delete([identity for identity in videos if identity in self._known])
        self._upsert([self._point(video | {"digest": ""}) for video in videos.values()])
        points = [
            point for identity, video in self._waiting.items() for point in self._moments(videos[identity], video)
        ]
        for first in range(0, len(points), _AT_ONCE):
            self._upsert(points[first : first + _AT_ONCE])
        self._upsert([self._point(video) for video in videos.values()])
        self._waiting = {}

    def _upsert(self, points: list[Any]) -> None:
        if points:
            with said(self._collection.address):
                self._collection.client.upsert(self._collection.name, points, wait=True)

    def _delete(self, identities: list[str]) -> None:
        for first in range(0, len(identities), _NAMES_AT_ONCE):
            where = self._points_of(identities[first : first + _NAMES_AT_ONCE])
            with said(self._collection.address):
                self._collection.client.delete(self._collection.name, where, wait=True)

    def _points_of(self, identities: list[str]) -> Any:
        return self._collection.models.Filter(must=[self._collection.is_one_of("identity", identities)])

    def _point(self, video: Mapping[str, Any]) -> Any:
        return self._collection.models.PointStruct(id=point_id(video["identity"]), vector={}, payload=dict(video))

    def _video(self, identity: str, video: VideoMoments) -> dict[str, Any]:
        files = self._files[identity]
        return {
            "kind": "video",
            "identity": identity,
            "path": shown(files[0].path),
            "paths": paths_to_text(file.path for file in files),
            "duration_seconds": video.duration_seconds,
            "modified": files[0].modified,
            "moments": len(video),
            "digest": _digest(video),
        }

    def _moments(self, facts: Mapping[str, Any], video: VideoMoments) -> list[Any]:
        sizes = video.counts.tolist()
        packed = {name: [pack(part.numpy()) for part in getattr(video, name).split(sizes)] for name in PACKED}
        common = {name: facts[name] for name in ("identity", "path", "duration_seconds", "modified")}
        points = []
        for number, (start, end) in enumerate(video.spans.tolist()):
            payload = {"kind": "moment", **common, "moment": number, "start_seconds": start, "end_seconds": end}
            payload |= {name: parts[number] for name, parts in packed.items()}
            vector = {POOLED_VECTORS: video.pooled[number].float().tolist()}
            identity = point_id(facts["identity"], number)
            points.append(self._collection.models.PointStruct(id=identity, vector=vector, payload=payload))
        return points


def _digest(video: VideoMoments) -> str:
    """Another one for other rows."""
    state = hashlib.blake2b(digest_size=16)
    for field in fields(VideoMoments):
        value = getattr(video, field.name)
        if isinstance(value, Tensor):
            state.update(value.contiguous().numpy().tobytes())
    return state.hexdigest()

"""Qdrant: what is copied there answers as the index that it was copied from. Its embedded mode, and its wire format."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from indexing import make_meta, make_moments, open_new
from qdrant_stand_in import stand_in
from torch.nn.functional import normalize

from tvrkit.errors import ConfigError, DataError, StoreError
from tvrkit.index import qdrant
from tvrkit.index.engine import Engine
from tvrkit.index.opening import open_index, open_server
from tvrkit.index.qdrant import QdrantEngine
from tvrkit.index.qdrant_export import export_to_qdrant
from tvrkit.index.qdrant_points import parse_address
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.video_index import FileRow

ODD = os.fsdecode(b"/v/a\xff'\n.mp4")


def row(path: str, identity: str, modified: float = 1.5) -> FileRow:
    return FileRow(path, "stamp", modified, identity)


def fill(index: SegmentIndex) -> None:
    index.put({f"{i:032x}": make_moments(i, moments=i % 4, frames=1 + i % 3) for i in range(40)})
    index.put_failures({"broken": "no video"})
    index.put_files(row(f"/v/{i}.mp4", f"{i:032x}", i) for i in range(40) if i % 5)
    index.put_files(
        [row("/copy.mp4", f"{1:032x}"), row(ODD, f"{2:032x}"), row("/v/x", "broken"), row("/v/y", "pending")]
    )


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SegmentIndex]:
    with open_new(tmp_path / "segments") as index:
        fill(index)
        yield index


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"qdrant:{tmp_path}/q/videos"


def same_answers(ours: Engine, other: Engine) -> None:
    assert len(ours) == len(other) and ours.facts() == other.facts() and ours.fingerprint == other.fingerprint
    refs = sorted(ref for part in other.refs() for ref in part)
    assert refs == [ref for part in ours.refs(chunk=7) for ref in part]
    mine, theirs = ours.read(refs), other.read(refs)
    assert torch.equal(mine.features.frame_mask, theirs.features.frame_mask)
    assert torch.equal(mine.features.frame_features, theirs.features.frame_features)
    assert torch.equal(mine.pts_seconds, theirs.pts_seconds) and torch.equal(mine.spans, theirs.spans)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(mine.nearest, theirs.nearest, strict=True))
    random = torch.Generator().manual_seed(0)
    few = [f"{i:032x}" for i in range(0, 40, 9)] + ["unknown"]
    most = [identity for identity in ours.facts() if identity not in few]
    for queries in (1, 1, 3):
        vectors = normalize(torch.randn(queries, 8, generator=random), dim=-1)
        for allowed in (None, few, most, ["unknown"], []):
            for count in (1, 10, 1000):
                assert ours.candidates(vectors, count, allowed) == other.candidates(vectors, count, allowed)
        assert list(ours.refs(few)) == [sorted(ref for part in other.refs(few) for ref in part)]


def test_it_answers_as_the_index(index: SegmentIndex, place: str) -> None:
    seen = []
    export_to_qdrant(index, place, lambda done, total: seen.append((done, total)))
    assert seen == [(i, 32) for i in range(1, 33)]
    engine = open_server(place)
    assert isinstance(engine, QdrantEngine) and engine.model == "some/model" and engine.exact
    same_answers(engine, index.engine())
    engine.close()


def test_over_http(index: SegmentIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    with stand_in(tmp_path / "q", key="secret") as url:
        place = f"qdrant:{url}/videos"
        with pytest.raises(DataError, match="--to qdrant:http"):
            open_server(place)
        export_to_qdrant(index, place)
        same_answers(open_server(place), index.engine())
        monkeypatch.setenv("QDRANT_API_KEY", "wrong")
        with pytest.raises(StoreError, match="videos at http.* cannot be used: .*401"):
            open_server(place)


def test_long_lists_of_names_stay_here(index: SegmentIndex, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    export_to_qdrant(index, place)
    monkeypatch.setattr(qdrant, "_FILTERED", 2)
    monkeypatch.setattr(qdrant, "_SLACK", 1)
    engine = QdrantEngine(place)
    same_answers(engine, index.engine())
    engine.close()


def points(place: str) -> dict[str, object]:
    from qdrant_client import QdrantClient

    client = QdrantClient(path=parse_address(place).server)
    found, _ = client.scroll("videos", limit=10_000, with_payload=True, with_vectors=True)
    client.close()
    return {str(point.id): (point.payload, point.vector) for point in found}


def test_copying_again_sends_what_changed(index: SegmentIndex, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from qdrant_client import QdrantClient

    export_to_qdrant(index, place)
    before = points(place)
    sent: list[str] = []
    upsert = QdrantClient.upsert

    def counted(self: QdrantClient, name: str, points: list, **settings: object) -> object:
        sent.extend(point.payload["kind"] for point in points)
        return upsert(self, name, points, **settings)

    monkeypatch.setattr(QdrantClient, "upsert", counted)
    export_to_qdrant(index, place)
    assert sent == ["meta"] and points(place) == before
    sent.clear()
    index.drop_files(["/v/7.mp4", "/v/9.mp4"])  # three moments, one moment
    index.put_files([row("/moved/9.mp4", f"{9:032x}", 77.0)])
    index.put({f"{3:032x}": make_moments(300, moments=1), "new": make_moments(5)})
    index.put_files([row("/new.mp4", "new")])
    export_to_qdrant(index, place)
    assert sorted(sent) == ["meta", *["moment"] * 3, *["video"] * 5]  # each sent video twice, the moved one once
    engine = QdrantEngine(place)
    same_answers(engine, index.engine())
    engine.close()
    moved = [payload for payload, _ in points(place).values() if payload.get("identity") == f"{9:032x}"]
    assert {(p["path"], p["modified"]) for p in moved} == {("/moved/9.mp4", 77.0)} and len(moved) == 2
    assert not [payload for payload, _ in points(place).values() if payload.get("identity") == f"{7:032x}"]


@pytest.mark.parametrize("last", [1, 2, 3, 5, 8])
def test_stopped_anywhere_it_goes_on(
    index: SegmentIndex, place: str, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qdrant_client import QdrantClient

    from tvrkit.index import qdrant_export

    monkeypatch.setattr(qdrant_export, "_AT_ONCE", 16)
    calls, upsert = [0], QdrantClient.upsert

    def until(self: QdrantClient, *arguments: object, **settings: object) -> object:
        calls[0] += 1
        if calls[0] > last:
            raise KeyboardInterrupt
        return upsert(self, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(QdrantClient, "upsert", until)
        with pytest.raises(KeyboardInterrupt):
            export_to_qdrant(index, place)
    engine = QdrantEngine(place)
    facts = engine.facts()
    refs = engine.candidates(make_moments(1).pooled[0].float(), 1000)
    # What is seen is whole.
    assert len(refs) == len(set(refs)) == len(engine) == sum(video.moments for video in facts.values())
    engine.read(refs)
    engine.close()
    export_to_qdrant(index, place)
    engine = QdrantEngine(place)
    same_answers(engine, index.engine())
    engine.close()


def test_what_does_not_fit_is_refused(index: SegmentIndex, tmp_path: Path, place: str) -> None:
    from qdrant_client import QdrantClient
    from qdrant_client.models import PointStruct

    export_to_qdrant(index, place)
    with open_new(tmp_path / "other", make_meta(fingerprint="e" * 32, model="other")) as other:
        with pytest.raises(ConfigError, match="some/model .ffffffff; .* those of other .eeeeeeee.* another name"):
            export_to_qdrant(other, place)
    client = QdrantClient(path=str(tmp_path / "q"))
    client.create_collection("alien", vectors_config={})
    client.upsert("alien", [PointStruct(id=1, vector={}, payload={"a": 1})])
    client.close()
    with pytest.raises(ConfigError, match="holds something else"):
        export_to_qdrant(index, f"qdrant:{tmp_path}/q/alien")
    for nowhere in (f"qdrant:{tmp_path}/nowhere/videos", f"qdrant:{tmp_path}/q/nothing"):
        with pytest.raises(DataError, match=f"tvrkit index --to {nowhere}"):
            open_server(nowhere)
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ConfigError, match="can only be searched"):
        open_index(place)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("qdrant:http://localhost:6333", "write qdrant:URL/COLLECTION"),
        ("qdrant:videos", "write qdrant:URL/COLLECTION"),
        ("qdrant:ftp://host/videos", "write qdrant:URL/COLLECTION"),
        ("qdrant:https://me:key@host/videos", "QDRANT_API_KEY"),
        ("qdrant:http://host/my videos", "cannot name a collection"),
    ],
)
def test_addresses(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_address(address)


def test_a_server_that_is_not_there_is_one_sentence(index: SegmentIndex) -> None:
    place = "qdrant:http://127.0.0.1:9/videos"
    for call in (lambda: open_server(place), lambda: export_to_qdrant(index, place)):
        with pytest.raises(
            StoreError, match=r"^the Qdrant collection videos at http://127.0.0.1:9 cannot be used: .*\.$"
        ):
            call()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client forgets its lock file
def test_a_folder_in_use_is_one_sentence(index: SegmentIndex, place: str) -> None:
    export_to_qdrant(index, place)
    first = QdrantEngine(place)
    with pytest.raises(StoreError, match="already accessed by another"):
        QdrantEngine(place)
    first.close()


def test_threads_search_at_once(index: SegmentIndex, place: str) -> None:
    export_to_qdrant(index, place)
    engine, wrong = QdrantEngine(place), []
    vectors = normalize(torch.randn(1, 8), dim=-1)
    right = engine.candidates(vectors, 9)

    def search() -> None:
        for _ in range(10):
            refs = engine.candidates(vectors, 9)
            if refs != right or engine.read(refs).refs != tuple(right):
                wrong.append(refs)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    engine.close()

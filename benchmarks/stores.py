"""Where the moments lie: the folder of segments, LanceDB (each compared, or by its index), Qdrant.

The same made-up moments (12 frames of 512, float16, one moment a video) go into each store. Their directions lie near a
plane of 64 dimensions, in a thousand topics, as those of real videos do: evenly spread ones would make every index of
vectors look bad. Questions are noisy copies of moments. All stores are asked in turn, 100 candidates each.

    build     from features in memory to a store that can be searched
    open      from its files to an engine that answers, files in the page cache
    first     `candidates`: p50 / p95
    both      `candidates` and `read`, which is all that a search wants of a store
    recall    how many of the ten best moments are among the first ten candidates

Qdrant's server is no Python package. Its embedded mode is one for trying; `qdrant-edge-py` has the server's own engine
in this process, and is measured where it is installed (it is nothing that tvrkit needs).

    python benchmarks/stores.py            # 1,000 and 10,000 videos
    python benchmarks/stores.py --small    # 1,000 videos
    python benchmarks/stores.py --large    # 100,000 videos as well (4 GB of disk, 10 minutes)
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import row, skipped
from torch import Tensor
from torch.nn.functional import normalize

from tvrkit.core.interaction import nearest_frames
from tvrkit.encode.moments import POOLED, VideoMoments, pooled_vectors
from tvrkit.frames.moment_request import Cutting
from tvrkit.index import lance_engine
from tvrkit.index.engine import Engine
from tvrkit.index.lance import LanceIndex
from tvrkit.index.pooled import exact_scores
from tvrkit.index.qdrant import QdrantEngine
from tvrkit.index.qdrant_export import export_to_qdrant
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.video_index import FileRow, IndexMeta, VideoIndex

FRAMES, DIM, PLANE, TOPICS, BATCH = 12, 512, 64, 1000, 500
COUNT, QUESTIONS, PROBES = 100, 40, (10, 20, 40, 80)
META = IndexMeta("f" * 32, "made up", DIM, FRAMES, Cutting())


class World:
    """Made-up videos, the same ones each time."""

    def __init__(self, videos: int) -> None:
        self.videos = videos
        random = torch.Generator().manual_seed(0)
        self.basis = torch.randn(PLANE, DIM, generator=random)
        self.topics = torch.randn(TOPICS, PLANE, generator=random)

    def batches(self) -> Iterator[tuple[Tensor, dict[str, VideoMoments]]]:
        """Centres (n, PLANE) of some videos, and their moments by identity."""
        for first in range(0, self.videos, BATCH):
            random = torch.Generator().manual_seed(first + 1)
            n = min(BATCH, self.videos - first)
            topic = torch.randint(0, TOPICS, (n,), generator=random)
            centre = self.topics[topic] + 0.5 * torch.randn(n, PLANE, generator=random)
            place = centre[:, None] + 0.3 * torch.randn(n, FRAMES, PLANE, generator=random).cumsum(dim=1) / 2
            frames = normalize(place @ self.basis + torch.randn(n, FRAMES, DIM, generator=random), dim=-1)
            mask = torch.ones(n, FRAMES, dtype=torch.bool)
            gain, neighbour = nearest_frames(frames, mask)
            pooled = pooled_vectors(frames, mask).half()
            yield (
                centre,
                {
                    f"{first + i:032x}": VideoMoments(
                        spans=torch.tensor([[0.0, 12.0]], dtype=torch.float64),
                        counts=torch.tensor([FRAMES]),
                        frame_features=frames[i].half(),
                        pts_seconds=torch.arange(FRAMES, dtype=torch.float64),
                        nearest_gain=gain[i],
                        nearest_frame=neighbour[i].short(),
                        pooled=pooled[i : i + 1],
                        duration_seconds=12.0,
                    )
                    for i in range(n)
                },
            )

    def questions(self) -> list[tuple[Tensor, list[str]]]:
        """Query vectors (1, D), and the ten moments that are the best for each."""
        centres, pooled = zip(
            *((c, torch.cat([v.pooled for v in videos.values()])) for c, videos in self.batches()), strict=True
        )
        centre, random = torch.cat(centres), torch.Generator().manual_seed(99)
        chosen = centre[torch.randint(0, self.videos, (QUESTIONS,), generator=random)]
        noisy = chosen + 0.5 * torch.randn(QUESTIONS, PLANE, generator=random)
        vectors = normalize(noisy @ self.basis + torch.randn(QUESTIONS, DIM, generator=random), dim=-1)
        found = []
        for vector in vectors[:, None]:
            scores = torch.cat([exact_scores(vector, part) for part in pooled])
            found.append((vector, [f"{i:032x}" for i in scores.topk(10).indices.tolist()]))
        return found


@dataclass
class Store:
    """One store, filled, and what was measured of it.

    Attributes:
        build: seconds.
        size: bytes on disk.
        open: seconds.
        candidates: the identities that its first stage finds.
        read: its second stage; None where it is not asked.
    """

    name: str
    build: float
    size: int
    open: float
    candidates: Callable[[Tensor], list[Any]]
    read: Callable[[list[Any]], object] | None
    first: list[float] = field(default_factory=list)
    both: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)

    def ask(self, vector: Tensor, best: list[str]) -> None:
        begin = time.perf_counter()
        refs = self.candidates(vector)
        self.first.append(time.perf_counter() - begin)
        if self.read is not None:
            self.read(refs)
            self.both.append(time.perf_counter() - begin)
        self.recall.append(len({ref[0] for ref in refs[:10]} & set(best)) / 10)


def opened(name: str, folder: Path, build: float, open_engine: Callable[[], Engine], probes: int = 0) -> Store:
    begin = time.perf_counter()
    engine = open_engine()
    seconds = time.perf_counter() - begin

    def candidates(vector: Tensor) -> list[Any]:
        lance_engine.PROBES = probes
        return engine.candidates(vector, COUNT)

    return Store(name, build, size_of(folder), seconds, candidates, engine.read)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fill(index: VideoIndex, world: World) -> float:
    """Seconds that it takes to put all videos."""
    seconds = 0.0
    for _, videos in world.batches():
        begin = time.perf_counter()
        index.put(videos)
        index.put_files(FileRow(f"/v/{identity}.mp4", "s", 0.0, identity) for identity in videos)
        seconds += time.perf_counter() - begin
    return seconds


def segments(folder: Path, world: World, stack: ExitStack) -> Store:
    with SegmentIndex(str(folder), META, create=True) as index:
        build = fill(index, world)
    index = stack.enter_context(SegmentIndex(str(folder)))
    return opened("segments", folder, build, index.engine)


def lance(folder: Path, world: World, stack: ExitStack) -> Iterator[Store]:
    lance_engine.FLAT_MOMENTS = 10**9
    with LanceIndex(str(folder), META, create=True) as index:
        build = fill(index, world)
    index = stack.enter_context(LanceIndex(str(folder)))
    yield opened("LanceDB, each", folder, build, index.engine)
    lance_engine.FLAT_MOMENTS = 0
    begin = time.perf_counter()
    index._tidy()
    build += time.perf_counter() - begin
    for probes in PROBES:
        index._engine = None
        yield opened(f"LanceDB, IVF_RQ {probes}", folder, build, index.engine, probes)


def qdrant(folder: Path, source: Path, stack: ExitStack) -> Store:
    place = f"qdrant:{folder}/videos"
    with SegmentIndex(str(source)) as index:
        begin = time.perf_counter()
        export_to_qdrant(index, place)
        build = time.perf_counter() - begin

    def open_engine() -> Engine:
        engine = QdrantEngine(place)
        stack.callback(engine.close)
        return engine

    return opened("Qdrant, embedded", folder, build, open_engine)


def edge(folder: Path, source: Path, stack: ExitStack) -> Iterator[Store]:
    """The server's engine, asked for candidates as `QdrantEngine` asks the server."""
    try:
        import qdrant_edge as q
    except ImportError:
        return
    vectors = q.EdgeVectorParams(
        size=DIM,
        distance=q.Distance.Dot,
        multivector_config=q.MultiVectorConfig(q.MultiVectorComparator.MaxSim),
        datatype=q.VectorStorageDatatype.Float16,
    )
    folder.mkdir()
    shard = q.EdgeShard.create(str(folder), q.EdgeConfig(vectors={"pooled": vectors}))
    build, number, points = 0.0, 0, []
    with SegmentIndex(str(source)) as index:
        for identity, video in index.iter_videos():
            number += 1
            points.append(q.Point(number, {"pooled": video.pooled[0].float().tolist()}, {"identity": identity}))
            if len(points) == BATCH:
                begin = time.perf_counter()
                shard.update(q.UpdateOperation.upsert_points(points))
                build += time.perf_counter() - begin
                points = []
    begin = time.perf_counter()
    shard.optimize()
    build += time.perf_counter() - begin
    shard.close()
    begin = time.perf_counter()
    shard = q.EdgeShard.load(str(folder))
    opening = time.perf_counter() - begin
    stack.callback(shard.close)
    for exact in (True, False):

        def candidates(vector: Tensor, exact: bool = exact) -> list[Any]:
            asked = q.QueryRequest(
                query=q.Query.Nearest(vector.tolist(), using="pooled"),
                limit=COUNT,
                params=q.SearchParams(exact=exact, hnsw_ef=None if exact else 256),
                with_payload=True,
            )
            return [(point.payload["identity"],) for point in shard.query(asked)]

        name = f"Qdrant's engine, {'each' if exact else 'HNSW'}"
        yield Store(name, build, size_of(folder), opening, candidates, None)


def show(videos: int, stores: list[Store]) -> None:
    payload = FRAMES * DIM * 2 + POOLED * DIM * 2
    print(f"\n{videos} videos of one moment, {FRAMES} x {DIM} and {POOLED} x {DIM} float16 ({payload} bytes):")
    print(
        f"{'':<24}{'build s':>9}{'B/moment':>10}{'open s':>8}{'first ms':>17}{'both ms':>17}{'recall':>8}{'ratio':>7}"
    )
    base = float(np.median(stores[0].first))
    for store in stores:
        first, both = (
            f"{np.median(t) * 1000:.1f} / {np.quantile(t, 0.95) * 1000:.1f}" if t else "-"
            for t in (store.first, store.both)
        )
        print(
            f"{store.name:<24}{store.build:>9.1f}{store.size / videos:>10.0f}{store.open:>8.2f}{first:>17}{both:>17}"
            f"{np.mean(store.recall):>8.3f}{float(np.median(store.first)) / base:>7.1f}",
            flush=True,
        )


def compare(videos: int) -> None:
    world = World(videos)
    questions = world.questions()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        stores = [segments(folder / "segments", world, stack)]
        stores += lance(folder / "x.lance", world, stack)
        if videos <= 1_000:  # the embedded mode writes each point by itself, and is made for few
            stores.append(qdrant(folder / "qdrant", folder / "segments", stack))
        stores += edge(folder / "edge", folder / "segments", stack)
        for vector, best in [questions[0], *questions]:
            for store in stores:
                store.ask(vector, best)
        for store in stores:
            del store.first[0], store.both[:1], store.recall[0]  # to warm up
        show(videos, stores)
        report(videos, stores)


def report(videos: int, stores: list[Store]) -> None:
    """Rows for results.py: the default store against the others, candidates and both stages."""
    own = stores[0]
    for store in stores[1:]:
        note = f"recall {np.mean(own.recall):.3f}, the rival {np.mean(store.recall):.3f}"
        row(f"{COUNT} candidates among {videos:,} videos", store.name, own.first, store.first, note=note)
        if store.both:
            row(f"candidates and their moments read, {videos:,} videos", store.name, own.both, store.both, note=note)
        row(f"building a store of {videos:,} videos", store.name, [own.build], [store.build], note="once")
    if not any("engine" in store.name for store in stores):
        skipped("Qdrant's own engine", "qdrant-edge-py is not installed (pip install qdrant-edge-py)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    for videos in (1_000,) if options.small else (1_000, 10_000, 100_000) if options.large else (1_000, 10_000):
        compare(videos)


if __name__ == "__main__":
    main()

"""The same search without an index of one's own: brute force in torch, and stores of vectors used plainly.

Every one of them gets every frame (but for the passes over pooled vectors), and gives videos in order. `found` of a
store is what its users do: the sentence's vector, its nearest frames, their videos in order of their best frame.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from search_data import BATCH, DIM, FRAMES, make_frames

from tvrkit.core import TextFeatures

FRAMES_TAKEN = 200  # of a store, for ten videos


@dataclass
class Rival:
    """A way to search.

    Attributes:
        name: in the table.
        build_seconds: to put all frames in; nan where nothing is built.
        bytes: on disk, or in memory.
        search: text, the best videos in order.
    """

    name: str
    build_seconds: float
    bytes: int
    search: Callable[[TextFeatures], list[int]]


def every_frame(videos: int) -> Iterator[tuple[int, torch.Tensor]]:
    for first in range(0, videos, BATCH):
        yield first, make_frames(first // BATCH, min(BATCH, videos - first)).flatten(0, 1)


def resident(videos: int, dtype: torch.dtype) -> torch.Tensor:
    frames = torch.empty(videos * FRAMES, DIM, dtype=dtype)
    for first, part in every_frame(videos):
        frames[first * FRAMES : first * FRAMES + len(part)] = part
    return frames


def brute_force(videos: int, dtype: torch.dtype) -> list[Rival]:
    """One product with all frames; the paper's two halves, or the sentence's best frame only."""
    frames = resident(videos, dtype)

    def words(text: TextFeatures) -> list[int]:
        real = text.word_mask[0]
        rows = torch.cat([text.text_features, text.word_features[0, real]]).to(dtype)
        products = (rows @ frames.T).view(len(rows), videos, FRAMES)
        by_word, by_frame = products.amax(dim=2).float(), products[1:].amax(dim=0).float()
        sentence = (by_word[0] + products[0].float().mean(dim=1)) / 2
        scores = sentence + (by_word[1:].mean(dim=0) + by_frame.mean(dim=1)) / 2
        return scores.topk(10).indices.tolist()

    def sentence(text: TextFeatures) -> list[int]:
        products = text.text_features.to(dtype) @ frames.T
        return products.view(videos, FRAMES).amax(dim=1).topk(10).indices.tolist()

    kind = str(dtype).removeprefix("torch.")
    return [
        Rival(f"brute force in torch, {kind}, words and sentence", float("nan"), frames.nbytes, words),
        Rival(f"brute force in torch, {kind}, sentence only", float("nan"), frames.nbytes, sentence),
    ]


def first_videos(rows: list[int]) -> list[int]:
    return list(dict.fromkeys(row // FRAMES for row in rows))[:10]


def lance(videos: int, folder: Path, *, with_index: bool) -> Rival:
    import lancedb
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        for first, part in every_frame(videos):
            numbers = pa.array(range(first * FRAMES, first * FRAMES + len(part)), pa.int64())
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.flatten().numpy(), pa.float16()), DIM)
            yield pa.record_batch([numbers, vectors], names=["number", "vector"])

    start = time.perf_counter()
    database = lancedb.connect(folder / "lance")
    schema = pa.schema([("number", pa.int64()), ("vector", pa.list_(pa.float16(), DIM))])
    name = "ivf" if with_index else "flat"
    table = database.create_table(name, batches(), schema=schema)
    if with_index:
        partitions = max(16, videos * FRAMES // 4096)
        table.create_index("cosine", num_partitions=partitions, vector_column_name="vector", index_type="IVF_RQ")
    built = time.perf_counter() - start
    size = sum(path.stat().st_size for path in (folder / "lance").rglob("*") if path.is_file())

    def search(text: TextFeatures) -> list[int]:
        query = table.search(text.text_features[0].numpy(), vector_column_name="vector").distance_type("cosine")
        if with_index:
            query = query.nprobes(20).refine_factor(10)
        return first_videos(query.select(["number", "_distance"]).limit(FRAMES_TAKEN).to_arrow()["number"].to_pylist())

    return Rival(f"LanceDB, {'IVF_RQ, 20 probes, refined' if with_index else 'flat'}", built, size, search)


def qdrant(videos: int, folder: Path) -> Rival:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    start = time.perf_counter()
    client.create_collection("frames", vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE))
    for first, part in every_frame(videos):
        numbers = list(range(first * FRAMES, first * FRAMES + len(part)))
        client.upsert("frames", models.Batch(ids=numbers, vectors=part.float().tolist()))
    built = time.perf_counter() - start

    def search(text: TextFeatures) -> list[int]:
        found = client.query_points("frames", text.text_features[0].tolist(), limit=FRAMES_TAKEN, with_payload=False)
        return first_videos([int(point.id) for point in found.points])

    return Rival("qdrant-client, local mode", built, videos * FRAMES * DIM * 4, search)


def faiss_sq8(videos: int, folder: Path) -> Rival:
    import faiss

    lists = max(16, min(1024, videos * FRAMES // 400))
    start = time.perf_counter()
    index = faiss.index_factory(DIM, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    sample = np.concatenate([part.float().numpy() for first, part in every_frame(min(videos, 10_000))])
    index.train(sample)
    for _, part in every_frame(videos):
        index.add(part.float().numpy())
    built = time.perf_counter() - start
    index.nprobe = max(16, lists // 8)
    faiss.write_index(index, str(folder / "faiss"))

    def search(text: TextFeatures) -> list[int]:
        return first_videos(index.search(text.text_features.numpy(), FRAMES_TAKEN)[1][0].tolist())

    return Rival(f"faiss IVF{lists},SQ8, {index.nprobe} probes", built, (folder / "faiss").stat().st_size, search)


def stores(videos: int, folder: Path) -> Iterator[Callable[[], Rival]]:
    """Those that are installed here and take so many."""
    if importlib.util.find_spec("lancedb"):
        yield lambda: lance(videos, folder, with_index=False)
        if videos >= 10_000:
            yield lambda: lance(videos, folder, with_index=True)
    if importlib.util.find_spec("faiss"):
        yield lambda: faiss_sq8(videos, folder)
    if importlib.util.find_spec("qdrant_client") and videos <= 1000:  # its local mode is a list in Python
        yield lambda: qdrant(videos, folder)


def left_out(videos: int) -> Iterator[tuple[str, str]]:
    """Stores that are not asked, and why."""
    for module, package in (("lancedb", "lancedb"), ("faiss", "faiss-cpu"), ("qdrant_client", "qdrant-client")):
        if not importlib.util.find_spec(module):
            yield package, f"it is not installed (pip install {package})"
    if videos > 1000:
        yield "qdrant-client, local mode", "it is a list in Python, and made for few"

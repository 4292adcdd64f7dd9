"""Synthetic videos and questions with the structure that matters for search, and an index of them.

A frame is what all pictures share (CLIP's features of any two pictures have a cosine of about 0.5), a topic out of
2,000, a scene and noise; a video has one to four scenes, half of them about its own topic. A question is near one frame
of one video, as far as a caption is: sentence and words share something with all texts, something with that frame.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tvrkit.config import ModelConfig
from tvrkit.core import RetrievalModel, TextFeatures, build_model
from tvrkit.core.interaction import nearest_frames
from tvrkit.encode.moments import VideoMoments, pooled_vectors
from tvrkit.frames.moment_request import Cutting
from tvrkit.index.parts import Query, first_stage
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.video_index import FileRow, IndexMeta

FRAMES, DIM, WORDS, BATCH, TOPICS = 12, 512, 16, 1000, 2000
BACKBONE = {
    "embed_dim": DIM,
    "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 64, "layers": 1, "head_width": 32},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


def make_model(folder: Path, **settings: object) -> RetrievalModel:
    """Small towers, but features of the usual size; the paper's interaction."""
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps(BACKBONE))
    torch.manual_seed(0)
    config = {"interaction": "token_wise", "nearest_frame": True, "num_frames": FRAMES, **settings}
    return build_model(ModelConfig(backbone=str(path), pretrained=None, **config))  # type: ignore[arg-type]


def units(*shape: int, generator: torch.Generator) -> Tensor:
    return normalize(torch.randn(*shape, DIM, generator=generator), dim=-1)


def shared() -> tuple[Tensor, Tensor, Tensor]:
    """What all pictures share, what all texts share, and the topics."""
    generator = torch.Generator().manual_seed(99)
    return units(generator=generator), units(generator=generator), units(TOPICS, generator=generator)


def make_frames(batch: int, videos: int) -> Tensor:
    """(videos, F, D) float16, the same for the same number of a batch."""
    pictures, _, topics = shared()
    g = torch.Generator().manual_seed(batch)
    scenes = torch.randint(1, 5, (videos, 1), generator=g)
    own = torch.randint(TOPICS, (videos, 1), generator=g).expand(-1, 4)
    other = torch.randint(TOPICS, (videos, 4), generator=g)
    topic = torch.where(torch.rand(videos, 4, generator=g) < 0.5, own, other)
    middles = 0.6 * pictures + 0.45 * topics[topic] + 0.5 * units(videos, 4, generator=g)
    scene = torch.arange(FRAMES) * scenes // FRAMES
    frames = middles.gather(1, scene[..., None].expand(-1, -1, DIM)) + 0.4 * units(videos, FRAMES, generator=g)
    return normalize(frames, dim=-1).half()


def make_texts(count: int, videos: int) -> TextFeatures:
    """Questions, each near a frame of one of the videos."""
    pictures, words_share, _ = shared()
    g = torch.Generator().manual_seed(7)
    targets = []
    for video in torch.randint(videos, (count,), generator=g).tolist():
        first = video // BATCH * BATCH
        frames = make_frames(video // BATCH, min(BATCH, videos - first))[video - first]
        targets.append(frames[int(torch.randint(FRAMES, (1,), generator=g))].float() - 0.6 * pictures)
    target = normalize(torch.stack(targets), dim=-1)
    sentence = normalize(0.8 * words_share + 0.35 * target + 0.45 * units(count, generator=g), dim=-1)
    share = 0.3 * torch.rand(count, WORDS, 1, generator=g)
    noise = 0.5 * units(count, WORDS, generator=g)
    words = normalize(0.7 * words_share + share * target[:, None] + 0.3 * sentence[:, None] + noise, dim=-1)
    mask = torch.arange(WORDS) < torch.randint(6, WORDS + 1, (count, 1), generator=g)
    return TextFeatures(sentence, words, mask, mask.float())


def as_queries(model: RetrievalModel, texts: TextFeatures) -> list[Query]:
    vectors = first_stage(model, texts)
    return [Query(1.0, True, texts[i : i + 1], model.interaction, vectors[i]) for i in range(len(texts))]


def identity(video: int) -> str:
    return f"{video * 0x9E3779B97F4A7C15 % 2**128:032x}"


def fill(folder: Path, model: RetrievalModel, videos: int) -> tuple[SegmentIndex, float]:
    """An index of so many videos, and the seconds that writing it took (making the features is not counted)."""
    meta = IndexMeta(model.fingerprint(), "benchmark", DIM, FRAMES, Cutting())
    index, seconds = SegmentIndex(str(folder), meta, create=True), 0.0
    for first in range(0, videos, BATCH):
        count = min(BATCH, videos - first)
        frames = make_frames(first // BATCH, count).float()
        rows = {identity(first + i): row for i, row in enumerate(map(_moment, frames))}
        files = [FileRow(f"/videos/{first + i:07d}.mp4", "-", 0.0, identity(first + i)) for i in range(count)]
        start = time.perf_counter()
        index.put(rows)
        index.put_files(files)
        seconds += time.perf_counter() - start
    return index, seconds


def _moment(frames: Tensor) -> VideoMoments:
    mask = torch.ones(1, FRAMES, dtype=torch.bool)
    gain, neighbour = nearest_frames(frames[None], mask)
    return VideoMoments(
        spans=torch.tensor([[0.0, 10.0]], dtype=torch.float64),
        counts=torch.tensor([FRAMES]),
        frame_features=frames.half(),
        pts_seconds=torch.arange(FRAMES, dtype=torch.float64),
        nearest_gain=gain[0],
        nearest_frame=neighbour[0].short(),
        pooled=pooled_vectors(frames[None], mask).half(),
        duration_seconds=10.0,
    )

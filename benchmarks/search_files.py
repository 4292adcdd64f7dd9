"""From files to searchable videos: where the time goes, and beside it the way of clip-video-encode."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from search_data import make_model
from timing import row

from tvrkit.config import ModelConfig
from tvrkit.core import RetrievalModel, build_model
from tvrkit.encode.moments import VideoMoments, iter_moments
from tvrkit.frames.identity import content_hash
from tvrkit.frames.moment_request import Cutting
from tvrkit.frames.moments import MomentPool
from tvrkit.frames.reading import Reading
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.video_index import FileRow, IndexMeta

RATE = 2.0  # frames a second, of the other way
ROUNDS = 3


def make_clip(path: Path, seed: int, seconds: int, size: tuple[int, int] = (640, 480), fps: int = 25) -> None:
    """Scenes of five seconds, each a still that drifts."""
    random, width, height = np.random.default_rng(seed), *size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for i in range(seconds * fps):
            if i % (5 * fps) == 0:
                still = random.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            frame = av.VideoFrame.from_ndarray(np.roll(still, 4 * i, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def their_way(model: RetrievalModel, paths: list[str], folder: Path) -> tuple[dict[str, float], int]:
    """Every video decoded from its first frame to its last, a frame each 1/RATE seconds, encoded one by one."""
    split, frames = {"decode": 0.0, "encode": 0.0, "write": 0.0}, 0
    one = torch.ones(1, 1, dtype=torch.bool)
    for path in paths:
        features, due = [], 0.0
        start = time.perf_counter()
        with av.open(path) as container:
            for frame in container.decode(video=0):
                if frame.time is None or frame.time < due:
                    continue
                due += 1 / RATE
                pixels = model.transform(Image.fromarray(frame.to_ndarray(format="rgb24")))
                split["decode"] += time.perf_counter() - start
                start = time.perf_counter()
                features.append(model.encode_frames(pixels[None, None], one)[0])
                split["encode"] += time.perf_counter() - start
                start = time.perf_counter()
        split["decode"] += time.perf_counter() - start
        start = time.perf_counter()
        np.save(folder / f"{Path(path).stem}.npy", torch.cat(features).half().numpy())
        split["write"] += time.perf_counter() - start
        frames += len(features)
    return split, frames


def our_way(model: RetrievalModel, paths: list[str], folder: Path) -> tuple[float, float, float, int]:
    """Seconds of all of it, of reading alone and of writing alone, and frames that were encoded."""
    reading, cutting, frames, writing = Reading(workers=2), Cutting(), 0, 0.0
    meta = IndexMeta(model.fingerprint(), "benchmark", model.backbone.dim, model.config.num_frames, cutting)
    start = time.perf_counter()
    with SegmentIndex(str(folder / "index"), meta, create=True) as index:
        for path, video in zip(paths, iter_moments(model, paths, reading=reading, cutting=cutting), strict=True):
            assert isinstance(video, VideoMoments)
            begin = time.perf_counter()
            identity = content_hash(path)
            index.put({identity: video})
            index.put_files([FileRow(path, "-", 0.0, identity)])
            writing += time.perf_counter() - begin
            frames += len(video.frame_features)
    everything = time.perf_counter() - start
    start = time.perf_counter()
    with MomentPool(reading, model.pixel_transform, model.config.num_frames, cutting) as pool:
        for _ in pool.imap(paths):
            pass
    return everything, time.perf_counter() - start, writing, frames


def of_length(lengths: list[int]) -> str:
    return f"{lengths[0]} s" if len(set(lengths)) == 1 else f"{min(lengths)} to {max(lengths)} s"


@torch.no_grad()
def files_to_searchable(folder: Path, *, small: bool) -> None:
    """Part 1."""
    (folder / "clips").mkdir()
    lengths = [10] * 8 if small else [10] * 12 + [60] * 4
    paths = [str(folder / "clips" / f"{i}.mp4") for i in range(len(lengths))]
    for i, (path, seconds) in enumerate(zip(paths, lengths, strict=True)):
        make_clip(Path(path), i, seconds)
    models = {"towers of no cost": make_model(folder)}
    if not small:
        settings = ModelConfig(backbone="ViT-B-32", pretrained=None, num_frames=12)
        models["ViT-B/32"] = build_model(settings)
    for name, model in models.items():
        rounds = []
        for turn in range(ROUNDS):
            place = folder / f"{name.replace('/', '')} {turn}"
            place.mkdir()
            rounds.append((our_way(model, paths, place), their_way(model, paths, place)))
        in_the_middle = sorted(rounds, key=lambda both: both[0][0])[ROUNDS // 2]
        (everything, reading, writing, frames), (split, theirs) = in_the_middle
        print(f"\n{len(paths)} clips of {of_length(lengths)}, 640 x 480, {name}:")
        print(
            f"  tvrkit             {len(paths) / everything:6.2f} videos/s ({frames} frames kept); reading alone"
            f" {reading:.2f} s in two processes, encoding beside it, writing {writing:.2f} s, all {everything:.2f} s"
        )
        total = sum(split.values())
        print(
            f"  clip-video-encode's way {len(paths) / total:.2f} videos/s ({theirs} frames at {RATE:g} a second);"
            f" decode {split['decode']:.2f} s, encode {split['encode']:.2f} s, write {split['write']:.2f} s:"
            f" {total / everything:.1f} times as long"
        )
        note = (
            f"reading {reading:.1f} s in two processes beside encoding, writing {writing:.2f} s; the rival: decode"
            f" {split['decode']:.1f} s, encode {split['encode']:.1f} s; {frames} against {theirs} frames"
        )
        row(
            f"files to searchable, {len(paths)} clips of {of_length(lengths)}, {name}",
            f"every frame decoded, {RATE:g} a second encoded one by one, as clip-video-encode does",
            [ours[0] for ours, _ in rounds],
            [sum(parts.values()) for _, (parts, _) in rounds],
            note=note,
        )

"""Search: what the first answer costs and what the next ones cost, and how near an exact scan is to bare products.

Part 1 makes real clips and answers twice, from the start of the process to the last hit: first with nothing in the
cache, then from the cache. Part 2 fills an index with random features (12 frames of 512, float16, as CLIP B/32 gives)
and scores all of it, from the memory-mapped segments, against one matrix product over the same frames resident in
memory as float32: nothing that scores every frame exactly can be faster than that.

    python benchmarks/search.py            # 64 clips; 20,000 videos
    python benchmarks/search.py --small    # 16 clips; 2,000 videos
    python benchmarks/search.py --large    # 64 clips; 100,000 videos (needs 8 GB of memory)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from timing import alternate
from torch.nn.functional import normalize

from tvrkit.config import ModelConfig
from tvrkit.core import RetrievalModel, build_model, save_model
from tvrkit.core.interaction import nearest_frames
from tvrkit.index.scan import VideoFile
from tvrkit.index.search import search_text
from tvrkit.index.videos import VideoIndex
from tvrkit.store import FeatureStore

FRAMES, DIM, BATCH = 12, 512, 512
QUERY = "a brown dog is surfing on a big wave at the beach"
BACKBONE = {
    "embed_dim": DIM,
    "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 64, "layers": 1, "head_width": 32},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}
KINDS = {
    "dot_product": {"interaction": "dot_product"},
    "token_wise": {"interaction": "token_wise", "text_side": "both"},
    "token_wise + visual attention": {"interaction": "token_wise", "text_side": "both", "nearest_frame": True},
}


def make_model(folder: Path, **settings: object) -> RetrievalModel:
    """Small towers, but features of the usual size; the same vision tower each time."""
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps(BACKBONE))
    torch.manual_seed(0)
    return build_model(ModelConfig(backbone=str(path), pretrained=None, num_frames=FRAMES, **settings))  # type: ignore[arg-type]


def make_clip(path: Path, seed: int, seconds: int = 10, fps: int = 25) -> None:
    random = np.random.default_rng(seed)
    still = random.integers(0, 255, (30, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for i in range(seconds * fps):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(still, 4 * i, axis=1), format="rgb24")))
        container.mux(stream.encode())


def answers(folder: Path, clips: int) -> None:
    """Part 1."""
    (folder / "clips").mkdir()
    for i in range(clips):
        make_clip(folder / "clips" / f"{i}.mp4", i)
    save_model(make_model(folder, **KINDS["token_wise"]), folder / "model")
    command = [sys.executable, "-m", "tvrkit", "query", QUERY, "--videos", "clips", "--model", "model", "--json"]
    environment = {**os.environ, "TVRKIT_CACHE": str(folder / "cache")}
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    bare = "import torch, open_clip"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", bare], check=True, capture_output=True)
    imports = time.perf_counter() - start
    warm = sorted(seconds[1:])[1]
    print(f"{clips} clips of 10 s, 320 x 240, from the start of the process:")
    print(f"  first answer          {seconds[0]:7.2f} s   ({clips / (seconds[0] - warm):.1f} clips/s beyond the next)")
    print(f"  next, from the cache  {warm:7.2f} s   (`{bare}` alone: {imports:.2f} s)")


def fill(index: VideoIndex, store: FeatureStore, videos: int) -> list[VideoFile]:
    files = [VideoFile(Path(f"{i:06d}.mp4"), f"{i:032x}") for i in range(videos)]
    generator = torch.Generator().manual_seed(0)
    for first in range(0, videos, BATCH):
        part = files[first : first + BATCH]
        frames = normalize(torch.randn(len(part), FRAMES, DIM, generator=generator), dim=-1)
        gain, neighbour = nearest_frames(frames, torch.ones(len(part), FRAMES, dtype=torch.bool))
        store.put(
            {
                index.key(file): {
                    "frame_features": frames[i].half(),
                    "nearest_gain": gain[i],
                    "nearest_frame": neighbour[i].short(),
                    "pts_seconds": torch.arange(FRAMES, dtype=torch.float64),
                    "duration_seconds": torch.tensor(float(FRAMES), dtype=torch.float64),
                }
                for i, file in enumerate(part)
            }
        )
    return files


def scan(folder: Path, videos: int, rounds: int) -> None:
    """Part 2."""
    models = {name: make_model(folder, **settings) for name, settings in KINDS.items()}
    (fingerprint,) = {model.fingerprint() for model in models.values()}
    first = next(iter(models.values()))
    with VideoIndex(first, folder / "index", print) as index, FeatureStore(folder / "index" / fingerprint) as store:
        start = time.perf_counter()
        files = fill(index, store, videos)
        written = time.perf_counter() - start
        size = sum(path.stat().st_size for path in store.folder.glob("*.safetensors"))
        print(f"{videos} videos x {FRAMES} x {DIM}, float16, {size / 1e9:.2f} GB:")
        print(f"  filled in {written:.1f} s ({len(list(store.folder.glob('*.safetensors')))} segments)")
        with VideoIndex(first, folder / "index", print) as fresh:
            start = time.perf_counter()
            assert not fresh.missing(files)
            print(f"  opened and checked in {time.perf_counter() - start:.2f} s")
        resident = torch.cat([part.features.frame_features.flatten(0, 1) for part in index.read(files)])
        text = first.encode_text(first.tokenize([QUERY]))
        words = text.word_features[0][text.word_mask[0]]
        with torch.no_grad():
            seconds = alternate(
                {
                    "one vector, bare product": lambda: resident @ text.text_features[0],
                    f"{len(words)} words, bare product": lambda: resident @ words.T,
                    **{
                        name: lambda model=model: search_text(model, index, QUERY, files, 10)
                        for name, model in models.items()
                    },
                },
                rounds,
            )
        bare = seconds[f"{len(words)} words, bare product"]
        for name, value in seconds.items():
            print(f"  {name:<32}{value * 1000:9.1f} ms  {value / bare:6.1f} x the product of {len(words)} words")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    videos = 2_000 if options.small else 100_000 if options.large else 20_000
    with tempfile.TemporaryDirectory() as name:
        answers(Path(name), 16 if options.small else 64)
        scan(Path(name), videos, 3 if options.small else 5)


if __name__ == "__main__":
    main()

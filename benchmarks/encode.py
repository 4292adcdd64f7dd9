"""From video files to stored frame features: tvrkit's encoding against a loop over one video at a time.

The loop is what one writes first, and what the peers' feature scripts do: open a video with PyAV (or decord), take 12
uniform frames, open_clip's own preprocessing, the image tower, `numpy.save`; then the next. tvrkit reads in other
processes while the tower works, encodes frames of several videos together, and keeps features in its store. ViT-B/32
with random weights, videos made on the spot; everything takes turns. A second look at a store finds all features there.

    python benchmarks/encode.py            # 24 videos of 10 s, 640 x 480
    python benchmarks/encode.py --small    # 3 videos of 10 s, 320 x 240
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from decode import FRAMES, installed, middles
from PIL import Image
from search_files import make_clip
from timing import medians, row, skipped, turns

from tvrkit.config import ModelConfig
from tvrkit.core import RetrievalModel, build_model
from tvrkit.encode import encode_frames
from tvrkit.frames.reader import FrameRequest
from tvrkit.frames.reading import Reading
from tvrkit.store import FeatureStore


def by_pyav(path: Path) -> list[np.ndarray]:
    """The wanted frames out of all of them."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        wanted = set(middles(stream.frames))
        frames = enumerate(container.decode(stream))
        return [frame.to_ndarray(format="rgb24") for number, frame in frames if number in wanted]


def by_decord(path: Path) -> list[np.ndarray]:
    import decord

    video = decord.VideoReader(str(path), ctx=decord.cpu(0))
    return list(video.get_batch(middles(len(video))).asnumpy())


class Encoding:
    """A model, videos, and the ways to get features of them."""

    def __init__(self, model: RetrievalModel, paths: list[Path], folder: Path) -> None:
        self.model, self.paths, self.folder = model, paths, folder
        self.number = itertools.count()

    def ours(self, store: Path | None = None, workers: int = 2) -> torch.Tensor:
        """Into an empty store, or one that may be filled."""
        requests = [FrameRequest(str(path), FRAMES) for path in self.paths]
        with FeatureStore(store or self.folder / f"store {next(self.number)}") as kept:
            encoded = encode_frames(self.model, requests, reading=Reading(workers=workers), store=kept)
        if encoded.failures:
            raise SystemExit(f"not read: {encoded.failures}")
        return encoded.frame_features

    @torch.no_grad()
    def loop(self, read: Callable[[Path], list[np.ndarray]]) -> torch.Tensor:
        """One video after the other, all in this process."""
        features = []
        for path in self.paths:
            pixels = torch.stack([self.model.transform(Image.fromarray(image)) for image in read(path)])
            encoded = self.model.backbone.clip.encode_image(pixels.to(self.model.device), normalize=True)
            features.append(encoded.half().cpu())
            np.save(self.folder / f"{path.stem}.npy", features[-1].numpy())
        return torch.stack(features)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="3 short videos, 2 rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--backbone", default="ViT-B-32", help="an open_clip name, with random weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    videos, size = (3, (320, 240)) if options.small else (24, (640, 480))
    options.rounds = options.rounds or (2 if options.small else 3)
    torch.manual_seed(0)
    config = ModelConfig(backbone=options.backbone, pretrained=None, num_frames=FRAMES)
    model = build_model(config, torch.device(options.device)).eval()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{number}.mp4" for number in range(videos)]
        for number, path in enumerate(paths):
            make_clip(path, number, 10, size)
        encoding = Encoding(model, paths, folder)
        ways: dict[str, Callable[[], torch.Tensor]] = {
            "tvrkit, 2 workers": encoding.ours,
            "tvrkit, no worker": lambda: encoding.ours(workers=0),
            "tvrkit, features kept": lambda: encoding.ours(folder / "filled"),
            "loop with PyAV": lambda: encoding.loop(by_pyav),
        }
        if installed("decord"):
            ways["loop with decord"] = lambda: encoding.loop(by_decord)
        else:
            skipped("loop with decord", "decord is not installed (pip install decord)")
        report(ways, videos, size, options)


def report(
    ways: dict[str, Callable[[], torch.Tensor]], videos: int, size: tuple[int, int], options: argparse.Namespace
) -> None:
    """Print the table, once the same features came out of both."""
    ours, loop = (ways[name]().float() for name in ("tvrkit, 2 workers", "loop with PyAV"))
    near = torch.nn.functional.cosine_similarity(ours, loop, dim=-1).mean().item()
    if near < 0.98:
        raise SystemExit(f"tvrkit's features and the loop's have a mean cosine of {near:.3f} only")
    seconds = turns(ways, options.rounds)
    middle = medians(seconds)
    what = f"{videos} videos of 10 s, {size[0]} x {size[1]}, {FRAMES} frames each"
    print(f"{what}, {options.backbone} on {options.device}, {torch.get_num_threads()} thread(s), cosine {near:.3f}")
    for name, value in middle.items():
        print(f"  {name:24}{videos / value:8.2f} videos/s{value / middle['tvrkit, 2 workers']:8.2f} x the seconds")
    for name in ways:
        for rival in (rival for rival in ways if name.startswith("tvrkit") and rival.startswith("loop")):
            row(f"{what}: {name.removeprefix('tvrkit, ')}", rival, seconds[name], seconds[rival])


if __name__ == "__main__":
    main()

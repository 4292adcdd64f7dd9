"""What it costs to cut a long video into moments: by shots, by windows, and a bare decode of every frame beside them.

The video is made on the spot: a camera that wanders over large pictures, with grain, another picture every few
seconds. All ways run in turn in this process; the table gives medians, and the ratio to the bare decode. Then how true
the cuts are, where they are known: hard cuts, dissolves and fades, with still, moving and grainy pictures.

    python benchmarks/moments.py            # 320x240, 1280x720; some minutes
    python benchmarks/moments.py --small    # 30 s of 320x240
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image
from timing import medians, row, turns

from tvrkit.frames.av_file import Clock, VideoFile
from tvrkit.frames.moment_request import Cutting
from tvrkit.frames.moments import MomentPool
from tvrkit.frames.preprocess import PlainTransform, ResizeCrop
from tvrkit.frames.reading import Reading
from tvrkit.frames.shots import ShotDetector
from tvrkit.frames.signature import Signer

FPS = 25
PIXELS = PlainTransform(ResizeCrop(224, int(Image.Resampling.BICUBIC), (224, 224)), (0.5,) * 3, (0.5,) * 3).pixels
TRANSITIONS = {"cut": 0.0, "dissolve of .6 s": 0.6, "dissolve of 1.2 s": 1.2, "fade of .5 s": 0.5}


def pictures(seed: int, count: int, width: int, height: int) -> list[np.ndarray]:
    """A shot: still, slow or fast by its seed."""
    random = np.random.default_rng(seed)
    speed = (0, 1, 4)[seed % 3]
    wide = width + speed * count + 1
    coarse = random.integers(0, 256, (height // 24, wide // 24 + 2, 3), np.uint8)
    scene = np.asarray(Image.fromarray(coarse).resize((wide, height), Image.Resampling.BICUBIC), np.float32)
    return [scene[:, speed * i : speed * i + width] for i in range(count)]


def make(path: Path, seconds: int, width: int, height: int, how: str = "cut") -> list[float]:
    """Write the video; the middles of its transitions in seconds."""
    random, starts, before, number = np.random.default_rng(0), [], None, 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        while number < seconds * FPS:
            shot = pictures(len(starts), int(random.uniform(2.5, 8) * FPS), width, height)
            mixed = int(TRANSITIONS[how] * FPS)
            starts.append((number + (mixed / 2 if how.startswith("dissolve") else 0)) / FPS)
            for i, picture in enumerate(shot):
                if before is not None and i < mixed:
                    part = (i + 1) / (mixed + 1)
                    picture = picture * part + (before * (1 - part) if how.startswith("dissolve") else 0)
                if how.startswith("fade"):
                    picture = picture * min(1.0, (len(shot) - 1 - i) / mixed)
                grain = random.normal(0, 4, (height, width, 1))
                frame = av.VideoFrame.from_ndarray(np.clip(picture + grain, 0, 255).astype(np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                container.mux(stream.encode(frame))
                number += 1
            before = shot[-1]
        container.mux(stream.encode())
    return starts[1:]


def decode(path: Path) -> None:
    """Every frame, and nothing done with it."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for _ in container.decode(video=0):
            pass


def moments(path: Path, cut: str) -> None:
    """All moments of a video, preprocessed."""
    with MomentPool(Reading(workers=0), PIXELS, 12, Cutting(cut)) as pool:
        for part in pool.imap([str(path)]):
            assert part.error is None


def found(path: Path) -> list[float]:
    """Where shots begin."""
    detector, sign, cuts = ShotDetector(), Signer(), []
    with VideoFile(str(path), Clock(str(path), 600)) as file:
        for when, frame in file.frames():
            cuts += detector.push((when - file.origin) * file.tick, sign(frame))
    return cuts + detector.finish()


def main() -> None:
    """Make the videos, run all ways in turn, print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="less than a minute")
    small = parser.parse_args().small
    sizes = [(30, 320, 240)] if small else [(300, 320, 240), (120, 1280, 720)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        for seconds, width, height in sizes:
            make(path, seconds, width, height)
            ways: dict[str, Callable[[], None]] = {"bare decode": partial(decode, path)}
            ways |= {cut: partial(moments, path, cut) for cut in ("shots", "fixed", "whole")}
            seconds_of = turns(ways, rounds=2 if small else 3)
            took = medians(seconds_of)
            for name, value in took.items():
                ratio = value / took["bare decode"]
                print(f"{seconds:4} s {width}x{height}  {name:12} {value:7.2f} s  {ratio:5.2f} of a bare decode")
            for cut in ("shots", "fixed", "whole"):
                what = f"moments of {seconds} s, {width} x {height}, cut: {cut}"
                note = "the rival computes nothing with what it decodes"
                row(what, "PyAV, bare decode of every frame", seconds_of[cut], seconds_of["bare decode"], note=note)
        for how in TRANSITIONS:
            starts = make(path, 40 if small else 400, 320, 240, how)
            cuts = found(path)
            errors = [min((abs(cut - start) for cut in cuts), default=np.inf) for start in starts]
            near = 0.02 if how == "cut" else 0.5
            hit = [error for error in errors if error < near]
            false = sum(min(abs(cut - start) for start in starts) >= near for cut in cuts)
            off = float(np.median(hit)) if hit else np.nan
            print(f"{how:18} found {len(hit)} of {len(starts)}, median {off:.2f} s off, {false} false")


if __name__ == "__main__":
    main()

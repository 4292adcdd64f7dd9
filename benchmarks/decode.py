"""Clips a second, from file to preprocessed frames: tvrkit's readers against decord, PyAV and OpenCV used plainly.

A clip is 12 uniform frames, each resized, cropped to 224 px and normalised as open_clip does it, out of a video made on
the spot. tvrkit's workers hand over 8-bit pixels, which are normalised here as in training; `kept frames` are those of
`data.cache_frames`. OpenCV as CLIP4Clip uses it takes a frame each second, preprocesses all, and picks 12 of them.

All ways run in turn, several rounds in one process, so that a busy machine is as unfair to one as to another; the
table gives medians, and the ratio to decord used plainly. A way that takes a minute for its first clip is not called
again.

    python benchmarks/decode.py            # 10 s, 60 s and 10 min; takes a quarter of an hour
    python benchmarks/decode.py --small    # 10 s and 20 s; less than a minute
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageFilter
from timing import row, skipped

from tvrkit.core.normalise import Normalise
from tvrkit.frames import av_reader
from tvrkit.frames.cache import PixelCache
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.preprocess import PlainTransform, ResizeCrop
from tvrkit.frames.reader import FrameRequest

FRAMES = 12
FPS = 25
TRANSFORM = PlainTransform(
    ResizeCrop(224, int(Image.Resampling.BICUBIC), (224, 224)), (0.481, 0.458, 0.408), (0.269, 0.261, 0.276)
)
NORMALISE = Normalise(TRANSFORM.mean, TRANSFORM.std)
BASE = "decord, plainly"
MADE_SECONDS = 60
"""A longer video repeats its first minute."""
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Video:
    """A file to be made: `clips` is how often it is read in one measurement."""

    name: str
    seconds: int
    size: tuple[int, int]
    gop: int
    clips: int


FULL = (
    Video("10 s 320x240", 10, (320, 240), 250, 8),
    Video("60 s 1280x720", 60, (1280, 720), 250, 2),
    Video("60 s 1280x720, keyframe each 15", 60, (1280, 720), 15, 4),
    Video("10 min 640x480", 600, (640, 480), 250, 2),
)
SMALL = (
    Video("10 s 320x240", 10, (320, 240), 250, 8),
    Video("20 s 640x480", 20, (640, 480), 250, 4),
)


def make(video: Video, folder: Path) -> Path:
    """A camera that wanders over a large picture, with grain, as H.264 with B-frames."""
    random = np.random.default_rng(0)
    width, height = video.size
    coarse = random.integers(0, 256, (height // 8 + 64, width // 8 + 64, 3), np.uint8)
    scene = np.asarray(
        Image.fromarray(coarse)
        .resize((width + 512, height + 512), Image.Resampling.BICUBIC)
        .filter(ImageFilter.SHARPEN)
    ).astype(np.int16)
    grain = random.integers(-6, 7, (height + 64, width + 64, 1), np.int16)
    path = folder / f"{video.seconds}_{width}_{video.gop}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "g": str(video.gop), "crf": "26"}
        packets = []
        for number in range(min(video.seconds, MADE_SECONDS) * FPS):
            x = int(256 + 250 * np.sin(number / 97))
            y = int(256 + 250 * np.cos(number / 61))
            gx, gy = random.integers(0, 64, 2)
            picture = scene[y : y + height, x : x + width] + grain[gy : gy + height, gx : gx + width]
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            packets += stream.encode(frame)
        packets += stream.encode()
        for packet in packets:
            packet.stream = stream
        ticks = round(MADE_SECONDS / (packets[0].time_base or Fraction(1, FPS)))
        for _ in range(max(1, video.seconds // MADE_SECONDS)):
            for packet in packets:
                # Muxing changes the times of what it is given to those of the container.
                times = packet.pts, packet.dts, packet.time_base, packet.duration
                container.mux(packet)
                packet.pts, packet.dts, packet.time_base, packet.duration = times
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return path


def middles(num_frames: int) -> list[int]:
    """Frame numbers of the middles of 12 equal segments."""
    return [int((i + 0.5) * num_frames / FRAMES) for i in range(FRAMES)]


def preprocess(images: list[np.ndarray]) -> np.ndarray:
    """What every way does with its frames."""
    return np.stack([TRANSFORM(Image.fromarray(image)) for image in images])


def in_this_process(path: Path) -> np.ndarray:
    """tvrkit's PyAV reader without a pool."""
    request = FrameRequest(str(path), FRAMES)
    return np.stack(av_reader.read(request, lambda pixels: TRANSFORM(Image.fromarray(pixels)), 600).images)


def plain_pyav(path: Path) -> np.ndarray:
    """Decode everything, keep what is wanted."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        wanted = set(middles(stream.frames))
        frames = enumerate(container.decode(stream))
        return preprocess([frame.to_ndarray(format="rgb24") for i, frame in frames if i in wanted])


def plain_decord(path: Path) -> np.ndarray:
    """As its README shows it."""
    import decord

    video = decord.VideoReader(str(path), ctx=decord.cpu(0))
    return preprocess(list(video.get_batch(middles(len(video))).asnumpy()))


def opencv_as_clip4clip(path: Path) -> np.ndarray:
    """A seek and a frame for each second of the file, all preprocessed; then 12 of them."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    images = []
    for second in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT) / fps)):
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(second * fps))
        images.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    frames = preprocess(images)
    return frames[np.linspace(0, len(frames) - 1, min(FRAMES, len(frames)), dtype=int)]


def plain_opencv(path: Path) -> np.ndarray:
    """A seek for each frame."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    images = []
    for number in middles(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        images.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return preprocess(images)


def installed(module: str) -> bool:
    """Whether an optional reader can be imported."""
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def in_turn(read: Callable[[Path], np.ndarray]) -> Callable[[Path, int], int]:
    """A plain way, called again and again; it gives the number of frames of the last clip."""

    def run(path: Path, clips: int) -> int:
        for _ in range(clips):
            last = read(path)
        return len(last)

    return run


def in_pool(pool: DecodePool) -> Callable[[Path, int], int]:
    """A pool, given all clips at once."""

    def run(path: Path, clips: int) -> int:
        for decoded in pool.imap([FrameRequest(str(path), FRAMES)] * clips):
            if decoded.error is not None:
                raise decoded.error
            NORMALISE(torch.from_numpy(decoded.frames))
        return len(decoded.frames)

    return run


def ways(stack: ExitStack) -> dict[str, Callable[[Path, int], int]]:
    """Every way that this machine has, by the words of the table."""
    found: dict[str, Callable[[Path, int], int]] = {"tvrkit av, no worker": in_turn(in_this_process)}
    readers = ["av", "decord"] if installed("decord") else ["av"]
    for reader in readers:
        for workers in (1, 2):
            pool = stack.enter_context(DecodePool(workers, TRANSFORM.pixels, reader=reader, timeout_seconds=600))
            found[f"tvrkit {reader}, {workers} worker{'s' * (workers > 1)}"] = in_pool(pool)
    cache = PixelCache(Path(stack.enter_context(tempfile.TemporaryDirectory())), "benchmark")
    pool = stack.enter_context(DecodePool(1, TRANSFORM.pixels, timeout_seconds=600, cache=cache))
    found["tvrkit, kept frames"] = in_pool(pool)
    if installed("decord"):
        found[BASE] = in_turn(plain_decord)
    found["PyAV, full decode"] = in_turn(plain_pyav)
    if installed("cv2"):
        found["OpenCV, seek each"] = in_turn(plain_opencv)
        found["OpenCV, as CLIP4Clip"] = in_turn(opencv_as_clip4clip)
    return found


@dataclass(frozen=True)
class Speed:
    """One measurement: clips a second, and seconds of CPU a clip of this process with its threads."""

    clips: float
    cpu: float


def measure(video: Video, path: Path, rounds: int) -> dict[str, list[Speed]]:
    """What every way does, one number a round; the first calls, which start workers, count for the slowest only."""
    with ExitStack() as stack:
        every = ways(stack)
        speeds: dict[str, list[Speed]] = {name: [] for name in every}
        slow = set()
        for name, run in every.items():
            started, clips = time.perf_counter(), 2 if "workers" in name else 1
            frames = run(path, clips)
            if frames != min(FRAMES, video.seconds if "CLIP4Clip" in name else FRAMES):
                raise SystemExit(f"{name} gave {frames} frames of {video.name}")
            wall = time.perf_counter() - started
            print(f"  first calls, {name}: {wall:.2f} s", flush=True)
            if wall > PATIENCE_SECONDS:
                slow.add(name)
                speeds[name].append(Speed(clips / wall, float("nan")))
        for _ in range(rounds):
            for name, run in every.items():
                if name in slow:
                    continue
                started, cpu = time.perf_counter(), time.process_time()
                run(path, video.clips)
                wall = time.perf_counter() - started
                speeds[name].append(Speed(video.clips / wall, (time.process_time() - cpu) / video.clips))
    return speeds


def report(what: str, clips: dict[str, list[float]]) -> None:
    """Rows for results.py: each of tvrkit's ways against each plain one, but for those measured once only."""
    most = max(map(len, clips.values()))
    seconds = {name: [1 / value for value in values] for name, values in clips.items() if len(values) == most}
    for name in (name for name in seconds if name.startswith("tvrkit")):
        for rival in (rival for rival in seconds if not rival.startswith("tvrkit")):
            row(f"a clip of {what}: {name.removeprefix('tvrkit').strip(', ')}", rival, seconds[name], seconds[rival])
    for module, package in (("decord", "decord"), ("cv2", "opencv-python-headless")):
        if not installed(module):
            skipped(f"{what}: {package}", f"it is not installed (pip install {package})")


def main(arguments: list[str] | None = None) -> None:
    """Make the files, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="two short files, for a quick look")
    parser.add_argument("--rounds", type=int, default=None, help="measurements of each way (default 5; 3 if small)")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (3 if options.small else 5)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for video in SMALL if options.small else FULL:
            path = make(video, Path(folder))
            print(f"{video.name}, H.264, {path.stat().st_size / 1e6:.1f} MB, {rounds} rounds of {video.clips} clips")
            speeds = measure(video, path, rounds)
            clips = {name: [speed.clips for speed in some] for name, some in speeds.items()}
            base = statistics.median(clips.get(BASE) or clips["PyAV, full decode"])
            for name, values in clips.items():
                middle = statistics.median(values)
                spread = f"{min(values):.2f}-{max(values):.2f}"
                cpu = statistics.median(speed.cpu for speed in speeds[name])
                # A pool's work is done in other processes.
                words = "" if "tvrkit" in name and "no worker" not in name else f"  {cpu:.3f} CPU s a clip"
                print(f"  {name:24}{middle:9.2f} clips/s  ({spread:>13}){middle / base:7.2f} x{words}", flush=True)
            report(video.name, clips)


if __name__ == "__main__":
    main()

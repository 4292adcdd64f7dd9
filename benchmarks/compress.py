"""What `--compress` costs and saves: making small copies, their size, and reading 12 frames out of them.

Sources are made on the spot (or taken from a folder), copied by tvrkit with one and with two processes, and by the
ffmpeg command, where there is one, with the same settings, one file after the other. Reading takes turns between
originals and copies, several rounds in one process.

    python benchmarks/compress.py                  # 30 s and 3 min of video; takes some minutes
    python benchmarks/compress.py --small          # 10 s; about a minute
    python benchmarks/compress.py --videos FOLDER  # your own
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from decode import Video, make
from timing import medians, row, skipped, turns

from tvrkit.frames import av_reader
from tvrkit.frames.identity import find_videos
from tvrkit.frames.reader import FrameRequest
from tvrkit.frames.transcode import ENCODER
from tvrkit.prepare.compress import compress_all
from tvrkit.reporting import Silent

FULL = (
    Video("30 s 640x480", 30, (640, 480), 250, 1),
    Video("30 s 1280x720", 30, (1280, 720), 250, 1),
    Video("3 min 480x360", 180, (480, 360), 250, 1),
)
SMALL = (Video("10 s 320x240", 10, (320, 240), 250, 1), Video("10 s 640x480", 10, (640, 480), 250, 1))


def by_tvrkit(sources: Sequence[Path], folder: Path, workers: int) -> dict[Path, Path]:
    """Copies made from nothing, and the file to be read for each source."""
    shutil.rmtree(folder, ignore_errors=True)
    jobs = [(source, folder / f"{number}.mp4") for number, source in enumerate(sources)]
    made = compress_all(jobs, workers=workers, timeout_seconds=600, watcher=Silent())
    if made.failures:
        raise SystemExit(f"no copy of {made.failures}")
    return made.done


def by_ffmpeg(sources: Sequence[Path], folder: Path) -> int:
    """The same by the command, which has no notion of the middle of a third of a second; bytes."""
    folder.mkdir(exist_ok=True)
    encoder = [word for key, value in ENCODER.items() for word in (f"-{key}", value)]
    scale = "fps=3,scale='if(gt(iw,ih),-2,min(224,iw))':'if(gt(iw,ih),min(224,ih),-2)'"
    size = 0
    for number, source in enumerate(sources):
        copy = folder / f"{number}.mp4"
        command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-threads", "1", "-i", source]
        command += ["-an", "-vf", scale, "-pix_fmt", "yuv420p", "-c:v", "libx264", *encoder, copy]
        subprocess.run(command, check=True)
        size += copy.stat().st_size
    return size


def reading(paths: Sequence[Path], times: int) -> Callable[[], None]:
    """12 uniform frames of each, as pixels, `times` times."""

    def run() -> None:
        for path in list(paths) * times:
            av_reader.read(FrameRequest(str(path)), lambda pixels: pixels, 600)

    return run


def measure(name: str, sources: Sequence[Path], folder: Path, rounds: int, clips: int) -> None:
    """One table."""
    before = sum(source.stat().st_size for source in sources)
    print(f"{name}: {len(sources)} files, {before / 1e6:.2f} MB, {rounds} rounds")
    ways: dict[str, Callable[[], object]] = {
        f"tvrkit, {workers} process{'es' * (workers > 1)}": lambda w=workers: by_tvrkit(sources, folder / "copies", w)
        for workers in (1, 2)
    }
    if shutil.which("ffmpeg"):
        ways["ffmpeg, one at a time"] = lambda: by_ffmpeg(sources, folder / "by_ffmpeg")
    else:
        skipped(f"{name}: ffmpeg", "there is no ffmpeg on the PATH")
    seconds = turns(ways, rounds)
    taken = medians(seconds)
    base = taken.get("ffmpeg, one at a time", next(iter(taken.values())))
    for way, spent in taken.items():
        print(f"  copy, {way:24}{len(sources) / spent:8.2f} files/s{base / spent:8.2f} x")
        if way.startswith("tvrkit") and "ffmpeg, one at a time" in taken:
            case = f"small copies of {len(sources)} files, {name}: {way.removeprefix('tvrkit, ')}"
            row(case, "ffmpeg, the same settings, one at a time", seconds[way], seconds["ffmpeg, one at a time"])
    done = by_tvrkit(sources, folder / "copies", 2)
    after = sum(path.stat().st_size for path in done.values())
    own = sum(source == path for source, path in done.items())
    print(f"  size {before / 1e6:.2f} -> {after / 1e6:.2f} MB, {before / after:.1f} x smaller; {own} read as they are")
    both = turns({"originals": reading(sources, clips), "copies": reading(list(done.values()), clips)}, rounds)
    read = medians(both)
    note = f"{own} of {len(sources)} are read as they are: a copy would be no smaller" if own else ""
    row(f"reading 12 frames of {name}: copies", "reading the originals", both["copies"], both["originals"], note=note)
    ratio = read["originals"] / read["copies"]
    for which, spent in read.items():
        print(f"  read 12 frames, {which:14}{len(sources) * clips / spent:8.2f} clips/s")
    print(f"  reading copies is {ratio:.1f} x as fast")


def main(arguments: list[str] | None = None) -> None:
    """Make the files, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="two short files, for a quick look")
    parser.add_argument("--videos", type=Path, help="a folder of videos in place of made ones")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each way")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if options.videos:
            measure(str(options.videos), find_videos(options.videos), Path(folder), options.rounds, 1)
            return
        for video in SMALL if options.small else FULL:
            source = make(video, Path(folder))
            copies = [Path(shutil.copy(source, source.with_stem(f"{source.stem}_{i}"))) for i in range(7)]
            measure(video.name, [source, *copies], Path(folder), options.rounds, 2)


if __name__ == "__main__":
    main()

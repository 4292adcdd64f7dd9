"""How far the marks of `tvrkit similar` can be trusted: copies of real clips, made with ffmpeg, found again.

Each clip is encoded anew (crf 36), halved in size, cut to the middle 70 %, cut to 40 % out of its second half, and
letterboxed. All is indexed with each model, and every two videos are compared. A copy is found where its similarity to
its clip reaches the threshold; a pair out of two different clips that reaches it is false, and the precision is that of
all pairs, copies of one clip among themselves too. Apart: pairs that `--duplicates` does not join into a group all the
same, since it looks only at those whose means are alike. No times are taken, so `make bench` leaves it out.

    python benchmarks/copies.py CLIPS --model runs/mine --model shapes/shapes --model random:shapes
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import torch

from tvrkit.cli.opening import load, open_with, update_index
from tvrkit.config import ModelConfig
from tvrkit.core import build_model
from tvrkit.frames.identity import find_videos
from tvrkit.frames.reader import probe
from tvrkit.frames.reading import Reading
from tvrkit.index.similar import common_part, frames_of, near_duplicates, similarity, without

EVEN = "scale=trunc(iw/2)*2:trunc(ih/2)*2"
COPIES: dict[str, tuple[str, ...]] = {
    "re-encoded": ("-vf", EVEN, "-crf", "36"),
    "halved": ("-vf", "scale=trunc(iw/4)*2:trunc(ih/4)*2"),
    "cut to 70 %": ("-vf", EVEN),
    "cut to 40 %": ("-vf", EVEN),
    "letterboxed": ("-vf", f"{EVEN},pad=iw:trunc(ih*2/3)*2:0:(oh-ih)/2"),
}
CUTS = {"cut to 70 %": (0.15, 0.7), "cut to 40 %": (0.55, 0.4)}
"""Where the copy starts and how long it is, as parts of the clip."""
RANDOM = "random:"

Compared = list[tuple[str, str, float]]


def make_copies(clip: Path, number: int, folder: Path) -> None:
    """The clip itself and its five copies, as NUMBER-KIND."""
    shutil.copy(clip, folder / f"{number}-clip{clip.suffix}")
    seconds = probe(str(clip)).duration_seconds
    for kind, how in COPIES.items():
        cut: tuple[str, ...] = ()
        if kind in CUTS:
            start, length = (part * seconds for part in CUTS[kind])
            cut = ("-ss", f"{start:.3f}", "-t", f"{length:.3f}")
        encode = ("-an", "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", *how)
        copy = str(folder / f"{number}-{kind}.mp4")
        # Cut behind -i: a jump into a clip may land where nothing can be decoded, and the copy would be rubbish.
        subprocess.run(("ffmpeg", "-loglevel", "fatal", "-nostdin", "-i", str(clip), *cut, *encode, copy), check=True)


def compare(folder: Path, name: str, index: Path, thresholds: list[float]) -> tuple[Compared, list[int]]:
    """Every two videos with their similarity, and for each threshold how many pairs above it no group joins."""
    if name.startswith(RANDOM):
        torch.manual_seed(0)
        model, source = build_model(ModelConfig(backbone=name.removeprefix(RANDOM), pretrained=None)), name
    else:
        model, source = load(name, "cpu")
    with open_with(model, source, str(index), create=True) as opened:
        update_index(opened, [str(folder)], reading=Reading())
        engine = opened.engine
        facts, common = engine.facts(), common_part(model, engine)
        frames = {
            Path(path).stem: without(common, found)
            for one, found in frames_of(engine, facts)
            for path in facts[one].paths
        }
        compared = [(a, b, similarity(frames[a], frames[b])) for a, b in combinations(sorted(frames), 2)]
        apart = []
        for threshold in thresholds:
            groups = near_duplicates(engine, common, threshold=threshold)
            paths = [{path for one in group for path in one.facts.paths} for group in groups]
            group_of = {Path(path).stem: number for number, those in enumerate(paths) for path in those}
            above = [(a, b) for a, b, score in compared if score >= threshold]
            apart.append(sum(a not in group_of or group_of[a] != group_of.get(b) for a, b in above))
    return compared, apart


def row(compared: Compared, threshold: float, clips: int) -> list[str]:
    """Share of each kind of copy found, false pairs, and the precision of all pairs."""
    found, true, false, different = dict.fromkeys(COPIES, 0), 0, 0, 0
    for a, b, score in compared:
        (clip, kind), (other, other_kind) = a.split("-", 1), b.split("-", 1)
        different += clip != other
        if score < threshold:
            continue
        if clip != other:
            false += 1
            continue
        true += 1
        if "clip" in (kind, other_kind):
            found[other_kind if kind == "clip" else kind] += 1
    shares = [f"{count / clips:.2f}" for count in found.values()]
    return [*shares, f"{false:,} of {different:,}", f"{true / (true + false):.2f}" if true + false else "-"]


def main() -> None:
    """Make the copies, and print a row for each model and threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS")
    parser.add_argument(
        "--model", action="append", required=True, help="as `tvrkit index` takes it, or random:BACKBONE; repeatable"
    )
    parser.add_argument("--clips", type=int, default=45, help="at most so many, evenly out of the folder's")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.75, 0.8, 0.9])
    options = parser.parse_args()
    clips = find_videos(options.folder)
    count = min(options.clips, len(clips))
    with tempfile.TemporaryDirectory(prefix="tvrkit-copies-") as scratch:
        folder = Path(scratch) / "videos"
        folder.mkdir()
        for number in range(count):
            make_copies(clips[number * len(clips) // count], number, folder)
        print(f"{count} of {len(clips)} clips\n")
        print("| " + " | ".join(["model", "threshold", *COPIES, "false pairs", "precision", "apart"]) + " |")
        print("|---" * (len(COPIES) + 5) + "|", flush=True)
        for number, model in enumerate(options.model):
            compared, apart = compare(folder, model, Path(scratch) / f"index{number}", options.thresholds)
            names = {name for a, b, _ in compared for name in (a, b)}
            if len(names) < count * (len(COPIES) + 1):
                print(f"{model}: only {len(names)} videos could be compared.", file=sys.stderr)
            for threshold, lost in zip(options.thresholds, apart, strict=True):
                cells = [model, f"{threshold:g}", *row(compared, threshold, count), str(lost)]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

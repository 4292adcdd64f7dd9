"""The page of results.py: what was measured, on what, and what was not."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "tvrkit", "torch", "torchvision", "open_clip_torch", "transformers", "numpy", "pillow", "av", "decord",
    "opencv-python-headless", "lancedb", "qdrant-client", "qdrant-edge-py", "faiss-cpu", "rclip", "clip-retrieval",
)  # fmt: skip
HEAD = """# Speed, side by side

Written by `{command}`; `make bench` writes it anew.
Each line is one piece of work done by tvrkit and by a named rival, in the same minutes on the same machine: they take
turns, and the numbers are medians. **Times as fast** is the rival's time over tvrkit's: 2.00 is half the time, 0.50 is
twice the time, a loss. Beside it stand the least and the greatest ratio of one turn. Read ratios; absolute times are
this machine's.
"""


@dataclass(frozen=True)
class Run:
    """One script's run.

    Attributes:
        title: what the script says of itself.
        load: before and after.
        rows: its lines, see timing.py.
        failure: empty, or why there is nothing more.
        gpu: whether it was told to use one.
    """

    title: str
    command: str
    seconds: float
    load: tuple[float, float]
    rows: list[dict[str, Any]]
    failure: str = ""
    gpu: bool = False


def read_rows(path: Path) -> list[dict[str, Any]]:
    """What a script wrote; nothing where it wrote nothing."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def page(runs: Sequence[Run], command: str, load: tuple[float, float], commit: str) -> str:
    """Markdown; `commit` is what `commit_now` gave before the first run."""
    parts = [HEAD.format(command=command), _machine(load, sum(run.seconds for run in runs), commit), _versions()]
    failed = [run for run in runs if run.failure]
    if failed:
        lines = "\n".join(f"- `{run.command}`: {_cell(run.failure)}" for run in failed)
        parts.append(f"## Failed\n\n{lines}\n")
    parts += map(_section, runs)
    if not any(run.gpu for run in runs):
        parts.append("## GPU\n\nThis machine has none that torch can use: every number is a CPU's.\n")
    left = [(run, row) for run in runs for row in run.rows if "skipped" in row]
    if left:
        lines = "\n".join(f"- {row['what']}: {_cell(row['skipped'])} (`{run.command}`)" for run, row in left)
        parts.append(f"## Left out\n\n{lines}\n")
    return "\n".join(parts)


def _machine(load: tuple[float, float], seconds: float, commit: str) -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    busy = " **The machine was busy with other work: to be run again.**" if load[0] > 0.5 * (cores or 1) else ""
    threads = os.environ.get("OMP_NUM_THREADS")
    lines = {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, {seconds / 60:.1f} minutes in all",
        "commit": commit if commit == commit_now() else f"{commit}; the code changed while this ran",
        "machine": f"{cores} cores, {_processor()}, {_memory()}; {platform.system()} {platform.machine()}",
        "load": f"{load[0]:.1f} before, {load[1]:.1f} after.{busy}",
        "threads": f"OMP_NUM_THREADS={threads}" if threads else "as torch chooses, where a script sets nothing else",
    }
    gpus = _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    lines |= {"GPU": gpus.replace("\n", ", ")} if gpus else {}
    return "## Machine\n\n| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in lines.items())


def commit_now() -> str:
    """The code that is measured."""
    here = Path(__file__).resolve().parent
    commit = _said("git", "-C", str(here), "rev-parse", "--short=12", "HEAD")
    if not commit:
        return "not a git checkout"
    # The page itself is no part of what was measured.
    changed = _said("git", "-C", str(here.parent), "status", "--porcelain", "--", "tvrkit", "benchmarks/*.py")
    return f"`{commit}`" + (", with changes to code that are not in it" if changed else "")


def _said(*command: str) -> str:
    """What a program prints; empty where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    found = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in _lines(found) if line.startswith("model name")]
    return names[0] if names else platform.processor() or "a processor without a name"


def _memory() -> str:
    totals = [int(line.split()[1]) for line in _lines(Path("/proc/meminfo")) if line.startswith("MemTotal")]
    return f"{totals[0] / 2**20:.0f} GB" if totals else "memory not known"


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _versions() -> str:
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if words := _said("ffmpeg", "-version").split():
        found["ffmpeg"] = words[2]
    for program in ("rclip", "clip-retrieval"):  # it may have an environment of its own
        if program not in found and (said := _said(program, "--version")):
            found[program] = said.split()[-1]
    return "Versions: " + ", ".join(f"{name} {version}" for name, version in found.items()) + ".\n"


def _section(run: Run) -> str:
    lines = [f"## {run.title}" + (" (GPU)" if run.gpu else ""), ""]
    busy = f"load {run.load[0]:.1f} before, {run.load[1]:.1f} after"
    lines += [
        f"`{run.command}`, {run.seconds:.0f} s, {busy}" + (f"; it failed: {_cell(run.failure)}" * bool(run.failure)),
        "",
    ]
    rows = [row for row in run.rows if "ratio" in row]
    if not rows:
        return "\n".join([*lines, "No ratio.", ""])
    on_gpu = any(row["gpu"] for row in rows)
    more = " MFU | peak GB |" if on_gpu else ""
    lines += [f"| work | tvrkit | rival | its time | times as fast | notes |{more}"]
    lines += ["|---|--:|---|--:|--:|---|" + ("--:|--:|" if on_gpu else "")]
    return "\n".join([*lines, *_table(rows, on_gpu), ""])


def _table(rows: Sequence[Mapping[str, Any]], on_gpu: bool) -> Iterator[str]:
    for row in rows:
        spread = f" ({row['low']:.2f}-{row['high']:.2f}, {row['turns']} turns)" if row["turns"] > 1 else " (one turn)"
        cells = [row["what"], _time(row["ours"]), row["rival"], _time(row["theirs"]), f"{row['ratio']:.2f}{spread}"]
        cells.append(row["note"])
        if on_gpu:
            mfu, peak = row["gpu"].get("mfu"), row["gpu"].get("gigabytes")
            cells += ["" if mfu is None else f"{mfu:.1f} %", "" if peak is None else f"{peak:.1f}"]
        yield f"| {' | '.join(map(_cell, cells))} |"


def _time(seconds: float) -> str:
    """Three figures."""
    value, unit = (seconds, "s") if seconds >= 1 else (seconds * 1e3, "ms")
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{min(digits, 3)}f} {unit}"


def _cell(words: str) -> str:
    """Of a table: one line, without the sign between cells."""
    return " ".join(words.split()).replace("|", "/")

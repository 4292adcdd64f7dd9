"""Everything under benchmarks/, one process a script, and the page RESULTS.md of what they measured.

Each script prints its table; the ratios on the page are the lines that it writes through timing.py. A script that fails
is named on the page with its last line, and so is what was left out; after a failure the exit status is 1. Where there
is a GPU, the training step and encoding run once more on it, at the size of the paper.

    python benchmarks/results.py --small               # `make bench`: ten minutes
    python benchmarks/results.py                       # full sizes: hours
    python benchmarks/results.py --only start kernel   # some scripts, to look at; writes benchmarks/out/RESULTS.md
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from results_page import Run, commit_now, page, read_rows

HERE = Path(__file__).resolve().parent
OWN = ("results", "parity", "copies")
"""What does not run here: this, and what compares numbers and no times (docs/parity.md, docs/curating.md)."""
ORDER = ("decode", "encode", "train_step", "partial", "evaluation", "similarity", "kernel", "search", "stores", "start")
"""The first on the page; the others follow by name."""
ON_GPU = (
    ("train_step", ("--backbone", "ViT-B-32", "--batch", "128", "--frames", "12")),
    ("encode", ()),
)
LIMIT_SECONDS = {True: 600.0, False: 4 * 3600.0}


@dataclass
class Job:
    """A script and its arguments."""

    script: Path
    arguments: list[str] = field(default_factory=list)
    gpu: bool = False

    @property
    def command(self) -> str:
        return shlex.join(["python", f"{self.script.parent.name}/{self.script.name}", *self.arguments])

    @property
    def title(self) -> str:
        doc = ast.get_docstring(ast.parse(self.script.read_text(encoding="utf-8"))) or self.script.stem
        return " ".join(doc.split("\n\n")[0].split()).rstrip(".")


def jobs(folder: Path, only: Sequence[str], *, small: bool, gpu: bool) -> Iterator[Job]:
    """Scripts that can be run, the ones of ORDER first.

    Raises:
        SystemExit: there is no script of a name in `only`.
    """
    texts = {path.stem: (path, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.py"))}
    runnable = {name: both for name, both in texts.items() if "__main__" in both[1] and not name.startswith(OWN)}
    if unknown := set(only) - runnable.keys():
        raise SystemExit(f"There is no benchmark {', '.join(sorted(unknown))} in {folder.name}/: {', '.join(runnable)}")
    names = [name for name in ORDER if name in runnable] + [name for name in runnable if name not in ORDER]
    for name in (name for name in names if not only or name in only):
        path, text = runnable[name]
        arguments = ["--small"] if small and '"--small"' in text else []
        if '"--device"' in text:
            arguments += ["--device", "cpu"]
        yield Job(path, arguments)
    for name, words in ON_GPU if gpu else ():
        if name in runnable and (not only or name in only):
            yield Job(runnable[name][0], [*words, "--device", "cuda"], gpu=True)


def run(job: Job, rows: Path, limit: float) -> Run:
    """The script's output passes through; it is ended when it takes longer than `limit` seconds."""
    environment = {**os.environ, "TVRKIT_BENCH_ROWS": str(rows), "PYTHONUNBUFFERED": "1"}
    environment |= {} if job.gpu else {"CUDA_VISIBLE_DEVICES": ""}
    print(f"\n== {job.command}", flush=True)
    before, started, last, late = load(), time.monotonic(), "it printed nothing", False
    process = subprocess.Popen(
        [sys.executable, job.script, *job.arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment,
        cwd=job.script.parent.parent,
    )  # fmt: skip

    def end() -> None:
        nonlocal late
        late = True
        process.kill()

    timer = threading.Timer(limit, end)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
        code = process.wait()
    finally:
        timer.cancel()
        process.kill()
    failure = f"it took longer than {limit:.0f} s" if late else f"exit status {code}: {last}" if code else ""
    seconds = time.monotonic() - started
    return Run(job.title, job.command, seconds, (before, load()), read_rows(rows), failure, job.gpu)


def load() -> float:
    """Processes that wanted a core in the last minute, or nan where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def has_gpu() -> bool:
    """Whether torch finds one, asked in another process: this one shall hold no memory of it."""
    if shutil.which("nvidia-smi") is None:
        return False
    code = "import torch; raise SystemExit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="each script at its small size")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these scripts")
    parser.add_argument("--out", type=Path, help="the page (default: RESULTS.md; with --only, out/RESULTS.md)")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the scripts are")
    parser.add_argument("--limit", type=float, help="seconds for one script (default: 600 if small, else 4 hours)")
    options = parser.parse_args(arguments)
    out = options.out or (HERE / "out" / "RESULTS.md" if options.only else HERE / "RESULTS.md")
    given = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "benchmarks/results.py", *map(str, given)])
    before, gpu, commit = load(), has_gpu(), commit_now()
    limit, runs = options.limit or LIMIT_SECONDS[options.small], []
    with tempfile.TemporaryDirectory(prefix="tvrkit-bench-") as scratch:
        for number, job in enumerate(jobs(options.folder.resolve(), options.only, small=options.small, gpu=gpu)):
            runs.append(run(job, Path(scratch) / f"{number}.jsonl", limit))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page(runs, command, (before, load()), commit), encoding="utf-8")
    print(f"\nWrote {re.sub(f'^{re.escape(str(HERE.parent))}/', '', str(out))}.")
    failed = [one for one in runs if one.failure]
    for one in failed:
        print(f"FAILED {one.command}: {one.failure}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

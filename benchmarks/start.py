"""Start-up: how long until a command answers that has nothing to compute.

The help pages of `tvrkit` and of a command, against what a program waits for that imports its model library first, and
against other programs' help where they are on the PATH. `python -c pass` is the floor: nothing in Python is faster.
All take turns, each a fresh process.

    python benchmarks/start.py            # 15 rounds
    python benchmarks/start.py --small    # 5 rounds
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

from timing import medians, row, skipped, turns

PYTHON = sys.executable
OURS = {
    "tvrkit --help": (PYTHON, "-m", "tvrkit", "--help"),
    "tvrkit query --help": (PYTHON, "-m", "tvrkit", "query", "--help"),
}
RIVALS = {
    "python -c pass": (PYTHON, "-c", "pass"),
    'python -c "import torch"': (PYTHON, "-c", "import torch"),
    'python -c "import open_clip"': (PYTHON, "-c", "import open_clip"),
}
PROGRAMS = {"rclip": ("rclip", "--help"), "clip-retrieval": ("clip-retrieval", "--help")}


def fresh(command: Sequence[str]) -> Callable[[], object]:
    """A process of its own, which must succeed."""
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="5 rounds")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    commands: dict[str, Sequence[str]] = {**OURS, **RIVALS}
    for name, command in PROGRAMS.items():
        if shutil.which(command[0]):
            commands[" ".join(command)] = command
        else:
            skipped(f"{name} --help", f"{name} is not on the PATH (pip install {name})")
    ways = {name: fresh(command) for name, command in commands.items()}
    seconds = turns(ways, options.rounds or (5 if options.small else 15))
    middle = medians(seconds)
    base = middle["tvrkit query --help"]
    for name, value in middle.items():
        print(f"{name:32}{value:8.3f} s{value / base:8.2f} x of tvrkit query --help")
    for ours in OURS:
        for name in (name for name in commands if name not in OURS):
            row(ours, name, seconds[ours], seconds[name])


if __name__ == "__main__":
    main()

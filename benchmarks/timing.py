"""Fair timing on a shared machine: what is compared takes turns in one process, and medians are reported.

`row` and `skipped` also write their line to the file that $TVRKIT_BENCH_ROWS names, for results.py; alone, a script
prints its table and nothing else.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # The profiler talks otherwise.

ROWS = "TVRKIT_BENCH_ROWS"


def turns(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call of each function, called in turn `rounds` times after one call to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median seconds of each function."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def alternate(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each function, called in turn `rounds` times after one call to warm up."""
    return medians(turns(functions, rounds))


def row(
    what: str,
    rival: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    note: str = "",
    gpu: Mapping[str, object] | None = None,
) -> None:
    """One line of RESULTS.md: seconds of the same work, ours and a rival's, one value for each turn.

    The ratio is theirs / ours, of the medians: above 1, tvrkit is that many times as fast. Its spread is the least and
    the greatest ratio of one turn. `gpu`: device, mfu (per cent), gigabytes, where this ran on one.
    """
    each = [b / a for a, b in zip(ours, theirs, strict=True)]
    a, b = statistics.median(ours), statistics.median(theirs)
    line = {"what": what, "rival": rival, "ours": a, "theirs": b, "ratio": b / a, "low": min(each), "high": max(each)}
    _write({**line, "turns": len(each), "note": note, "gpu": dict(gpu or {})})


def skipped(what: str, reason: str) -> None:
    """A rival or a part that was left out, and why."""
    print(f"left out: {what}: {reason}")
    _write({"what": what, "skipped": reason})


def _write(line: Mapping[str, object]) -> None:
    if name := os.environ.get(ROWS):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def peak_bytes(function: Callable[[], object]) -> int:
    """Most bytes of tensors that a call holds at once beyond what was there before, on the CPU."""
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    held = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak

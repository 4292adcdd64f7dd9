"""Fair timing on a shared machine: what is compared takes turns in one process, and medians are reported."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # The profiler talks otherwise.

import torch  # noqa: E402


def alternate(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each function, called in turn `rounds` times after one call to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_bytes(function: Callable[[], object]) -> int:
    """Most bytes of tensors that a call holds at once beyond what was there before, on the CPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    held = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak

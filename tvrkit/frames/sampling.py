"""Which timestamps of a video are looked at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tvrkit.errors import ConfigError, VideoError
from tvrkit.frames.request import FrameRequest


def sample_timestamps(
    duration_seconds: float,
    num_frames: int,
    sampling: str = "uniform",
    *,
    start_seconds: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """Timestamps inside `[start_seconds, start_seconds + duration_seconds)`, ascending.

    - `uniform`: the middles of `num_frames` equal segments, start + (i + .5) * duration / n.
    - `head`: the middle of each second from the start on, as many as fit, at least one.
    - `random`: one point drawn evenly from each of `num_frames` equal segments.

    Args:
        duration_seconds: length of what is sampled, > 0.
        num_frames: how many, >= 1; `head` may give fewer.
        sampling: one of the three words.
        start_seconds: where what is sampled starts.
        seed: decides what `random` draws; the same seed draws the same.

    Returns:
        (n,) float64, seconds, 1 <= n <= num_frames.

    Raises:
        ConfigError: another word, no frame asked for, or no length to sample from.
    """
    if sampling not in _POLICIES:
        raise ConfigError(f"sampling must be one of {', '.join(_POLICIES)}, not {sampling!r}.")
    if num_frames < 1:
        raise ConfigError(f"num_frames must be at least 1, not {num_frames}.")
    if not 0 < duration_seconds < float("inf"):
        raise ConfigError(f"a length of {duration_seconds} s cannot be sampled.")
    offsets = _POLICIES[sampling](duration_seconds, num_frames, seed)
    # Rounding must not push the last one past the end.
    return start_seconds + np.minimum(offsets, np.nextafter(duration_seconds, 0.0))


def request_timestamps(request: FrameRequest, duration_seconds: float) -> np.ndarray:
    """Timestamps for a request on a video that lasts `duration_seconds`, (n,) float64 seconds, ascending.

    Raises:
        VideoError: the span is empty or starts after the end of the video.
        ConfigError: as `sample_timestamps`.
    """
    start = request.start_seconds or 0.0
    end = duration_seconds if request.end_seconds is None else min(request.end_seconds, duration_seconds)
    if request.end_seconds is not None and request.end_seconds <= start:
        raise VideoError(request.path, f"the span {start:g} to {request.end_seconds:g} s is empty")
    if not 0 <= start < end:
        raise VideoError(
            request.path,
            f"a span that starts at {start:g} s is outside of the video, which lasts {duration_seconds:.2f} s",
        )
    return sample_timestamps(end - start, request.num_frames, request.sampling, start_seconds=start, seed=request.seed)


def _uniform(duration: float, num_frames: int, seed: int) -> np.ndarray:
    return (np.arange(num_frames) + 0.5) * (duration / num_frames)


def _head(duration: float, num_frames: int, seed: int) -> np.ndarray:
    middles = np.arange(num_frames) + 0.5
    fitting = middles[middles < duration]
    return fitting if len(fitting) else np.array([duration / 2])


def _random(duration: float, num_frames: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).random(num_frames)
    return (np.arange(num_frames) + drawn) * (duration / num_frames)


_POLICIES: dict[str, Callable[[float, int, int], np.ndarray]] = {
    "uniform": _uniform,
    "head": _head,
    "random": _random,
}

"""How a video is cut into moments, and what comes back of one: spans of time, and sampled frames of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvrkit.errors import ConfigError, VideoError

if TYPE_CHECKING:
    import numpy as np

CUTS = ("shots", "fixed", "whole")


@dataclass(frozen=True)
class Cutting:
    """How videos are cut.

    Attributes:
        cut: `shots` cuts where the picture changes at once, and a longer shot into windows; `fixed` cuts windows only,
            without looking at every frame; `whole` makes each video one moment.
        max_seconds: a video that is no longer is one moment, whatever `cut` says: the frames that evaluation samples
            of it. A longer shot becomes windows of this length.
        min_seconds: shorter shots are joined to a neighbour.
        overlap_seconds: what a window has in common with the next.
        fps: most frames a second that are sampled of a part of a longer video; `num_frames` is always the most.
    """

    cut: str = "shots"
    max_seconds: float = 20.0
    min_seconds: float = 2.0
    overlap_seconds: float = 2.0
    fps: float = 2.0

    def __post_init__(self) -> None:
        if self.cut not in CUTS:
            raise ConfigError(f"videos are cut by one of {', '.join(CUTS)}, not by {self.cut!r}.")
        if not 0 < self.min_seconds <= self.max_seconds < 1e6:
            raise ConfigError(
                f"a moment's length must be 0 < min <= max seconds, not {self.min_seconds} and {self.max_seconds}."
            )
        if not 0 <= self.overlap_seconds <= self.max_seconds / 2:
            raise ConfigError(f"windows overlap by 0 to half their length, not by {self.overlap_seconds} s.")
        if not 0 < self.fps <= 1000:
            raise ConfigError(f"frames a second must be above 0 and at most 1000, not {self.fps}.")


@dataclass(frozen=True)
class MomentRequest:
    """Moments of one video, from a time on.

    Attributes:
        path: the video file.
        num_frames: of a moment, at most.
        cutting: how it is cut.
        from_seconds: 0, or the `next_seconds` of the part before.
    """

    path: str
    num_frames: int
    cutting: Cutting = Cutting()
    from_seconds: float = 0.0


@dataclass(frozen=True)
class CutPart:
    """Consecutive moments of one video, in order of time: all of them, or as many as are held at once.

    Black and blank frames, and those that repeat the one before, are left out; a moment of nothing else is, too.

    Attributes:
        request: what was asked.
        spans: (M, 2) float64, start and end of each moment in seconds; M may be 0.
        counts: (M,) int64, frames of each, 1 to `num_frames`.
        frames: (N, ...) as in `Decoded`, N the sum of `counts`; None after an error and when M is 0.
        pts_seconds: (N,) float64.
        duration_seconds: of the whole file; 0 after an error.
        next_seconds: where the next part begins; None when this is the last.
        left_out: sampled frames that were left out.
        error: why there is nothing (more).
        note: what a user may want to know.
    """

    request: MomentRequest
    spans: np.ndarray
    counts: np.ndarray
    frames: np.ndarray | None
    pts_seconds: np.ndarray
    duration_seconds: float
    next_seconds: float | None = None
    left_out: int = 0
    error: VideoError | None = None
    note: str | None = None


def failed(request: MomentRequest, error: VideoError) -> CutPart:
    """What comes back of a video, or of the rest of it, that cannot be read."""
    import numpy as np

    return CutPart(request, np.zeros((0, 2)), np.zeros(0, np.int64), None, np.zeros(0), 0.0, error=error)

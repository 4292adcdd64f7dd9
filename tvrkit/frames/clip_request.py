"""A span of a video that is wanted as a file of its own, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from tvrkit.errors import ConfigError

CLIP_MODES = ("auto", "copy", "encode")


@dataclass(frozen=True)
class ClipRequest:
    """Which span of which video, and where its clip is to lie.

    Attributes:
        path: the video file.
        destination: an mp4 file.
        start_seconds: where the clip starts, >= 0.
        end_seconds: where it ends; later than the end of the video is the end of the video.
        mode: `copy` takes the video's own data from the keyframe before the start on; `encode` makes H.264 and AAC
            that any browser plays, and starts where it was asked to; `auto` copies where that starts early by no more
            than half a second.
        short_side: pixels that the shorter side of an encoded clip has at most; None leaves them as they are.
    """

    path: str
    destination: str
    start_seconds: float
    end_seconds: float
    mode: str = "auto"
    short_side: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in CLIP_MODES:
            raise ConfigError(f"a clip is made by one of {', '.join(CLIP_MODES)}, not by {self.mode!r}.")
        if not 0 <= self.start_seconds < self.end_seconds < float("inf"):
            raise ConfigError(f"a clip cannot go from {self.start_seconds} to {self.end_seconds} s.")
        if self.short_side is not None and self.short_side < 2:
            raise ConfigError(f"a clip's short side must have 2 pixels at least, not {self.short_side}.")


@dataclass(frozen=True)
class Cut:
    """A clip that was written.

    Attributes:
        start_seconds: where it starts in the video; before what was asked for where it was copied.
        end_seconds: where it ends.
        size_bytes: of the file.
        mode: `copy` or `encode`.
    """

    start_seconds: float
    end_seconds: float
    size_bytes: int
    mode: str

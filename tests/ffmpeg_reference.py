"""What the ffmpeg command line shows of a video: the reference that the readers are held against."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="needs the ffmpeg command (apt-get install ffmpeg)"
)


@dataclass(frozen=True)
class Reference:
    """Every frame of a file: `images[i]` (H, W, 3) is shown from `seconds[i]` on."""

    seconds: np.ndarray
    images: np.ndarray

    def shown_at(self, seconds: float) -> int:
        """Index of the frame on the screen."""
        return max(0, int(np.searchsorted(self.seconds, seconds + 1e-6, side="right")) - 1)

    def frame_seconds(self, index: int) -> float:
        """How long a frame is shown; the last one as long as the one before it."""
        gaps = np.diff(self.seconds)
        return float(gaps[min(index, len(gaps) - 1)]) if len(gaps) else 1.0


@functools.cache
def every_frame(path: Path, width: int, height: int) -> Reference:
    """Decode a whole file, upright, with times counted as ffmpeg counts them."""
    done = _ffmpeg(
        "-i", path, "-map", "0:v:0", *_as_they_are(), "-vf", "showinfo", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"
    )  # fmt: skip
    seconds = [float(x) for x in re.findall(rb"pts_time:\s*(-?[\d.]+)", done.stderr)]
    images = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    assert len(seconds) >= len(images) > 0, done.stderr.decode(errors="replace")
    return Reference(np.array(seconds[: len(images)]), images)


def frame_at(path: Path, seconds: float, width: int, height: int) -> np.ndarray:
    """The frame that `ffmpeg -ss` gives for a time: the first that is not before it."""
    one_frame = ("-map", "0:v:0", "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    done = _ffmpeg("-ss", f"{seconds:.6f}", "-i", path, *one_frame)
    return np.frombuffer(done.stdout, np.uint8).reshape(height, width, 3)


def _ffmpeg(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-threads", "1", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True, timeout=120)


@functools.cache
def _as_they_are() -> tuple[str, str]:
    # Neither double nor drop frames; the option was renamed in ffmpeg 5.1.
    words = subprocess.run(["ffmpeg", "-hide_banner", "-h", "long"], capture_output=True, text=True).stdout
    return ("-fps_mode", "passthrough") if "-fps_mode" in words else ("-vsync", "passthrough")

"""The videos that the readers are tried on: every container and codec that is promised, and what makes them hard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from media import make_video, trim_by_edit_list

SIZE = (128, 96)
_UNEVEN = tuple(np.cumsum(np.random.default_rng(1).choice([0.01, 0.04, 0.2, 1.1], 50)))


def _trimmed(path: Path) -> None:
    make_video(path, num_frames=75, bframes=2)
    trim_by_edit_list(path, 0.5)


VIDEOS: dict[str, Callable[[Path], object]] = {
    "h264.mp4": lambda path: make_video(path, bframes=2),
    "h264.mkv": lambda path: make_video(path, bframes=2),
    "h264.mov": lambda path: make_video(path, fps=30000 / 1001),
    "h264.ts": lambda path: make_video(path, bframes=2),
    "hevc.mp4": lambda path: make_video(path, codec="libx265", bframes=2),
    "hevc.mkv": lambda path: make_video(path, codec="libx265", bframes=2),
    "vp9.webm": lambda path: make_video(path, codec="libvpx-vp9"),
    "vp9.mp4": lambda path: make_video(path, codec="libvpx-vp9"),
    "av1.mp4": lambda path: make_video(path, codec="libsvtav1"),
    "av1.webm": lambda path: make_video(path, codec="libsvtav1"),
    "mpeg4.avi": lambda path: make_video(path, codec="mpeg4"),
    "mpeg4.mp4": lambda path: make_video(path, codec="mpeg4", bframes=2),
    "bframes.avi": lambda path: make_video(path, codec="mpeg4", bframes=2),
    "h264.avi": lambda path: make_video(path, bframes=2),
    "small.gif": lambda path: make_video(path, codec="gif", fps=10),
    "one_gop.mp4": lambda path: make_video(path, num_frames=250, gop=1000, bframes=3),
    "all_keys.mkv": lambda path: make_video(path, gop=1),
    "uneven.mp4": lambda path: make_video(path, bframes=2, times=_UNEVEN),
    "uneven.mkv": lambda path: make_video(path, times=_UNEVEN),
    "sound.mp4": lambda path: make_video(path, bframes=2, audio_seconds=5),
    "sound.mkv": lambda path: make_video(path, audio_seconds=5),
    "late.mkv": lambda path: make_video(path, times=[0.5 + i / 25 for i in range(50)], audio_seconds=3),
    "trimmed.mp4": _trimmed,
    "turned_90.mp4": lambda path: make_video(path, turn=90),
    "turned_180.mp4": lambda path: make_video(path, turn=180),
    "turned_270.mov": lambda path: make_video(path, turn=270),
    "one.mp4": lambda path: make_video(path, num_frames=1),
}

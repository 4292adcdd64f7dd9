"""The model over captions and over video files, in pieces that fit in memory.

Frames come out as the backbone makes them, before the temporal encoder: what a frozen run caches and an index stores is
the same. Letters: T texts, V videos, F frames, D feature dimension.
"""

from __future__ import annotations

from tvrkit.encode.frames import OnProgress, encode_frames, iter_encoded
from tvrkit.encode.kept import frame_cache
from tvrkit.encode.texts import keep_texts, text_cache
from tvrkit.encode.towers import encode_pixels, encode_texts, encode_videos
from tvrkit.encode.value import EncodedFrames

__all__ = [
    "EncodedFrames",
    "OnProgress",
    "encode_frames",
    "encode_pixels",
    "encode_texts",
    "encode_videos",
    "frame_cache",
    "iter_encoded",
    "keep_texts",
    "text_cache",
]

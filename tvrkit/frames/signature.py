"""A frame in some thousand bytes, got without looking at all of its pixels: enough to see that the picture changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

ROWS, COLUMNS = 32, 48
_COLOUR_ROWS, _COLOUR_COLUMNS = 16, 24
LENGTH = ROWS * COLUMNS + 2 * _COLOUR_ROWS * _COLOUR_COLUMNS

_PIXELS = 4

_PLANAR = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})


class Signer:
    """Makes signatures of a file's frames.

    A thumbnail of brightness and two of colour, out of few pixels: FFmpeg's scaler, which looks at all of them, takes
    half as long as the decoder.
    """

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def __call__(self, frame: Any) -> np.ndarray:
        """(LENGTH,) float32, 0 to 255, of a PyAV frame."""
        if frame.format.name not in _PLANAR or frame.width < 2 * COLUMNS or frame.height < 2 * ROWS:
            frame = self._scaler.reformat(frame, 4 * COLUMNS, 4 * ROWS, "yuv444p", interpolation="AREA")
        y, u, v = (_plane(plane) for plane in frame.planes[:3])
        return np.concatenate(
            [_cells(y, ROWS, COLUMNS), *(_cells(plane, _COLOUR_ROWS, _COLOUR_COLUMNS) for plane in (u, v))]
        )


def coarse(signature: np.ndarray) -> np.ndarray:
    """A signature with brightness as coarse as its colours: three planes of equal size, one after the other."""
    fine = signature[: ROWS * COLUMNS].reshape(_COLOUR_ROWS, 2, _COLOUR_COLUMNS, 2)
    return np.concatenate([fine.mean(axis=(1, 3)).reshape(-1), signature[ROWS * COLUMNS :]])


def _plane(plane: Any) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def _cells(plane: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Each the mean of four pixels of one row."""
    height, width = plane.shape
    chosen = plane[(np.arange(rows) * 2 + 1) * height // (2 * rows)]
    each = width // columns
    total = np.zeros((rows, columns), np.float32)
    for number in range(_PIXELS):
        total += chosen[:, each * number // _PIXELS : each * columns : each]
    return (total / _PIXELS).reshape(-1)

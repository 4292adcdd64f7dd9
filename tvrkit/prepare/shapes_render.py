"""The built-in benchmark `shapes`: from a meaning to pixels, and from pixels to an H.264 file.

Geometry is in pixels of a 64 x 64 frame, the origin in its top left corner.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import numpy as np

from tvrkit.prepare.shapes_events import Event, Meaning

Array = np.ndarray
RENDER_VERSION = 1  # part of a clip's random seed: changes when the same seed draws other pixels

SIDE = 64  # pixels
FRAMES = 12
FPS = 6
# One thread alone does not make x264 repeat itself: its quickest routines for floating point differ in the last digit
# from one run to the next and between processors, and a clip in some hundreds shows it.
ENCODER = {"crf": "20", "preset": "veryfast", "threads": "1", "x264-params": "cpu-independent=1"}
TRAVEL = (15.0, 18.0)  # pixels from one end of a motion to the other
RADIUS = {"small": (4.6, 5.8), "big": (8.6, 10.2)}  # pixels
DISTANCE = {"small": (15.0, 19.0), "big": (22.0, 24.0)}  # pixels between the centres of two
NOISE = 6  # largest change of brightness that noise makes, of 255
RGB = {
    "red": (222, 48, 44),
    "green": (58, 196, 70),
    "blue": (58, 98, 240),
    "yellow": (236, 214, 56),
    "purple": (172, 66, 214),
    "white": (236, 236, 236),
}
DIRECTION = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}

_Y, _X = (axis.astype(np.float32) + 0.5 for axis in np.mgrid[:SIDE, :SIDE])


def render_clip(meaning: Meaning, rng: np.random.Generator) -> Array:
    """Draw a clip, (FRAMES, SIDE, SIDE, 3) uint8 RGB.

    Every motion is symmetric about its middle, so that `left` and `right`, `up` and `down`, and both orders of two
    events show the same set of frames: only their order in time tells them apart.
    """
    background = _background(rng)
    length = FRAMES // len(meaning)
    parts = [_render_event(event, _positions(event, length, rng), background, rng) for event in meaning]
    return _finish(np.concatenate(parts), rng)


def render_still(event: Event, centre: tuple[float, float], rng: np.random.Generator) -> Array:
    """Draw one picture of an event's appearance about `centre` (x, y in pixels), (SIDE, SIDE, 3) uint8 RGB."""
    positions = np.asarray([centre], dtype=np.float32)
    frame: Array = _finish(_render_event(event, positions, _background(rng), rng), rng)[0]
    return frame


def encode_mp4(frames: Array) -> bytes:
    """Encode (F, H, W, 3) uint8 RGB frames as an MP4 file; the same frames give the same bytes."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=ENCODER)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def clip_generator(seed: int, video_id: str) -> np.random.Generator:
    """The random numbers of one clip: they depend on nothing but the seed and its name."""
    return np.random.default_rng([seed, RENDER_VERSION, *video_id.encode()])


def write_clip(path: Path, meaning: Meaning, seed: int, video_id: str) -> None:
    """Render and encode one clip; `path` appears only when it is complete."""
    data = encode_mp4(render_clip(meaning, clip_generator(seed, video_id)))
    # Not atomic_path: its two flushes a file cost more than the clip. `is_whole` finds what a power cut tore.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def is_whole(path: Path) -> bool:
    """Whether a file is a complete MP4: its top-level boxes fill it exactly, and the index is among them."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    place, kinds = 0, set()
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        kinds.add(data[place + 4 : place + 8])
        if size < 8:
            return False
        place += size
    return place == len(data) and {b"ftyp", b"moov", b"mdat"} <= kinds


def _positions(event: Event, length: int, rng: np.random.Generator) -> Array:
    """Centre of the event in each frame, (length, 2) pixels."""
    middle = SIDE / 2 + rng.uniform(-2.5, 2.5, size=2)
    steps = np.linspace(-0.5, 0.5, length)[:, None] * rng.uniform(*TRAVEL)
    return (middle + steps * np.asarray(DIRECTION[event.motion])).astype(np.float32)


def _render_event(event: Event, positions: Array, background: Array, rng: np.random.Generator) -> Array:
    """Draw the event's shapes around `positions` (F, 2) on the background, (F, SIDE, SIDE, 3) float32."""
    radius = rng.uniform(*RADIUS[event.size])
    offsets: Array = np.zeros((1, 2), np.float32)
    if event.count == "two":
        axis = np.eye(2, dtype=np.float32)[rng.integers(2)]
        offsets = np.stack([axis, -axis]) * np.float32(rng.uniform(*DISTANCE[event.size]) / 2)
    coverage = np.zeros((len(positions), SIDE, SIDE), np.float32)
    for offset in offsets:
        turn = rng.uniform(-0.15, 0.15)
        x = _X - (positions[:, 0] + offset[0])[:, None, None]
        y = _Y - (positions[:, 1] + offset[1])[:, None, None]
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        distance = DISTANCES[event.shape](x * cos + y * sin, y * cos - x * sin, radius)
        np.maximum(coverage, np.clip(0.5 - distance, 0, 1), out=coverage)
    colour = np.asarray(RGB[event.colour]) * rng.uniform(0.9, 1.05) + rng.uniform(-14, 14, size=3)
    cover = coverage[..., None]
    drawn: Array = background + cover * (np.clip(colour, 0, 255).astype(np.float32) - background)
    return drawn


def _background(rng: np.random.Generator) -> Array:
    """A dark gradient between two random colours in a random direction, (SIDE, SIDE, 3) float32."""
    first, second = rng.uniform(5, 70, size=(2, 3)).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = (_X - SIDE / 2) * np.float32(np.cos(angle)) + (_Y - SIDE / 2) * np.float32(np.sin(angle))
    part = (along / SIDE + 0.5).clip(0, 1)[..., None]
    gradient: Array = first + part * (second - first)
    return gradient


def _finish(frames: Array, rng: np.random.Generator) -> Array:
    """Add noise, anew in each frame, and round to bytes."""
    noise = rng.integers(-NOISE, NOISE, size=(*frames.shape[:3], 1), dtype=np.int8, endpoint=True)
    return np.clip(frames + (noise + np.float32(0.5)), 0, 255).astype(np.uint8)


# Signed distances to the edge, in pixels: below 0 inside. (x, y) relative to the centre, y downwards.


def _circle(x: Array, y: Array, radius: float) -> Array:
    distance: Array = np.sqrt(x * x + y * y) - np.float32(radius)
    return distance


def _square(x: Array, y: Array, radius: float) -> Array:
    distance: Array = np.maximum(np.abs(x), np.abs(y)) - np.float32(0.88 * radius)
    return distance


def _triangle(x: Array, y: Array, radius: float) -> Array:
    """Equilateral, point up: the three half-planes at the radius of its inner circle."""
    slanted = np.abs(x) * np.float32(np.sqrt(3) / 2) - (y + np.float32(0.15 * radius)) / 2
    inner = np.float32(0.62 * radius)
    distance: Array = np.maximum(slanted, y + np.float32(0.15 * radius)) - inner
    return distance


def _star(x: Array, y: Array, radius: float) -> Array:
    """Five-pointed, point up: fold the plane into one tenth, where the edge is one straight line."""
    outer, inner = 1.25 * radius, 0.52 * radius
    tenth = np.pi / 5
    angle = np.arctan2(x, -y)
    folded = np.abs((angle + np.float32(tenth)) % np.float32(2 * tenth) - np.float32(tenth))
    length = np.sqrt(x * x + y * y)
    along, across = length * np.cos(folded), length * np.sin(folded)
    # The edge runs from the outer point (outer, 0) to the inner corner.
    corner_x, corner_y = inner * np.cos(tenth), inner * np.sin(tenth)
    normal = np.asarray([corner_y, outer - corner_x]) / np.hypot(corner_y, outer - corner_x)
    distance: Array = (along - np.float32(outer)) * np.float32(normal[0]) + across * np.float32(normal[1])
    return distance


DISTANCES: Mapping[str, Callable[[Array, Array, float], Array]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
}

"""Real video files with shots that are known: textures that stand, are panned over, flash, dissolve and fade."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Scene:
    """One shot.

    Attributes:
        seconds: how long.
        seed: of its picture; the same seed is the same picture.
        pan: pixels that the camera moves in a frame.
        noise: amplitude of grain.
        flash: frames from this one on, three of them, are white; None is no flash.
        dissolve: seconds during which it emerges from the scene before.
        fade: seconds in which it emerges from black, the scene before having gone there in as many.
        colour: a uniform picture of this colour instead.
    """

    seconds: float
    seed: int = 0
    pan: int = 0
    noise: int = 0
    flash: int | None = None
    dissolve: float = 0.0
    fade: float = 0.0
    colour: int | None = None


def make_scenes(
    path: Path, scenes: list[Scene], *, fps: int = 25, size: tuple[int, int] = (192, 108), gop: int = 250
) -> list[float]:
    """Write them one after the other; where each begins, in seconds (of a transition: its middle)."""
    starts, frames, random = [], 0, np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "20", "g": str(gop)})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        for number, scene in enumerate(scenes):
            later = scenes[number + 1] if number + 1 < len(scenes) else None
            before = _last(scenes[number - 1], fps, size) if number else None
            starts.append((frames + scene.dissolve * fps / 2) / fps)
            for picture in _frames(scene, before, later, fps, size):
                grain = random.integers(-scene.noise, scene.noise + 1, picture.shape) if scene.noise else 0
                frame = av.VideoFrame.from_ndarray(np.clip(picture + grain, 0, 255).astype(np.uint8), format="rgb24")
                frame.pts, frame.time_base = frames, Fraction(1, fps)
                frames += 1
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return starts


def _frames(
    scene: Scene, before: np.ndarray | None, later: Scene | None, fps: int, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    count = round(scene.seconds * fps)
    for i in range(count):
        picture = _picture(scene, i, size)
        if scene.flash is not None and scene.flash <= i < scene.flash + 3:
            picture = picture * 0.1 + 230
        if before is not None and i < scene.dissolve * fps:
            part = (i + 1) / (scene.dissolve * fps + 1)
            picture = picture * part + before * (1 - part)
        picture = picture * min(1.0, i / (scene.fade * fps)) if scene.fade else picture
        if later is not None and later.fade:
            picture = picture * min(1.0, (count - 1 - i) / (later.fade * fps))
        yield picture


def _last(scene: Scene, fps: int, size: tuple[int, int]) -> np.ndarray:
    return _picture(scene, round(scene.seconds * fps) - 1, size)


def _picture(scene: Scene, number: int, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    if scene.colour is not None:
        return np.full((height, width, 3), float(scene.colour))
    wide = width + scene.pan * round(scene.seconds * 25)
    coarse = np.random.default_rng(scene.seed).integers(0, 256, (6, max(8, wide // 24), 3), np.uint8)
    texture = np.asarray(Image.fromarray(coarse).resize((wide, height), Image.Resampling.BICUBIC), np.float64)
    left = scene.pan * number
    return texture[:, left : left + width]

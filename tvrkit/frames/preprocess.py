"""open_clip's image transform in two parts, and without torch.

First a picture is resized and cropped, 8 bits a colour; then its colours are scaled to 0..1 and normalised. A decoding
process does the first part alone: what it hands over is then a quarter of the bytes, and the second part is done on the
model's device (`tvrkit.core.normalise`). Importing torch and torchvision, for steps that Pillow does most of, would
take a process seconds and hundreds of megabytes: the usual transform is recognised step by step and rebuilt on Pillow
and numpy. All of it is used only if it gives the very same bits on trial pictures; any other transform is sent to the
processes as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

Transform = Callable[[Image.Image], Any]
"""A picture to a tensor or an array, always of the same shape."""

# Both orientations, larger and smaller than what towers take, odd sides whose centre has to be rounded.
_TRIAL_SIZES = ((427, 240), (139, 251), (40, 31))


@dataclass(frozen=True)
class ResizeCrop:
    """Resize and crop to the centre, on Pillow alone.

    Attributes:
        size: of the short side, or (height, width), in pixels.
        resample: Pillow's filter.
        crop: (height, width), or None.
    """

    size: int | tuple[int, int]
    resample: int
    crop: tuple[int, int] | None

    def __call__(self, image: Image.Image) -> np.ndarray:
        """(3, height, width) uint8 of an RGB picture."""
        image = self._resized(image)
        return _colours_first(image if self.crop is None else _centre(image, *self.crop))

    def _resized(self, image: Image.Image) -> Image.Image:
        if not isinstance(self.size, int):
            target = self.size[::-1]
        elif image.width <= image.height:
            target = (self.size, int(self.size * image.height / image.width))
        else:
            target = (int(self.size * image.width / image.height), self.size)
        return image if target == image.size else image.resize(target, Image.Resampling(self.resample))


@dataclass(frozen=True)
class PictureSteps:
    """Steps of a transform that make a picture of a picture.

    Attributes:
        steps: the libraries' own, in their order.
    """

    steps: tuple[Callable[[Any], Any], ...]

    def __call__(self, image: Image.Image) -> np.ndarray:
        """(3, height, width) uint8 of an RGB picture."""
        for step in self.steps:
            image = step(image)
        return _colours_first(image)


PixelTransform = ResizeCrop | PictureSteps


@dataclass(frozen=True)
class PlainTransform:
    """A transform in its two parts.

    Attributes:
        pixels: the first: picture to (3, height, width) uint8.
        mean: of each colour on a scale of 0 to 1.
        std: likewise.
    """

    pixels: PixelTransform
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: Image.Image) -> np.ndarray:
        """(3, height, width) float32 of an RGB picture."""
        pixels = self.pixels(image)
        # A colour has 256 values: the arithmetic is done once for each of them, and looked up for each pixel.
        values = np.arange(256, dtype=np.float32) / np.float32(255)
        normalised = np.empty(pixels.shape, np.float32)
        for colour, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            table = (values - np.float32(mean)) / np.float32(std)
            np.take(table, pixels[colour], out=normalised[colour], mode="clip")
        return normalised


def in_two_parts(transform: Transform) -> PlainTransform | None:
    """The same transform in two parts; None where it has not these."""
    steps = list(getattr(transform, "transforms", ()))
    if _names(steps[-2:]) not in (["ToTensor", "Normalize"], ["MaybeToTensor", "Normalize"]):
        return None
    for first in (_on_pillow, _as_they_are):
        try:
            plain = PlainTransform(first(steps[:-2]), _three(steps[-1].mean), _three(steps[-1].std))
            if _same(plain, transform):
                return plain
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
    return None


def without_torch(transform: Transform) -> Transform:
    """The same transform on Pillow and numpy where that is possible, else the one that was given."""
    plain = in_two_parts(transform)
    return plain if plain is not None and isinstance(plain.pixels, ResizeCrop) else transform


def _names(steps: Sequence[Any]) -> list[str]:
    return [getattr(step, "__name__", type(step).__name__) for step in steps]


def _on_pillow(steps: Sequence[Any]) -> ResizeCrop:
    known = {
        name: step
        for name, step in zip(_names(steps), steps, strict=True)
        if name not in ("MaybeConvertMode", "_convert_to_rgb")
    }
    if list(known) not in (["Resize", "CenterCrop"], ["Resize"]) or known["Resize"].max_size is not None:
        raise ValueError("other steps")
    resize, crop = known["Resize"], known.get("CenterCrop")
    height, *width = (resize.size,) if isinstance(resize.size, int) else resize.size
    return ResizeCrop(
        size=(int(height), int(*width)) if width else int(height),
        resample=int(Image.Resampling[resize.interpolation.name]),
        crop=None if crop is None else (int(crop.size[0]), int(crop.size[1])),
    )


def _as_they_are(steps: Sequence[Any]) -> PictureSteps:
    return PictureSteps(tuple(steps))


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _same(plain: PlainTransform, transform: Transform) -> bool:
    random = np.random.default_rng(0)
    for width, height in _TRIAL_SIZES:
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        if not np.array_equal(plain(image), np.asarray(transform(image))):
            return False
    return True


def _colours_first(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"a picture of mode {image.mode} is not RGB of 8 bits")
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    if image.width < width or image.height < height:
        raise ValueError(f"a picture of {image.size} has no centre of {(width, height)}")
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))

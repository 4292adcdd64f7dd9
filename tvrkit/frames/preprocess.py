"""open_clip's image transform without torch, so that a decoding process starts in a moment and stays small.

Importing torch and torchvision, for five steps that Pillow does most of, takes a worker seconds and hundreds of
megabytes. The usual transform is recognised step by step, rebuilt on Pillow and numpy, and used only if it gives
the very same bits on trial pictures; any other transform is sent to the workers as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

Transform = Callable[[Image.Image], Any]
"""A picture to a tensor or an array, always of the same shape."""

# Both orientations, larger and smaller than what towers take, odd sides whose centre has to be rounded.
_TRIAL_SIZES = ((427, 240), (139, 251), (40, 31))


@dataclass(frozen=True)
class PlainTransform:
    """Resize, crop to the centre, scale to 0..1 and normalise.

    Attributes:
        size: of the short side, or (height, width), in pixels.
        resample: Pillow's filter.
        crop: (height, width), or None.
        mean: of each colour.
        std: of each colour.
    """

    size: int | tuple[int, int]
    resample: int
    crop: tuple[int, int] | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: Image.Image) -> np.ndarray:
        """(3, height, width) float32 of an RGB picture."""
        image = self._resized(image)
        if self.crop is not None:
            image = _centre(image, *self.crop)
        pixels = np.asarray(image)
        # A colour has 256 values: the arithmetic is done once for each of them, and looked up for each pixel.
        values = np.arange(256, dtype=np.float32) / np.float32(255)
        normalised = np.empty((3, *pixels.shape[:2]), np.float32)
        for colour, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            table = (values - np.float32(mean)) / np.float32(std)
            np.take(table, pixels[..., colour], out=normalised[colour], mode="clip")
        return normalised

    def _resized(self, image: Image.Image) -> Image.Image:
        if not isinstance(self.size, int):
            target = self.size[::-1]
        elif image.width <= image.height:
            target = (self.size, int(self.size * image.height / image.width))
        else:
            target = (int(self.size * image.width / image.height), self.size)
        return image if target == image.size else image.resize(target, Image.Resampling(self.resample))


def without_torch(transform: Transform) -> Transform:
    """The same transform on Pillow and numpy where that is possible, else the one that was given."""
    try:
        plain = _rebuilt(list(getattr(transform, "transforms", ())))
        return plain if plain is not None and _same(plain, transform) else transform
    except (AttributeError, KeyError, TypeError, ValueError):
        return transform


def _rebuilt(steps: list[Any]) -> PlainTransform | None:
    names = [getattr(step, "__name__", type(step).__name__) for step in steps]
    by_name = dict(zip(names, steps, strict=True))
    order = [name for name in names if name not in ("MaybeConvertMode", "_convert_to_rgb")]
    tensor = "MaybeToTensor" if "MaybeToTensor" in order else "ToTensor"
    if order not in (["Resize", "CenterCrop", tensor, "Normalize"], ["Resize", tensor, "Normalize"]):
        return None
    resize, crop, normalise = by_name["Resize"], by_name.get("CenterCrop"), by_name["Normalize"]
    if resize.max_size is not None:
        return None
    height, *width = (resize.size,) if isinstance(resize.size, int) else resize.size
    return PlainTransform(
        size=(int(height), int(*width)) if width else int(height),
        resample=int(Image.Resampling[resize.interpolation.name]),
        crop=None if crop is None else (int(crop.size[0]), int(crop.size[1])),
        mean=_three(normalise.mean),
        std=_three(normalise.std),
    )


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


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    if image.width < width or image.height < height:
        raise ValueError(f"a picture of {image.size} has no centre of {(width, height)}")
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))

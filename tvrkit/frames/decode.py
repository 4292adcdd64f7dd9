"""Decoding and preprocessing one video in this process, with either reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import PIL.Image

from tvrkit.errors import InstallError, TvrkitError, VideoError, VideoTimeoutError
from tvrkit.frames import av_reader, decord_reader
from tvrkit.frames.av_reader import Sampled, Wanted
from tvrkit.frames.preprocess import Transform
from tvrkit.frames.request import Decoded, FrameRequest, check_file, unexpected

Image = TypeVar("Image")


def decode(request: FrameRequest, reader: str, timeout_seconds: float, transform: Transform | None) -> Decoded:
    """Frames of one video, transformed one by one as they are decoded; whatever is wrong with it is in `error`.

    Only a process that can be killed should call this with `auto` or `decord`: see `tvrkit.frames.decord_reader`.

    Raises:
        InstallError: the reader that was asked for by name is not installed.
        ConfigError: the request makes no sense for any video.
    """
    try:
        check_file(request.path)
        sampled, note = sample(Wanted.of(request), reader, timeout_seconds, converter(transform))
        frames = stack(sampled.images, request.path)
    except VideoError as error:
        return Decoded(request, error=error)
    except TvrkitError:
        raise
    except Exception as error:  # a file made to break a reader must not end a run over thousands of files
        return Decoded(request, error=unexpected(request.path, error))
    return Decoded(request, frames, sampled.pts_seconds, sampled.duration_seconds, note=note, info=sampled.info)


def transformed(decoded: Decoded, transform: Transform | None) -> Decoded:
    """Raw frames that came from elsewhere, transformed."""
    if decoded.frames is None or transform is None:
        return decoded
    convert = converter(transform)
    try:
        frames = stack([convert(pixels) for pixels in decoded.frames], decoded.request.path)
    except VideoError as error:
        return Decoded(decoded.request, error=error)
    except Exception as error:
        return Decoded(decoded.request, error=unexpected(decoded.request.path, error))
    return replace(decoded, frames=frames)


def second_reader_note(error: VideoError) -> str:
    """What to say when decord could read what PyAV could not."""
    return f"{error.path}: read with decord; PyAV said: {error.reason}"


def stack(images: list[np.ndarray], path: str) -> np.ndarray:
    """Frames of one video as one array; where its resolution changes on the way, all get the first one's size."""
    first = images[0]
    if first.ndim == 3 and first.dtype == np.uint8 and first.shape[2] == 3:
        size = (first.shape[1], first.shape[0])
        images = [
            image if image.shape == first.shape else np.asarray(PIL.Image.fromarray(image).resize(size))
            for image in images
        ]
    if any(image.shape != first.shape for image in images):
        shapes = sorted({image.shape for image in images})
        raise VideoError(path, f"the transform gave its frames different shapes: {shapes}")
    return np.stack(images)


def sample(
    wanted: Wanted, reader: str, timeout_seconds: float, convert: Callable[[np.ndarray], Image]
) -> tuple[Sampled[Image], str | None]:
    """Frames by the reader that was asked for, or by decord where PyAV finds none; and a note that says so.

    Raises:
        VideoError: as the readers; PyAV's where decord does no better, for PyAV knows more of what can be wrong.
        InstallError: the reader that was asked for by name is not installed.
        ConfigError: the request makes no sense for any video.
    """
    if reader == "decord":
        return decord_reader.read(wanted, convert), None
    try:
        return av_reader.read_at(wanted, convert, timeout_seconds), None
    except VideoTimeoutError:
        raise
    except VideoError as error:
        if reader == "av":
            raise
        try:
            return decord_reader.read(wanted, convert), second_reader_note(error)
        except (VideoError, InstallError):
            raise error from None


def converter(transform: Transform | None) -> Callable[[np.ndarray], np.ndarray]:
    """What makes an array of an upright (H, W, 3) RGB frame, as the transform wants it."""
    if transform is None:
        return lambda pixels: pixels
    return lambda pixels: np.asarray(transform(PIL.Image.fromarray(pixels)))

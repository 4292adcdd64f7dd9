"""Transforms for tests of the decode pool: they misbehave for real, in a real worker."""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass

import numpy as np
from media import frame_number
from PIL import Image


def number_of(image: Image.Image) -> np.ndarray:
    """The number that a frame shows."""
    return np.array([frame_number(np.asarray(image))])


def size_of(image: Image.Image) -> np.ndarray:
    """Width and height."""
    return np.array(image.size)


@dataclass(frozen=True)
class Misbehave:
    """Does `what` on a frame whose number is `on` (on every one if None); else gives the number.

    Before that, the worker's process id is appended to the file `signs`, if there is one.
    """

    what: str
    on: int | None = None
    signs: str | None = None

    def __call__(self, image: Image.Image) -> np.ndarray:
        number = frame_number(np.asarray(image))
        if self.signs:
            with open(self.signs, "a") as file:
                file.write(f"{os.getpid()}\n")
        if self.on in (None, number):
            getattr(self, f"_{self.what}")()
        return np.array([number])

    def _hang(self) -> None:
        time.sleep(1e6)

    def _slow(self) -> None:
        time.sleep(0.25)

    def _crash(self) -> None:
        ctypes.string_at(0)  # a segmentation fault

    def _leave(self) -> None:
        os._exit(3)

    def _raise(self) -> None:
        raise ValueError("this picture is not liked")

    def _chatter(self) -> None:
        os.write(1, b"on stdout\n" * 1000)
        os.write(2, b"on stderr\n" * 100_000)


class CannotArrive:
    """Pickles, and cannot be unpickled."""

    def __call__(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _refuse, ("this transform needs a library that is not there",)


def _refuse(words: str) -> None:
    raise ImportError(words)

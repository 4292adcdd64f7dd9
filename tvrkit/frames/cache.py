"""Decoded frames on disk, so that a video is decoded once however often it is shown.

One file a video under a name that is made of the file's identity, what was asked of it, and what was done to its
pictures: a changed file or another size never meets old frames. Each file is renamed into place when it is whole and
carries a sum, so threads, processes and runs share a folder, and a kill or a power cut costs the file in the making.
The disk is never filled: the cache grows until little room is left.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tvrkit.errors import VideoError
from tvrkit.frames.frame_file import KeptFrames, read_frames, write_frames
from tvrkit.frames.identity import file_identity
from tvrkit.frames.request import Decoded, FrameRequest
from tvrkit.workspace import cache_folder

_SUFFIX = ".frames"

# Free room that is left to others: this part of the disk, and so much at least.
_FREE_PART, _FREE_BYTES = 0.05, 2 * 2**30

# When room runs short, what nobody has asked for in so long goes first.
_UNUSED_SECONDS = 7 * 86400.0
_LITTER_SECONDS = 3600.0
_DAY_SECONDS = 86400.0

log = logging.getLogger("tvrkit.frames")


def pixel_cache(preprocess: Mapping[str, Any], reader: str) -> PixelCache:
    """The cache in the user's cache folder that is shared by all models of the same picture size and crop.

    Args:
        preprocess: open_clip's preprocessing options.
        reader: `auto`, `av` or `decord`.
    """
    first_part = {name: value for name, value in preprocess.items() if name not in ("mean", "std")}
    return PixelCache(cache_folder() / "pixels", f"{reader}/{json.dumps(first_part, sort_keys=True)}")


class PixelCache:
    """Frames of videos as the transform leaves them, 8 bits a colour.

    Any thread may use it. Nothing that goes wrong with it is an error: what it does not have is decoded.

    Args:
        folder: where the files lie; made with the first one. Deleting it costs time only.
        settings: names the reader and all that is done to a picture.
    """

    def __init__(self, folder: Path, settings: str) -> None:
        self.folder, self._settings = Path(folder), settings
        self._identities: dict[str, tuple[int, int, str]] = {}
        self._lock = threading.Lock()
        self._swept = self._full = False

    def get(self, request: FrameRequest) -> Decoded | None:
        """The frames of a request, if they are there."""
        path = self._path(request)
        if path is None:
            return None
        try:
            kept = read_frames(path)
            if kept is None:
                path.unlink(missing_ok=True)
                return None
            if time.time() - path.stat().st_mtime > _DAY_SECONDS:
                os.utime(path)  # says that it is in use
        except OSError:
            return None
        return Decoded(request, kept.frames, kept.pts_seconds, kept.duration_seconds)

    def put(self, decoded: Decoded) -> None:
        """Keep the frames of a video, if there are any and they are of 8 bits."""
        frames, pts, duration = decoded.frames, decoded.pts_seconds, decoded.duration_seconds
        if self._full or frames is None or pts is None or duration is None or frames.dtype != np.uint8:
            return
        path = self._path(decoded.request)
        if path is None or frames.ndim != 4:
            return
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self._room(frames.nbytes):
                return
            write_frames(temporary, KeptFrames(frames, pts, duration))
            os.replace(temporary, path)
        except OSError as error:
            self._stop(f"cannot be written ({error.strerror or error})")
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _path(self, request: FrameRequest) -> Path | None:
        """Where the frames of a request lie; None where nothing may be kept of it."""
        if request.with_info or request.sampling == "random":  # drawn anew each time: nobody would ask for it again
            return None
        try:
            identity = self._identity(request.path)
        except (VideoError, OSError, ValueError):
            return None
        span = f"{request.start_seconds}-{request.end_seconds}"
        key = f"{self._settings}/{identity}/{request.num_frames}-{request.sampling}/{span}"
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return self.folder / name[:2] / (name + _SUFFIX)

    def _identity(self, path: str) -> str:
        """Of a file; computed anew when its size or time has changed."""
        status = os.stat(path)
        known = self._identities.get(path)
        if known is None or known[:2] != (status.st_size, status.st_mtime_ns):
            known = self._identities[path] = (status.st_size, status.st_mtime_ns, file_identity(path))
        return known[2]

    def _room(self, size: int) -> bool:
        """Whether the disk has room for `size` bytes; old files go if need be."""
        if self._fits(size):
            return True
        with self._lock:
            if not self._swept:
                self._swept = True
                self._sweep()
        if self._fits(size):
            return True
        self._stop("has no room to grow: little of its disk is free")
        return False

    def _fits(self, size: int) -> bool:
        disk = shutil.disk_usage(self.folder)
        return disk.free - size > max(_FREE_BYTES, _FREE_PART * disk.total)

    def _sweep(self) -> None:
        """Remove what has not been used for long and what killed writers left behind."""
        now = time.time()
        for path in self.folder.glob(f"??/*{_SUFFIX}*"):
            with suppress(OSError):
                limit = _UNUSED_SECONDS if path.suffix == _SUFFIX else _LITTER_SECONDS
                if now - path.stat().st_mtime > limit:
                    path.unlink()

    def _stop(self, why: str) -> None:
        with self._lock:
            if self._full:
                return
            self._full = True
        log.warning(f"the cache of frames {self.folder} {why}: the videos it lacks are decoded each time.")

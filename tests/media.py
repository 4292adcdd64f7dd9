"""Real video files for tests, made with PyAV; each frame carries its number, so a test can tell which one it got.

A frame is a grid of 4 x 4 flat blocks: the corners of the top row are red and blue, those of the bottom row green,
and the twelve others hold the number in binary, white for 1. A frame that is turned, mirrored, or has its channels
swapped cannot be read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_RED, _GREEN, _BLUE = (230, 20, 20), (20, 200, 20), (20, 20, 230)
_CORNERS = {(0, 0): _RED, (0, 3): _BLUE, (3, 0): _GREEN, (3, 3): _GREEN}
_CELLS = [(row, column) for row in range(4) for column in range(4) if (row, column) not in _CORNERS]
_TICK = Fraction(1, 1000)


def numbered_frame(number: int, width: int = 128, height: int = 96) -> np.ndarray:
    """A picture that shows a number from 0 to 4095: (height, width, 3) uint8."""
    grid = np.zeros((4, 4, 3), np.uint8)
    for cell, colour in _CORNERS.items():
        grid[cell] = colour
    for bit, cell in enumerate(_CELLS):
        grid[cell] = 235 if number >> bit & 1 else 20
    rows = np.arange(height) * 4 // height
    columns = np.arange(width) * 4 // width
    return grid[rows[:, None], columns[None, :]]


def frame_number(image: np.ndarray) -> int:
    """The number that a decoded picture shows; AssertionError where it is no upright numbered frame."""
    height, width = image.shape[:2]
    rows = (np.arange(4) * 2 + 1) * height // 8
    columns = (np.arange(4) * 2 + 1) * width // 8
    grid = image[rows[:, None], columns[None, :]].astype(int)
    for cell, colour in _CORNERS.items():
        assert np.abs(grid[cell] - colour).max() < 90, f"corner {cell} is {grid[cell]}, not {colour}"
    return sum(1 << bit for bit, cell in enumerate(_CELLS) if grid[cell].mean() > 128)


def make_video(
    path: str | Path,
    *,
    num_frames: int = 50,
    fps: float = 25,
    codec: str = "libx264",
    size: tuple[int, int] = (128, 96),
    gop: int = 12,
    bframes: int = 0,
    times: Sequence[float] | None = None,
    turn: int = 0,
    audio_seconds: float = 0.0,
    options: dict[str, str] | None = None,
    noise: int = 0,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video whose frame i shows the number i, in the container that the suffix names.

    Args:
        path: where to.
        num_frames: how many frames; without `times` frame i is shown at i / fps.
        fps: frames a second.
        codec: FFmpeg's name of an encoder.
        size: width and height of the upright picture.
        gop: frames from one keyframe to the next.
        bframes: how many frames may be stored out of order.
        times: presentation time of each frame in seconds (a variable frame rate).
        turn: store each frame turned clockwise by this many degrees (0, 90, 180, 270), and say so in the file, so
            that it is upright when shown; mp4 and mov only.
        audio_seconds: length of a sound track; 0 is none.
        options: of the encoder, beside those above.
        noise: amplitude of noise added to each picture, so that the file has a size like a real one.
        container_options: of the muxer, such as `{"movflags": "faststart"}`.
    """
    path = Path(path)
    if times is None:
        times = [i / fps for i in range(num_frames)]
    random = np.random.default_rng(0)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stored = numbered_frame(0, *size) if turn % 180 == 0 else np.rot90(numbered_frame(0, *size))
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        stream.options = _options(codec, gop, bframes) | (options or {})
        # AVI has no times but the frame rate.
        stream.codec_context.time_base = (
            1 / Fraction(fps) if path.suffix == ".avi" else Fraction(1, 100) if codec == "gif" else _TICK
        )
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = bframes
        sound = _sound_stream(container, path) if audio_seconds else None
        for number, seconds in enumerate(times):
            picture = np.rot90(numbered_frame(number, *size), -turn // 90)
            if noise:
                picture = np.clip(picture + random.integers(-noise, noise + 1, picture.shape), 0, 255)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture, np.uint8), format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(seconds / frame.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            _mux_sound(container, sound, audio_seconds)
    if turn:
        _patch_matrix(path, turn)
    return path


def make_black(path: str | Path, *, num_frames: int = 20, size: tuple[int, int] = (64, 64)) -> Path:
    """A video of nothing but black pictures, 10 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(num_frames):
            black = np.zeros((size[1], size[0], 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(black, format="rgb24")))
        container.mux(stream.encode())
    return Path(path)


def make_audio(path: str | Path, seconds: float = 1.0) -> Path:
    """A file with a sound track and no picture."""
    with av.open(str(path), "w") as container:
        _mux_sound(container, _sound_stream(container, Path(path)), seconds)
    return Path(path)


def trim_by_edit_list(path: Path, seconds: float) -> None:
    """Make an mp4 start `seconds` later by its edit list alone, as editors that do not encode anew do."""
    content = bytearray(path.read_bytes())
    scale = struct.unpack_from(">I", content, content.index(b"mdhd") + 16)[0]
    movie_scale = struct.unpack_from(">I", content, content.index(b"mvhd") + 16)[0]
    entry = content.index(b"elst") + 12
    duration, media_time = struct.unpack_from(">Ii", content, entry)
    duration -= round(seconds * movie_scale)
    struct.pack_into(">Ii", content, entry, duration, media_time + round(seconds * scale))
    path.write_bytes(content)


def truncate(path: Path, part: float) -> None:
    """Keep the first `part` of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


def damage(path: Path, start: float, end: float, every: int = 97) -> None:
    """Spoil every so many bytes between two points of a file (parts of its size)."""
    content = bytearray(path.read_bytes())
    for at in range(int(len(content) * start), int(len(content) * end), every):
        content[at] ^= 0xFF
    path.write_bytes(content)


def only_decord_reads(path: Path) -> str:
    """A real mp4 whose sample entry claims another size: FFmpeg of today gives it up, decord's older one reads on."""
    make_video(path, num_frames=10)
    content = bytearray(path.read_bytes())
    content[content.index(b"avc1", content.index(b"stsd")) - 4] = 1
    path.write_bytes(content)
    return str(path)


def _options(codec: str, gop: int, bframes: int) -> dict[str, str]:
    return {
        "libx264": {"preset": "veryfast", "g": str(gop), "bf": str(bframes), "sc_threshold": "0"},
        "libx265": {"preset": "ultrafast", "x265-params": f"keyint={gop}:bframes={bframes}:log-level=none"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "g": str(gop)},
        "libsvtav1": {"preset": "12", "svtav1-params": f"keyint={gop}"},
    }.get(codec, {})


def _sound_stream(container: av.container.OutputContainer, path: Path) -> av.AudioStream:
    # AAC starts before time zero, and FFmpeg's versions disagree on what that means in Matroska.
    codec = "pcm_s16le" if path.suffix in (".mkv", ".avi") else "aac"
    return container.add_stream(codec, rate=8000, layout="mono")


def _mux_sound(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    for start in range(0, int(seconds * 8000), 1024):
        wave = (np.sin(np.arange(start, start + 1024) / 8) * 3000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _patch_matrix(path: Path, turn: int) -> None:
    # The nine numbers of a track header's matrix for a picture to be turned counter-clockwise by `turn`.
    cosine, sine = {90: (0, -1), 180: (-1, 0), 270: (0, 1)}[turn]
    content = bytearray(path.read_bytes())
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = matrix
    path.write_bytes(content)

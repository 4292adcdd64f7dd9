"""When a video's picture starts and ends and where its keyframes are, by its header or by its packets."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from tvrkit.errors import VideoError
from tvrkit.frames.av_file import VideoFile


@dataclass(frozen=True)
class Timeline:
    """Times of one picture stream, in ticks where nothing else is said.

    Attributes:
        tick: seconds in a tick.
        origin: time zero of the file.
        duration_seconds: from the origin to the end of the last frame, > 0.
        frame_ticks: an average frame's duration.
        keyframes: presentation times, ascending; empty where they are not known.
        num_frames: where they were counted.
    """

    tick: float
    origin: int
    duration_seconds: float
    frame_ticks: int
    keyframes: list[int]
    num_frames: int | None = None

    def ticks(self, seconds: np.ndarray) -> list[int]:
        """Seconds of the file to ticks, rounded down to the tick that has begun by then."""
        # A millionth of a tick makes up for the rounding of times that lie on a tick.
        return [self.origin + int(t) for t in np.floor(seconds / self.tick + 1e-6)]

    def seconds(self, ticks: list[int]) -> np.ndarray:
        """Ticks to seconds of the file, float64."""
        return (np.array(ticks, dtype=np.float64) - self.origin) * self.tick

    def keyframe_before(self, ticks: int) -> int | None:
        """The last keyframe that is for certain not after `ticks`."""
        # Two frames of margin: indexes hold decoding times, which may be off by the depth of reordering.
        at = bisect_right(self.keyframes, ticks - 2 * self.frame_ticks)
        return self.keyframes[at - 1] if at else None


def header_timeline(file: VideoFile) -> Timeline | None:
    """What the container says; None where it says too little to go by."""
    end = _header_end(file)
    if end is None or end <= file.origin:
        return None
    if "matroska" in file.container.format.name:
        file.seek(file.origin)  # its index is not read before it is needed
    entries = list(getattr(file.stream, "index_entries", None) or ())
    # A fragmented file's index grows while it is read: half of one would mean decoding all that follows it.
    if not entries or entries[-1].timestamp - entries[0].timestamp < 0.5 * (end - file.origin) - file.frame_ticks:
        return None
    # The index holds decoding times: the first one belongs to the frame that is shown first.
    shift = (file.stream.start_time or 0) - entries[0].timestamp
    return Timeline(
        tick=file.tick,
        origin=file.origin,
        duration_seconds=(end - file.origin) * file.tick,
        frame_ticks=file.frame_ticks,
        keyframes=sorted(entry.timestamp + shift for entry in entries if entry.is_keyframe),
    )


def _header_end(file: VideoFile) -> int | None:
    """Ticks at which the last frame ends."""
    if file.stream.duration:
        return int((file.stream.start_time or 0) + file.stream.duration)
    if tag := re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", file.stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = tag.groups()
        return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) / file.tick)
    if file.container.duration:
        return file.origin + round(file.container.duration / 1e6 / file.tick)
    return None


def survey(file: VideoFile) -> Timeline:
    """The same by going through all packets, without decoding any.

    Raises:
        VideoError: there is none.
    """
    keyframes, num_frames, end = [], 0, file.origin
    for packet in file.packets():
        when = packet.pts if packet.pts is not None else packet.dts
        if not packet.size or packet.is_discard:
            continue
        num_frames += 1
        if when is None:
            continue
        end = max(end, when + (packet.duration or file.frame_ticks))
        if packet.is_keyframe:
            keyframes.append(when)
    if not num_frames:
        raise VideoError(file.path, "holds no picture data")
    # Streams without any times (raw ones) are counted at their frame rate.
    ticks = end - file.origin if end > file.origin else num_frames * file.frame_ticks
    return Timeline(
        tick=file.tick,
        origin=file.origin,
        duration_seconds=ticks * file.tick,
        frame_ticks=file.frame_ticks,
        keyframes=sorted(keyframes),
        num_frames=num_frames,
    )

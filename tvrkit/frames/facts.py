"""What a file says of itself: size, rate, codec, and how many frames there are."""

from __future__ import annotations

from typing import Any

from tvrkit.errors import VideoError
from tvrkit.frames.av_file import VideoFile
from tvrkit.frames.request import VideoInfo
from tvrkit.frames.timeline import Timeline, survey


def video_info(file: VideoFile, timeline: Timeline, frame: Any) -> VideoInfo:
    """The facts of an open file of which `frame` (a PyAV frame) was decoded.

    Where the container does not count its frames, all packets are gone through, within the file's time limit.
    """
    rotation = round(frame.rotation / 90) % 4 * 90
    size = (frame.width, frame.height)
    width, height = size[::-1] if rotation in (90, 270) else size
    return VideoInfo(
        duration_seconds=timeline.duration_seconds,
        frames=timeline.num_frames or _counted_by_index(file) or _counted_by_packets(file),
        width=width,
        height=height,
        fps=float(file.stream.average_rate or 0),
        codec=file.stream.codec_context.codec.canonical_name,
        rotation=rotation,
    )


def _counted_by_index(file: VideoFile) -> int | None:
    """Entries of an index that holds every frame; those that an edit list cuts off are not shown and do not count."""
    entries = list(getattr(file.stream, "index_entries", None) or ())
    # FFmpeg makes an mp4's index anew by its edit list. Any other that disagrees with the header is not whole.
    if not file.stream.frames or (len(entries) != file.stream.frames and "mov" not in file.container.format.name):
        return None
    return sum(not entry.is_discard for entry in entries) or None


def _counted_by_packets(file: VideoFile) -> int | None:
    try:
        with VideoFile(file.path, file.clock) as again:
            return survey(again).num_frames
    except VideoError:  # out of time, most likely: one frame of it was decoded, so the video can be used
        return None

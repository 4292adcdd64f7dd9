from __future__ import annotations

import numpy as np
import pytest
from media import frame_number, make_audio
from videos import VIDEOS

from tvrkit.errors import VideoError
from tvrkit.frames.reader import FrameRequest, read_frames
from tvrkit.frames.sampling import sample_timestamps

pytest.importorskip("decord", reason="decord has no wheel for this machine")

# What decord 0.6 cannot open, and where it gives other frames than ffmpeg does: the reason for PyAV to come first.
CANNOT = {"av1.mp4", "av1.webm", "small.gif"}
WRONG = {"h264.ts", "h264.avi", "hevc.mp4", "hevc.mkv", "mpeg4.mp4", "bframes.avi", "trimmed.mp4"}
# Not 50 frames at an even rate: this test would have to know more of them.
OTHERS = {"late.mkv", "uneven.mp4", "uneven.mkv", "one.mp4", "one_gop.mp4"}


@pytest.mark.parametrize("name", sorted(VIDEOS.keys() - CANNOT - WRONG - OTHERS))
def test_frames_lie_within_one_frame_of_the_time_asked_for(video, name):
    got = read_frames(FrameRequest(str(video(name))), reader="decord", timeout_seconds=30)
    assert got.duration_seconds == pytest.approx(50 / 25, rel=0.2)
    fps = 50 / got.duration_seconds
    asked = sample_timestamps(got.duration_seconds, 12)
    assert len(got) == 12
    for image, seconds, pts in zip(got.data, asked, got.pts_seconds, strict=True):
        assert abs(frame_number(image) - int(seconds * fps + 1e-6)) <= 1
        assert abs(pts - seconds) <= 1 / fps + 1e-3


def test_one_long_group_of_pictures(video):
    got = read_frames(FrameRequest(str(video("one_gop.mp4")), 5), reader="decord", timeout_seconds=30)
    assert [frame_number(image) for image in got.data] == [25, 75, 125, 175, 225]
    assert got.data.shape == (5, 96, 128, 3) and got.data.dtype == np.uint8


@pytest.mark.parametrize("name", sorted(CANNOT))
def test_what_it_cannot_open_is_an_error_in_one_line(video, name):
    with pytest.raises(VideoError, match="decord cannot read it") as caught:
        read_frames(FrameRequest(str(video(name))), reader="decord", timeout_seconds=30)
    assert "\n" not in str(caught.value) and ".cc:" not in str(caught.value)


def test_a_file_without_a_picture_is_an_error(tmp_path):
    with pytest.raises(VideoError, match="decord cannot read it"):
        read_frames(FrameRequest(str(make_audio(tmp_path / "audio.mp4"))), reader="decord", timeout_seconds=30)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvrkit.errors import ConfigError, VideoError
from tvrkit.frames.request import FrameRequest
from tvrkit.frames.sampling import request_timestamps, sample_timestamps


def test_uniform_takes_the_middles_of_equal_segments():
    assert sample_timestamps(12.0, 4).tolist() == [1.5, 4.5, 7.5, 10.5]
    assert sample_timestamps(2.0, 1, start_seconds=3.0).tolist() == [4.0]


def test_head_takes_the_middle_of_each_second_from_the_start():
    assert sample_timestamps(10.0, 3, "head", start_seconds=2.0).tolist() == [2.5, 3.5, 4.5]
    assert sample_timestamps(2.7, 12, "head").tolist() == [0.5, 1.5, 2.5]
    assert sample_timestamps(0.2, 12, "head").tolist() == [0.1]


def test_random_takes_one_from_each_segment_and_the_same_for_the_same_seed():
    first = sample_timestamps(8.0, 8, "random", seed=1)
    assert np.floor(first).tolist() == list(range(8))
    assert first.tolist() == sample_timestamps(8.0, 8, "random", seed=1).tolist()
    assert first.tolist() != sample_timestamps(8.0, 8, "random", seed=2).tolist()


@given(
    duration=st.floats(1e-3, 1e5),
    num_frames=st.integers(1, 64),
    sampling=st.sampled_from(["uniform", "head", "random"]),
    start=st.floats(0, 1e4),
    seed=st.integers(0, 2**32),
)
def test_timestamps_ascend_and_stay_inside(duration, num_frames, sampling, start, seed):
    times = sample_timestamps(duration, num_frames, sampling, start_seconds=start, seed=seed)
    assert 1 <= len(times) <= num_frames
    if sampling != "head":
        assert len(times) == num_frames
    assert (np.diff(times) >= 0).all()
    assert start <= times[0] and times[-1] <= start + duration


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="uniform, head, random"):
        sample_timestamps(1.0, 1, "evenly")
    with pytest.raises(ConfigError, match="at least 1"):
        sample_timestamps(1.0, 0)
    for duration in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="cannot be sampled"):
            sample_timestamps(duration, 1)


def test_a_request_is_cut_to_the_video():
    request = FrameRequest("a.mp4", 2, start_seconds=6.0, end_seconds=20.0)
    assert request_timestamps(request, 10.0).tolist() == [7.0, 9.0]
    with pytest.raises(VideoError, match=r"a.mp4: a span that starts at 6 s is outside .* lasts 5.00 s"):
        request_timestamps(request, 5.0)
    for start in (-1.0, float("nan")):
        with pytest.raises(VideoError, match="outside"):
            request_timestamps(FrameRequest("a.mp4", start_seconds=start), 5.0)

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvrkit.frames.thinning import Thinner


def thin(times, end, fps=3.0):
    """(time in the copy, number of the frame) of every frame that is kept."""
    thinner = Thinner(fps)
    kept = [thinner.push(seconds, number) for number, seconds in enumerate(times)]
    return [each for each in (*kept, thinner.finish(end)) if each is not None]


def test_the_middle_of_each_slot_is_kept():
    # At 6 frames a second the middles of thirds of a second, 1/6, 3/6, 5/6, lie on every other frame.
    kept = thin([i / 6 for i in range(12)], 2.0)
    assert [number for _, number in kept] == [1, 3, 5, 7, 9, 11]
    assert [seconds for seconds, _ in kept] == pytest.approx([i / 3 for i in range(6)])


@pytest.mark.parametrize("fps", [0.5, 1, 2, 2.9, 3])
def test_a_video_with_no_more_frames_keeps_all_at_their_times(fps):
    times = [i / fps for i in range(7)]
    kept = thin(times, 7 / fps)
    assert [number for _, number in kept] == list(range(7))
    assert [seconds for seconds, _ in kept] == pytest.approx(times)


def test_a_video_of_one_frame_or_a_late_start_has_something_to_show_from_the_start():
    assert thin([0.0], 0.04) == [(0.0, 0)]
    assert thin([0.4, 0.45, 5.0], 5.1) == [(0.0, 0), (0.45, 1), (5.0, 2)]


def test_frames_that_come_too_late_for_their_time_are_dropped():
    assert [number for _, number in thin([0.0, 1.0, 0.5, 1.0, 2.0], 3.0)] == [0, 1, 4]


@given(
    start=st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    gaps=st.lists(st.sampled_from([0.001, 0.01, 0.04, 0.1, 0.2, 1 / 3, 0.34, 1.1, 5.0]), min_size=1, max_size=60),
)
def test_what_is_shown_is_never_more_than_half_a_slot_off(start, gaps):
    times = [start, *accumulate(gaps[:-1], initial=start)][1:] if len(gaps) > 1 else [start]
    end = times[-1] + gaps[-1]
    kept = thin(times, end)
    starts = [seconds for seconds, _ in kept]
    assert starts[0] == 0 and starts == sorted(set(starts))
    assert len(kept) <= min(len(times), 3 * end + 1)
    for (since, number), until in zip(kept, [*starts[1:], end], strict=True):
        # The video shows this frame between these two; the first one is what there is to see before as well.
        shown_since = times[number] if number else 0.0
        shown_until = times[number + 1] if number + 1 < len(times) else end
        assert since >= shown_since - 1 / 6 - 1e-6 or since == 0.0
        assert until <= shown_until + 1 / 6 + 1e-6

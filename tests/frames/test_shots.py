from __future__ import annotations

import math

import numpy as np
import pytest
from media import make_video
from scenes import Scene, make_scenes

from tvrkit.frames.av_file import Clock, VideoFile
from tvrkit.frames.moment_request import Cutting
from tvrkit.frames.shot_spans import ShotSpans
from tvrkit.frames.shots import ShotDetector
from tvrkit.frames.signature import LENGTH, Signer
from tvrkit.frames.windows import moment_times, windows


def found(path) -> list[float]:
    detector, sign, cuts = ShotDetector(), Signer(), []
    with VideoFile(str(path), Clock(str(path), 60)) as file:
        for when, frame in file.frames():
            cuts += detector.push((when - file.origin) * file.tick, sign(frame))
            assert all(at < detector.settled for at in cuts)
    return cuts + detector.finish()


def test_a_cut_is_at_the_first_frame_of_the_new_shot(tmp_path):
    """Still, grainy and fast pictures; on a keyframe or not (one each 250 frames)."""
    scenes = [
        Scene(3, 1),
        Scene(2.4, 2, noise=12),
        Scene(2.2, 3, pan=6),
        Scene(0.4, 4),
        Scene(3, 5, pan=3, noise=8),
        Scene(2, 6),
    ]
    starts = make_scenes(tmp_path / "cuts.mp4", scenes)
    assert found(tmp_path / "cuts.mp4") == pytest.approx(starts[1:])


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(Scene(6, 1), id="still"),
        pytest.param(Scene(6, 1, noise=40), id="noise"),
        pytest.param(Scene(6, 1, pan=12), id="fast pan"),
        pytest.param(Scene(6, 1, flash=70), id="flash"),
        pytest.param(Scene(6, 1, flash=70, pan=2, noise=5), id="flash on a pan"),
        pytest.param(Scene(6, colour=120, noise=20), id="nothing"),
    ],
)
def test_what_is_no_cut_is_not_taken_for_one(tmp_path, scene):
    make_scenes(tmp_path / "one.mp4", [scene])
    assert found(tmp_path / "one.mp4") == []


@pytest.mark.parametrize("transition", [{"dissolve": 0.6}, {"dissolve": 1.2}, {"fade": 0.5}, {"fade": 1.0}])
def test_transitions_are_found_at_their_middle(tmp_path, transition):
    starts = make_scenes(tmp_path / "soft.mp4", [Scene(4, 1), Scene(4, 2, **transition), Scene(3, 3, **transition)])
    assert found(tmp_path / "soft.mp4") == pytest.approx(starts[1:], abs=0.21)


def test_light_that_changes_is_no_dissolve(tmp_path):
    """A lamp goes on slowly: the same picture, twice as bright."""
    with VideoFile(str(make_video(tmp_path / "a.mp4", num_frames=1)), Clock("a", 60)) as file:
        picture = Signer()(next(file.frames())[1])
    detector = ShotDetector()
    cuts = []
    for i in range(150):
        light = np.clip((i - 60) / 25, 0, 1) * 0.5 + 0.5
        cuts += detector.push(i / 25, (picture * light).astype(np.float32))
    assert cuts + detector.finish() == []


@pytest.mark.parametrize("name", ["h264.mp4", "vp9.webm", "gif.gif"])
def test_a_signature_of_any_pixels(tmp_path, name):
    codec = {"gif": "gif", "webm": "libvpx-vp9"}.get(name.rpartition(".")[2], "libx264")
    path = make_video(tmp_path / name, num_frames=3, codec=codec)
    with VideoFile(str(path), Clock(str(path), 60)) as file:
        signatures = [Signer()(frame) for _, frame in file.frames()]
    assert all(s.shape == (LENGTH,) and s.dtype == np.float32 for s in signatures)
    assert all(0 <= s.min() and s.max() <= 255 for s in signatures)


CUTTING = Cutting()  # 20 s, at least 2, overlap 2, 2 frames a second


def spans(cuts: list[float], end: float, step: float = 0.5) -> list[tuple[float, float]]:
    """What comes out when time advances in small steps."""
    made, got, now = ShotSpans(CUTTING), [], 0.0
    while now < end:
        got += [span for cut in cuts if now - step <= cut < now for span in made.cut(cut)]
        needed = made.needed_from
        new = made.advance(now)
        assert all(span[0] >= needed - 1e-9 for span in new)
        got += new
        now += step
    rest = [span for cut in cuts if cut >= now - step for span in made.cut(cut)]
    return got + rest + made.finish(end)


@pytest.mark.parametrize(
    ("cuts", "end", "expected"),
    [
        ([], 10, [(0, 10)]),
        ([4, 9], 12, [(0, 4), (4, 9), (9, 12)]),
        ([1, 9], 12, [(0, 9), (9, 12)]),  # a short first shot belongs to the next
        ([4, 5, 9], 12, [(0, 4), (4, 9), (9, 12)]),  # so does one in the middle
        ([4, 11], 12, [(0, 4), (4, 12)]),  # the last one to the one before
        ([1, 2, 3, 4, 5, 6], 7, [(0, 2), (2, 4), (4, 7)]),
        ([], 21, [(0, 20), (11, 21)]),  # the last window is half as long as the others at least
        ([], 50, [(0, 20), (18, 38), (36, 50)]),
        ([30], 40, [(0, 20), (18, 30), (30, 40)]),
        ([20], 22, [(0, 20), (20, 22)]),
        ([20], 21, [(0, 20), (11, 21)]),
    ],
)
def test_shots_to_moments(cuts, end, expected):
    got = spans(cuts, end)
    assert got == [(pytest.approx(a), pytest.approx(b)) for a, b in expected]
    assert spans(cuts, end, step=0.04) == [(pytest.approx(a), pytest.approx(b)) for a, b in expected]


@pytest.mark.parametrize("seconds", [20.0, 20.01, 25.0, 37.9, 38.0, 38.1, 3600.0])
def test_windows_cover_all_and_overlap(seconds):
    got = windows(5.0, 5.0 + seconds, CUTTING)
    assert got[0][0] == 5.0 and got[-1][1] == 5.0 + seconds
    for (_, end), (start, _) in zip(got, got[1:], strict=False):
        assert end - start >= 2.0 - 1e-9
    assert all(10 - 1e-9 <= end - start <= 20 + 1e-9 for start, end in got)
    assert len(got) <= math.ceil(seconds / 18)


def test_times_of_a_moment():
    assert moment_times((4.0, 6.0), 12, CUTTING).tolist() == [4.25, 4.75, 5.25, 5.75]
    assert moment_times((4.0, 6.1), 12, CUTTING) == pytest.approx(4 + (np.arange(5) + 0.5) * 0.42)
    assert len(moment_times((0.0, 20.0), 12, CUTTING)) == 12
    assert moment_times((1.0, 1.2), 12, CUTTING).tolist() == [1.1]

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from media import frame_number, make_video
from pool_transforms import CannotArrive, Misbehave, number_of, size_of
from support import REPO

from tvrkit.errors import ConfigError, InstallError, VideoError, VideoTimeoutError
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reader import FrameRequest

posix = pytest.mark.skipif(os.name != "posix", reason="signals")


def requests(video, names, **options) -> list[FrameRequest]:
    return [FrameRequest(str(video(name)), **options) for name in names]


def gone(pid: int, seconds: float = 120.0) -> bool:
    """Whether a process ends within so many seconds (a zombie has ended)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            if Path("/proc/self").exists() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("reader", ["av", "auto"])
def test_videos_come_in_order_whatever_is_wrong_with_some(video, tmp_path, workers, reader):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "garbage.mp4").write_bytes(b"no video at all" * 1000)
    asked = [
        FrameRequest(str(video("h264.mp4")), 3),
        FrameRequest(str(tmp_path / "empty.mp4")),
        FrameRequest(str(video("vp9.webm")), 2),
        FrameRequest(str(tmp_path / "garbage.mp4")),
        FrameRequest(str(video("one.mp4")), 5),
        FrameRequest(str(video("h264.mp4")), start_seconds=9.0),
    ]
    with DecodePool(workers, number_of, reader=reader, timeout_seconds=30) as pool:
        got = list(pool.imap(iter(asked)))
    assert [decoded.request for decoded in got] == asked
    assert [None if d.frames is None else d.frames.ravel().tolist() for d in got] == [
        [8, 25, 41], None, [12, 37], None, [0], None
    ]  # fmt: skip
    reasons = [d.error.reason for d in got if d.error is not None]
    assert reasons[0] == "is empty (0 bytes)"
    assert reasons[1].startswith("cannot be opened as a video")
    assert "outside of the video" in reasons[2]
    for decoded in got:
        assert (decoded.error is None) == (decoded.pts_seconds is not None)


def test_without_a_transform_frames_are_raw(video):
    with DecodePool(1) as pool:
        (got,) = pool.imap(requests(video, ["h264.mp4"], num_frames=4))
    assert got.frames.shape == (4, 96, 128, 3) and got.frames.dtype == np.uint8
    assert [frame_number(image) for image in got.frames] == [6, 18, 31, 43]
    assert got.pts_seconds.tolist() == pytest.approx([0.24, 0.72, 1.24, 1.72])
    assert got.duration_seconds == pytest.approx(2.0)
    got.frames[0] = 0  # what arrives may be written to


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("reader", ["av", "decord"])
def test_preprocessing_is_open_clips_own(video, workers, reader):
    from open_clip.transform import image_transform
    from PIL import Image

    if reader == "decord":
        pytest.importorskip("decord", reason="decord has no wheel for this machine")
    transform = image_transform(64, is_train=False)
    asked = requests(video, ["h264.mp4", "sound.mp4"], num_frames=4)
    with DecodePool(0, reader=reader) as pool:
        raw = [decoded.frames for decoded in pool.imap(asked)]
    with DecodePool(workers, transform, reader=reader) as pool:
        for decoded, frames in zip(pool.imap(asked), raw, strict=True):
            expected = np.stack([transform(Image.fromarray(frame)).numpy() for frame in frames])
            assert decoded.frames.dtype == np.float32 and decoded.frames.shape == (4, 3, 64, 64)
            np.testing.assert_array_equal(decoded.frames, expected)


def test_a_transform_that_needs_torch_runs_in_the_workers(video):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform = image_transform_v2(PreprocessCfg(size=32, resize_mode="longest"), is_train=False)
    with DecodePool(1, transform) as pool:
        (got,) = pool.imap(requests(video, ["h264.mp4"], num_frames=2))
    assert got.error is None and got.frames.shape == (2, 3, 32, 32)


def test_look_ahead_is_bounded(video):
    drawn = []

    def endless():
        while True:
            drawn.append(1)
            yield FrameRequest(str(video("one.mp4")), 1)

    with DecodePool(1, prefetch=3) as pool:
        results = pool.imap(endless())
        for count in range(1, 6):
            next(results)
            assert len(drawn) == count + 3
        results.close()


def test_a_pool_serves_several_rounds_with_the_same_workers(video):
    asked = requests(video, ["h264.mp4", "vp9.webm", "one.mp4"], num_frames=2)
    with DecodePool(2) as pool:
        first = [decoded.frames for decoded in pool.imap(asked)]
        pids = sorted(pool.pids)
        abandoned = pool.imap(asked * 3)
        next(abandoned)
        abandoned.close()
        second = [decoded.frames for decoded in pool.imap(asked)]
        assert set(pids) <= set(pool.pids) and len(pool.pids) <= 2
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert all(gone(pid) for pid in pids)
    with pytest.raises(ConfigError, match="closed"):
        next(pool.imap(asked))


def test_no_worker_starts_before_it_is_needed():
    with DecodePool(4) as pool:
        assert list(pool.imap([])) == []
        assert pool.pids == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_transform_that_fails_is_the_error_of_its_video(video, workers):
    with DecodePool(workers, Misbehave("raise", on=8)) as pool:
        bad, good = pool.imap([FrameRequest(str(video("h264.mp4")), 3), FrameRequest(str(video("h264.mp4")), 2)])
    assert isinstance(bad.error, VideoError) and "ValueError: this picture is not liked" in bad.error.reason
    assert good.frames.ravel().tolist() == [12, 37]


def test_what_a_worker_prints_does_not_get_between(video):
    with DecodePool(1, Misbehave("chatter")) as pool:
        for decoded in pool.imap(requests(video, ["h264.mp4"], num_frames=3) * 3):
            assert decoded.frames.ravel().tolist() == [8, 25, 41]


@posix
@pytest.mark.parametrize(("how", "word"), [("crash", "SIGSEGV"), ("leave", "exit code 3")])
def test_a_worker_that_dies_costs_its_video_only(video, how, word):
    asked = requests(video, ["h264.mp4"] * 4, num_frames=2)
    asked[1] = FrameRequest(asked[1].path, 3)  # the only one with frame 8
    with DecodePool(2, Misbehave(how, on=8), timeout_seconds=30) as pool:
        got = list(pool.imap(asked))
    assert isinstance(got[1].error, VideoTimeoutError)
    assert got[1].error.reason == f"made its decoder crash ({word})"
    assert [d.frames.ravel().tolist() for d in got if d.error is None] == [[12, 37]] * 3


@posix
def test_a_worker_that_hangs_is_replaced_within_the_limit(video):
    asked = requests(video, ["h264.mp4"] * 4, num_frames=2)
    asked[1] = FrameRequest(asked[1].path, 3)
    with DecodePool(2, Misbehave("hang", on=8), timeout_seconds=3) as pool:
        got = list(pool.imap(asked))
    assert isinstance(got[1].error, VideoTimeoutError)
    assert got[1].error.reason == "could not be read within 3 s"
    assert [d.frames.ravel().tolist() for d in got if d.error is None] == [[12, 37]] * 3


@posix
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_killed_or_stopped_from_outside_in_mid_video(video, tmp_path, how):
    """Two workers, each busy; one is shot. Its video is an error, all others come, and the pool works on."""
    asked = requests(video, ["h264.mp4"] * 6, num_frames=8)  # 8 frames of .25 s each
    signs = tmp_path / "signs"
    signs.touch()
    with DecodePool(2, Misbehave("slow", signs=str(signs)), timeout_seconds=15) as pool:
        victims: list[int] = []

        def shoot():
            while len(set(busy := signs.read_text().split())) < 2:
                time.sleep(0.02)
            victims.append(int(busy[-1]))  # it has a frame in hand, for a quarter of a second
            os.kill(victims[0], how)

        thread = threading.Thread(target=shoot)
        thread.start()
        got = list(pool.imap(asked))
        thread.join()
        again = list(pool.imap(requests(video, ["h264.mp4"] * 4, num_frames=1)))
        assert [decoded.error for decoded in again] == [None] * 4
        assert victims[0] not in pool.pids
    errors = [decoded.error for decoded in got if decoded.error is not None]
    assert len(errors) == 1 and isinstance(errors[0], VideoTimeoutError)
    expected = "made its decoder crash (SIGKILL)" if how == signal.SIGKILL else "could not be read within 15 s"
    assert errors[0].reason == expected
    assert sum(decoded.frames is not None and len(decoded.frames) == 8 for decoded in got) == 5
    assert gone(victims[0])


@posix
def test_a_worker_killed_while_it_waits_costs_nothing(video):
    with DecodePool(1) as pool:
        next(pool.imap(requests(video, ["h264.mp4"], num_frames=2)))
        os.kill(pool.pids[0], signal.SIGKILL)
        assert gone(pool.pids[0])
        (got,) = pool.imap(requests(video, ["h264.mp4"], num_frames=2))
        assert got.error is None


# No `if __name__ == "__main__"`: the workers must not run this again.
_SCRIPT = """
import sys
sys.path[:0] = [{repo!r}, {tests!r}]
from pool_transforms import Misbehave
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reader import FrameRequest
with DecodePool(2, Misbehave("hang", on=25, signs={signs!r}), timeout_seconds=1000) as pool:
    asked = [FrameRequest({path!r}, 2)] * 2 + [FrameRequest({path!r}, 1)] * 9
    for decoded in pool.imap(asked):
        print(decoded.frames.ravel().tolist(), flush=True)
"""


def start_script(video, signs: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """The process, and its two workers, which hang."""
    signs.touch()
    code = _SCRIPT.format(repo=str(REPO), tests=str(REPO / "tests"), path=str(video("h264.mp4")), signs=str(signs))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert [process.stdout.readline() for _ in range(2)] == ["[12, 37]\n"] * 2
    end = time.monotonic() + 120
    while len(busy := signs.read_text().splitlines()) < 6:  # the four frames that come, and the two that never do
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)
    return process, sorted({int(pid) for pid in busy})


@posix
@pytest.mark.slow
@pytest.mark.parametrize("whole_terminal", [True, False])
def test_ctrl_c_leaves_no_process_behind(video, tmp_path, whole_terminal):
    process, pids = start_script(video, tmp_path / "signs")
    # A terminal sends it to every process; `kill -INT` to one.
    (os.killpg if whole_terminal else os.kill)(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode != 0 and stderr.rstrip().endswith("KeyboardInterrupt")
    assert len(pids) == 2 and all(gone(pid) for pid in pids)


@posix
@pytest.mark.slow
def test_workers_do_not_outlive_a_parent_that_is_killed(video, tmp_path):
    process, pids = start_script(video, tmp_path / "signs")
    process.kill()
    process.communicate(timeout=120)
    assert len(pids) == 2 and all(gone(pid) for pid in pids)


# In a process of its own: whatever else this one has open and running comes and goes as it likes.
_LEFT = """
import os, sys, threading
sys.path[:0] = [{repo!r}, {tests!r}]
from pool_transforms import Misbehave
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reader import FrameRequest
def files():
    return sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else []
before = files()
with DecodePool(2, Misbehave("crash", on=8), timeout_seconds=60) as pool:
    got = list(pool.imap([*[FrameRequest({path!r}, 2)] * 3, FrameRequest({path!r}, 3)]))
after = files()
assert before == after, (before, after)
left = [thread for thread in threading.enumerate() if thread.name.startswith("tvrkit-decode")]
assert not left, left
assert [decoded.error is None for decoded in got] == [True, True, True, False]
"""


@posix
def test_nothing_is_left_open(video):
    code = _LEFT.format(repo=str(REPO), tests=str(REPO / "tests"), path=str(video("h264.mp4")))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_a_transform_that_cannot_reach_the_workers_is_refused_in_one_sentence(video):
    with pytest.raises(ConfigError, match="cannot be sent to worker processes"):
        DecodePool(1, lambda image: image)
    with (
        DecodePool(1, CannotArrive()) as pool,
        pytest.raises(InstallError, match="ImportError: this transform needs a library") as caught,
    ):
        next(pool.imap(requests(video, ["h264.mp4"])))
    assert "tvrkit doctor" in str(caught.value) and "\n" not in str(caught.value)


def test_an_interpreter_that_is_not_there(video, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with DecodePool(1) as pool, pytest.raises(InstallError, match="No such file"):
        next(pool.imap(requests(video, ["h264.mp4"])))


def test_settings_that_make_no_sense_are_refused(video):
    for options in (
        {"workers": -1},
        {"workers": 1, "prefetch": 0},
        {"workers": 1, "timeout_seconds": 0},
        {"workers": 1, "timeout_seconds": float("inf")},
    ):
        with pytest.raises(ConfigError):
            DecodePool(**options)
    with pytest.raises(ConfigError, match="auto, av, decord"):
        DecodePool(1, reader="opencv")
    with DecodePool(1) as pool, pytest.raises(ConfigError, match="uniform, head, random"):
        next(pool.imap(requests(video, ["h264.mp4"], sampling="best")))


def test_a_resolution_that_changes_on_the_way_does_not_matter(tmp_path):
    small, large = (make_video(tmp_path / f"{size[0]}.ts", num_frames=25, size=size) for size in ((64, 48), (128, 96)))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with DecodePool(1) as pool:
        (got,) = pool.imap([FrameRequest(str(both), 4)])
    assert got.error is None and got.frames.shape[1:] == (48, 64, 3)


@pytest.mark.slow
def test_every_real_clip_is_read(shared):
    paths = sorted((shared / "clips" / "clips").iterdir())
    with DecodePool(2, size_of, timeout_seconds=60) as pool:
        got = list(pool.imap(FrameRequest(str(path)) for path in paths))
    assert len(got) == 107
    assert [str(decoded.error) for decoded in got if decoded.error] == []
    assert min(len(decoded.frames) for decoded in got) >= 1

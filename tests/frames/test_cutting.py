from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from media import frame_number, make_video, truncate

from tvrkit.errors import ConfigError, DataError, VideoError, VideoTimeoutError
from tvrkit.frames.av_file import Clock, VideoFile
from tvrkit.frames.clip import make_clip
from tvrkit.frames.clip_request import ClipRequest, Cut
from tvrkit.frames.cutting import cut_clip
from tvrkit.frames.reader import FrameRequest, read_frames
from tvrkit.frames.sound import RATE, read_sound

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes")


def clip(path: Path, start: float, end: float, **options) -> tuple[Cut, Path]:
    """Made in this process, which takes no time to start."""
    out = path.with_name(f"clip-{path.stem}.mp4")
    return make_clip(ClipRequest(str(path), str(out), start, end, **options), 60.0), out


def shown(path: Path) -> tuple[list[int], list[float], float]:
    """The numbers of all frames, their times and when the picture ends, read by plain PyAV."""
    numbers, times, end = [], [], 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
            numbers.append(frame_number(pixels))
            times.append(frame.time)
            end = float(frame.time + frame.duration * frame.time_base)
    return numbers, times, end


def facts(path: Path) -> tuple[str, str, str | None, float]:
    """Codec and pixels of the picture, codec of the sound and its seconds."""
    with av.open(str(path)) as container:
        video, sounds = container.streams.video[0], container.streams.audio
        seconds = float(sounds[0].duration * sounds[0].time_base) if sounds else 0.0
        return video.codec_context.name, video.codec_context.pix_fmt, sounds[0].codec.name if sounds else None, seconds


@pytest.mark.parametrize(
    "name",
    ["h264.mp4", "h264.mkv", "hevc.mp4", "h264.ts", "h264.avi", "vp9.webm", "turned_90.mp4", "trimmed.mp4"],
)  # fmt: skip
def test_an_encoded_clip_starts_at_the_very_frame(video, tmp_path, name):
    source = tmp_path / name
    source.write_bytes(video(name).read_bytes())
    there = read_frames(FrameRequest(str(source), 1, start_seconds=0.81, end_seconds=0.8101))
    cut, out = clip(source, 0.81, 1.61, mode="encode")
    numbers, times, end = shown(out)
    first = frame_number(there.data[0])
    assert first == {"trimmed.mp4": 33, "h264.avi": 18}.get(name, 20)  # what lies there; an AVI's times are guesses
    assert numbers == list(range(first, first + 21))
    assert times[0] == 0 and end == pytest.approx(0.8, abs=0.05)
    assert (cut.start_seconds, cut.mode, cut.size_bytes) == (0.81, "encode", out.stat().st_size)
    assert cut.end_seconds == pytest.approx(1.61, abs=0.041)
    assert facts(out)[:3] == ("h264", "yuv420p", None)
    assert b"moov" in out.read_bytes()[:64]  # first, so that a browser can begin to play


@pytest.mark.parametrize(
    "name", ["h264.mp4", "h264.mkv", "hevc.mp4", "h264.ts", "vp9.mp4", "turned_90.mp4", "sound.mp4"]
)
def test_a_copied_clip_starts_at_the_keyframe_before(video, tmp_path, name):
    """Keyframes are frames 0, 12, 24, 36 of 50."""
    source = tmp_path / name
    source.write_bytes(video(name).read_bytes())
    cut, out = clip(source, 1.2, 1.6, mode="copy")
    numbers, times, _ = shown(out)
    assert cut.mode == "copy" and numbers[0] == round(cut.start_seconds * 25) <= 30
    assert numbers[0] % 12 == 0
    assert numbers[: 40 - numbers[0]] == list(range(numbers[0], 40)) and numbers[-1] <= 43  # B-frames may follow
    assert times[0] == pytest.approx(0, abs=0.09)
    assert (facts(out)[2] is not None) == (name == "sound.mp4")


def test_auto_copies_where_a_keyframe_is_near(video, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(video("h264.mp4").read_bytes())
    assert clip(path, 1.1, 1.9)[0].mode == "copy"
    path.write_bytes(video("one_gop.mp4").read_bytes())
    cut, out = clip(path, 5.0, 6.0)
    assert (cut.mode, cut.start_seconds, shown(out)[0][0]) == ("encode", 5.0, 125)
    avi = tmp_path / "b.avi"
    avi.write_bytes(video("h264.avi").read_bytes())
    assert clip(avi, 0.0, 1.0)[0].mode == "encode"
    with pytest.raises(VideoError, match=r"b.avi: cannot be copied: h264 of avi does not fit in mp4; encode the clip"):
        clip(avi, 0.0, 1.0, mode="copy")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.mp4", "b.avi", "clip-a.mp4", "clip-b.mp4"]


@pytest.mark.parametrize("name", ["sound.mp4", "sound.mkv", "late.mkv"])
def test_sound_stays_and_stays_in_step(video, tmp_path, name):
    source = tmp_path / name
    source.write_bytes(video(name).read_bytes())
    _, out = clip(source, 0.6, 1.6, mode="encode")
    assert facts(out)[2] == "aac" and facts(out)[3] == pytest.approx(1.0, abs=0.05)
    (before, after) = (np.concatenate(list(read_sound(str(path), start, start + 0.9, Clock("", 60))), axis=1)
                       for path, start in ((source, 0.6), (out, 0.0)))  # fmt: skip
    length = min(before.shape[1], after.shape[1])
    assert length >= 0.85 * RATE
    # A tone of 1.27 kHz, coded once more: where both fit best, they are less than half a period apart.
    middle = slice(RATE // 4, RATE // 2)
    shifts = range(-18, 19)
    fits = [float(before[0, middle] @ np.roll(after[0], shift)[middle]) for shift in shifts]
    assert max(fits) > 0.9 * float(before[0, middle] @ before[0, middle])


def test_a_variable_rate_a_short_side_and_a_late_end(video, tmp_path):
    source = tmp_path / "uneven.mp4"
    source.write_bytes(video("uneven.mp4").read_bytes())
    with av.open(str(source)) as container:
        times = [frame.time for frame in container.decode(video=0)]
        times = [t - container.start_time / 1e6 for t in times]
    inside = [t for t in times if 3.0 < t < 9.0]
    _, out = clip(source, 3.0, 9.0, mode="encode", short_side=48)
    numbers, got, _ = shown(out)
    assert got == pytest.approx([0.0, *(t - 3.0 for t in inside)], abs=0.002)
    assert numbers[0] == max(i for i, t in enumerate(times) if t <= 3.0)
    with av.open(str(out)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (64, 48)
    cut, out = clip(tmp_path / "uneven.mp4", 2.0, 1e6, mode="encode")
    assert cut.end_seconds == pytest.approx(times[-1], abs=1.2)


def test_odd_sides_and_a_broken_end(tmp_path):
    path = make_video(tmp_path / "odd.mp4", codec="libx264", size=(130, 98), num_frames=100, noise=9,
                      container_options={"movflags": "faststart"})  # fmt: skip
    truncate(path, 0.7)
    cut, out = clip(path, 1.0, 4.0, mode="encode", short_side=97)
    assert shown(out)[0][0] == 25 and 1.5 < cut.end_seconds < 3.5
    cut, out = clip(path, 1.0, 4.0, mode="copy")
    with VideoFile(str(out), Clock(str(out), 60)) as copy:  # its last packet is a broken one
        assert cut.mode == "copy" and len(list(copy.frames())) > 10


def test_bad_wishes_are_one_sentence(video, tmp_path):
    path = str(video("h264.mp4"))
    for start, end, mode in ((2.0, 1.0, "auto"), (-1.0, 1.0, "auto"), (0.0, 1.0, "best"), (0.0, float("nan"), "copy")):
        with pytest.raises(ConfigError):
            cut_clip(path, start, end, tmp_path / "x.mp4", mode=mode)
    for mode in ("auto", "encode"):
        with pytest.raises(VideoError, match="after its end|from 60 s on"):
            make_clip(ClipRequest(path, str(tmp_path / "x.mp4"), 60.0, 61.0, mode), 60.0)
    with pytest.raises(VideoError, match="No such file"):
        cut_clip(tmp_path / "gone.mp4", 0.0, 1.0, tmp_path / "x.mp4")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write"):
        cut_clip(path, 0.0, 1.0, tmp_path / "file" / "x.mp4")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@needs_proc
@pytest.mark.slow
def test_a_clip_is_made_by_a_process_that_can_be_killed(tmp_path):
    path = make_video(tmp_path / "long.mp4", num_frames=700, size=(640, 480))
    assert cut_clip(path, 1.0, 2.0, tmp_path / "clips" / "a.mp4").size_bytes > 0
    before = _children()

    def strike():  # once it writes
        while not (born := _children() - before):
            time.sleep(0.005)
        while not list(tmp_path.glob("clips/.b.mp4.*.tmp")):
            time.sleep(0.005)
        (victim,) = born
        os.kill(victim, 9)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    with pytest.raises(VideoTimeoutError, match="SIGKILL"):
        cut_clip(path, 0.0, 28.0, tmp_path / "clips" / "b.mp4", mode="encode")
    thread.join(120)
    with pytest.raises(VideoTimeoutError, match=r"within 0.3 s"):
        cut_clip(path, 0.0, 28.0, tmp_path / "clips" / "b.mp4", mode="encode", timeout_seconds=0.3)
    assert [entry.name for entry in (tmp_path / "clips").iterdir()] == ["a.mp4"]
    assert _children() == before


def _children() -> set[int]:
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid():
            found.add(int(entry.parent.name))
    return found


@pytest.mark.slow
def test_real_clips_are_cut(shared, tmp_path):
    for path in sorted((shared / "clips" / "clips").iterdir())[::6]:
        out = tmp_path / "clip.mp4"
        for mode in ("auto", "encode"):
            made = make_clip(ClipRequest(str(path), str(out), 0.5, 1.5, mode), 60.0)
            with av.open(str(out)) as container, av.open(str(path)) as source:
                assert next(container.decode(video=0)).width > 0
                assert bool(container.streams.audio) == bool(source.streams.audio)
            assert made.end_seconds > made.start_seconds

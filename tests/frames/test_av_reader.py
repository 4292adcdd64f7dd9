from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ffmpeg_reference import every_frame, frame_at, needs_ffmpeg
from media import damage, frame_number, make_audio, make_video, numbered_frame, truncate
from videos import SIZE, VIDEOS

from tvrkit.errors import VideoError, VideoTimeoutError
from tvrkit.frames.av_reader import probe, read
from tvrkit.frames.request import FrameRequest
from tvrkit.frames.sampling import request_timestamps


def keep(pixels: np.ndarray) -> np.ndarray:
    return pixels


def sampled(path: Path, **options):
    return read(FrameRequest(str(path), **options), keep, 30)


def numbers(path: Path, **options) -> list[int]:
    return [frame_number(image) for image in sampled(path, **options).images]


@needs_ffmpeg
@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.parametrize(("sampling", "num_frames"), [("uniform", 12), ("random", 7), ("head", 20)])
def test_every_sampled_frame_is_the_one_ffmpeg_shows(video, name, sampling, num_frames):
    path = video(name)
    reference = every_frame(path, *SIZE)
    request = FrameRequest(str(path), num_frames, sampling, seed=5)
    got = read(request, keep, 30)
    asked = request_timestamps(request, got.duration_seconds)
    expected = sorted({reference.shown_at(seconds) for seconds in asked})
    assert len(got.images) == len(got.pts_seconds) == len(expected)
    for image, seconds, index in zip(got.images, got.pts_seconds, expected, strict=True):
        # AVI stores no times, and FFmpeg's versions guess those of frames stored out of order differently, by one.
        slack = int(name in ("h264.avi", "bframes.avi"))
        number = frame_number(image)
        assert abs(number - frame_number(reference.images[index])) <= slack
        twin = next(other for other in reference.images if frame_number(other) == number)
        assert np.abs(image.astype(int) - twin).mean() < 2
        allowed = reference.frame_seconds(index) * (1 + slack) + 1e-3
        # Before the first frame there is nothing on the screen, and the first one is given.
        assert min(abs(seconds - max(t, reference.seconds[0])) for t in asked) <= allowed


@needs_ffmpeg
@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mkv", "vp9.webm", "av1.mp4", "uneven.mp4", "trimmed.mp4"])
def test_a_seek_of_the_ffmpeg_command_gives_the_same_frame_or_the_next(video, name):
    path = video(name)
    request = FrameRequest(str(path), 5, "random", seed=2)
    got = read(request, keep, 30)
    asked = request_timestamps(request, got.duration_seconds)
    for seconds, image in zip(asked, got.images, strict=True):
        theirs = frame_number(frame_at(path, seconds, *SIZE))
        assert theirs - frame_number(image) in (0, 1)


def test_frames_are_known_by_number_without_any_other_tool(video):
    # 50 frames at 25 a second: the middles of 12 segments lie in these frames.
    expected = [int((i + 0.5) * 2.0 / 12 * 25) for i in range(12)]
    for name in ("h264.mp4", "hevc.mp4", "vp9.webm", "av1.webm", "turned_90.mp4", "sound.mp4"):
        assert numbers(video(name)) == expected


def test_only_wanted_frames_are_converted(video):
    converted = []
    read(FrameRequest(str(video("one_gop.mp4")), 3), converted.append, 30)
    assert len(converted) == 3


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    path = make_video(tmp_path / "long.mp4", num_frames=400, size=(640, 480), gop=400)
    code = """
import resource, sys
from tvrkit.frames.av_reader import read
from tvrkit.frames.request import FrameRequest
from tvrkit.frames import sampling
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
read(FrameRequest(sys.argv[1], 1, end_seconds=0.1), lambda pixels: pixels, 60)
before = peak()
got = read(FrameRequest(sys.argv[1], 4), lambda pixels: pixels[::8, ::8].copy(), 60)
assert len(got.images) == 4
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 60  # MB; the 400 frames are 369 MB as RGB, 184 MB as they are decoded


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0.0, 1.0, [6, 18]), (1.0, 2.0, [31, 43]), (1.0, None, [31, 43]), (1.0, 99.0, [31, 43]), (None, 0.4, [2, 7])],
)
def test_a_span_is_sampled_alone(video, start, end, expected):
    assert numbers(video("h264.mp4"), num_frames=2, start_seconds=start, end_seconds=end) == expected


def test_the_duration_is_that_of_the_whole_file(video):
    got = sampled(video("h264.mp4"), num_frames=1, start_seconds=0.5, end_seconds=1.0)
    assert got.duration_seconds == pytest.approx(2.0)
    assert got.pts_seconds == pytest.approx([0.72])


def test_sound_that_is_longer_than_the_picture_is_not_sampled(video):
    for name in ("sound.mp4", "sound.mkv"):
        assert sampled(video(name)).duration_seconds == pytest.approx(2.0)


def test_times_are_counted_from_the_start_of_the_file_when_the_picture_starts_late(video):
    got = sampled(video("late.mkv"))
    assert got.pts_seconds[0] == pytest.approx(0.5)
    assert got.duration_seconds == pytest.approx(2.5)
    assert frame_number(got.images[-1]) == 47  # 2.396 s, of which .5 were before the first frame


def test_fewer_frames_only_where_there_are_fewer(video, tmp_path):
    assert numbers(video("one.mp4")) == [0]
    short = make_video(tmp_path / "short.mp4", num_frames=5)
    assert numbers(short) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("part", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".avi"])
def test_a_file_that_ends_early_is_sampled_as_far_as_it_goes(tmp_path, suffix, part):
    path = make_video(tmp_path / f"cut{suffix}", num_frames=200, codec="mpeg4")
    truncate(path, part)
    got = sampled(path)
    assert 0.5 < got.duration_seconds <= 8.0  # the last tenth of an AVI may be nothing but its index
    middles = (np.arange(12) + 0.5) * got.duration_seconds / 12
    for image, seconds in zip(got.images, middles, strict=True):
        assert abs(frame_number(image) - int(seconds * 25 + 1e-6)) <= 1


def test_an_mp4_whose_data_end_early_is_sampled_as_far_as_it_goes(tmp_path):
    path = make_video(tmp_path / "cut.mp4", num_frames=200, container_options={"movflags": "faststart"})
    truncate(path, 0.6)
    got = sampled(path)
    assert len(got.images) == 12
    assert got.duration_seconds < 6
    assert [frame_number(image) for image in got.images] == [
        int(seconds * 25 + 1e-6) for seconds in (np.arange(12) + 0.5) * got.duration_seconds / 12
    ]


def test_damage_in_the_middle_costs_only_what_is_damaged(tmp_path):
    path = make_video(tmp_path / "damaged.mkv", num_frames=300, noise=20)
    damage(path, 0.4, 0.6)
    got = sampled(path)
    assert len(got.images) >= 8
    assert frame_number(got.images[0]) == 12
    assert frame_number(got.images[-1]) == 287


def test_a_cover_picture_is_not_the_video(tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "cover.mp4"
    _with_cover(path)
    with pytest.raises(VideoError, match="has no video stream"):
        sampled(path)


def test_what_holds_no_picture_is_refused_with_the_reason(tmp_path):
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(np.random.default_rng(0).bytes(50_000))
    with pytest.raises(VideoError, match="cannot be opened as a video") as caught:
        sampled(garbage)
    assert caught.value.path == str(garbage)
    with pytest.raises(VideoError, match="has no video stream"):
        sampled(make_audio(tmp_path / "audio.mp4"))
    headless = make_video(tmp_path / "headless.mp4")
    truncate(headless, 0.5)  # its index was at the end
    with pytest.raises(VideoError, match="cannot be opened as a video"):
        sampled(headless)


def test_a_corrupt_header_is_an_error_and_never_frames_of_something_else(tmp_path):
    path = make_video(tmp_path / "header.mp4")
    content = path.read_bytes().replace(b"avc1", b"zzzz")
    path.write_bytes(content)
    with pytest.raises(VideoError):
        sampled(path)


def test_a_span_outside_of_the_video_is_an_error(video):
    with pytest.raises(VideoError, match="outside of the video, which lasts 2.00 s"):
        sampled(video("h264.mp4"), start_seconds=5.0)
    with pytest.raises(VideoError, match="the span 1 to 1 s is empty"):
        sampled(video("h264.mp4"), start_seconds=1.0, end_seconds=1.0)


def test_the_time_limit_holds_inside_of_a_long_decode(tmp_path):
    path = make_video(tmp_path / "long.mp4", num_frames=400, size=(640, 480), gop=400)
    with pytest.raises(VideoTimeoutError, match="could not be read within 0.02 s"):
        read(FrameRequest(str(path)), keep, 0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="file names are text on Windows")
def test_names_that_are_no_text_and_look_like_addresses_are_read(video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = video("h264.mp4").read_bytes()
    for name in (b"caf\xe9.mp4", b"http:x.mp4", b"%03d.mp4", "日本 🎬.mp4".encode(), b"-i.mp4"):
        Path(os.fsdecode(name)).write_bytes(content)
        assert numbers(Path(os.fsdecode(name)), num_frames=1) == [25]


def test_probe(video):
    info = probe(str(video("turned_90.mp4")), 30)
    assert (info.width, info.height, info.rotation) == (128, 96, 90)
    assert (info.codec, info.frames, info.fps) == ("h264", 50, 25.0)
    assert info.duration_seconds == pytest.approx(2.0)
    assert probe(str(video("av1.webm")), 30).codec == "av1"
    assert probe(str(video("sound.mkv")), 30).duration_seconds == pytest.approx(2.0)


def test_the_numbered_frame_can_tell_wrong_pictures():
    picture = numbered_frame(1234)
    assert frame_number(picture) == 1234
    for wrong in (picture[::-1], picture[:, ::-1], np.rot90(picture), picture[..., ::-1]):
        with pytest.raises(AssertionError):
            frame_number(wrong)


@pytest.mark.slow
@needs_ffmpeg
def test_real_clips_have_the_frames_that_ffmpeg_shows(shared):
    """Every fifth of the real web videos: times of 12 random frames against every time that ffprobe lists."""
    paths = sorted((shared / "clips" / "clips").iterdir())[::5]
    for path in paths:
        request = FrameRequest(str(path), 12, "random", seed=3)
        got = read(request, lambda pixels: pixels[::16, ::16].copy(), 60)
        times, frame_seconds = _probed_times(path)
        for seconds in request_timestamps(request, got.duration_seconds):
            nearest = np.abs(got.pts_seconds - times[max(0, np.searchsorted(times, seconds, "right") - 1)]).min()
            assert nearest <= frame_seconds, path


def _probed_times(path: Path) -> tuple[np.ndarray, float]:
    entries = "frame=best_effort_timestamp_time:format=start_time:stream=avg_frame_rate"
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "csv", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(",") for line in done.stdout.splitlines() if line]
    start = next(float(row[1]) for row in rows if row[0] == "format")
    times = np.array([float(row[1]) for row in rows if row[0] == "frame" and row[1] != "N/A"])
    rate = next(row[1] for row in rows if row[0] == "stream").split("/")
    return times - start, int(rate[1]) / max(1, int(rate[0])) + 0.01


def _with_cover(path: Path) -> None:
    import av
    from av.stream import Disposition

    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = int(Disposition.attached_pic.value)
        frame = av.VideoFrame.from_ndarray(numbered_frame(1, 64, 64), format="rgb24")
        container.mux(cover.encode(frame))
        container.mux(cover.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        silence.sample_rate, silence.pts = 8000, 0
        container.mux(sound.encode(silence))
        container.mux(sound.encode())

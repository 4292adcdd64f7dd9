from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from media import damage, frame_number, make_audio, make_video, truncate
from support import REPO
from videos import VIDEOS

from tvrkit.errors import DataError, VideoError, VideoTimeoutError
from tvrkit.frames.av_reader import probe, read
from tvrkit.frames.reader import FrameRequest
from tvrkit.frames.request import CopyRequest
from tvrkit.frames.transcode import make_copy


@pytest.fixture
def copied(tmp_path):
    """`copied(path)`: the path of a copy that must be made."""

    def make(path: Path, **settings) -> Path:
        request = CopyRequest(str(path), str(tmp_path / "copies" / "copy.mp4"), **settings)
        made = make_copy(request, 60)
        assert made.error is None and made.request == request
        assert made.size_bytes == Path(request.destination).stat().st_size
        assert [entry.name for entry in (tmp_path / "copies").iterdir()] == ["copy.mp4"]
        return Path(request.destination)

    return make


def every_frame(path: Path):
    """Numbers and times of all frames, and the end of the last; by the reader, so in its way of counting time."""
    got = read(FrameRequest(str(path), 2000), frame_number, 60)
    return got.images, got.pts_seconds, got.duration_seconds


@pytest.mark.parametrize("name", sorted(VIDEOS.keys() - {"one.mp4"}))
def test_at_every_time_the_copy_shows_what_the_video_shows_then(video, copied, name):
    numbers, times, end = every_frame(video(name))
    of_copy, copy_times, copy_end = every_frame(copied(video(name)))
    assert copy_end == pytest.approx(end, abs=2e-3)
    assert len(of_copy) <= min(len(numbers), 3 * end + 1)
    assert copy_times[0] == 0
    since = dict(zip(numbers, times, strict=True))
    until = dict(zip(numbers, [*times[1:], end], strict=True))
    for seconds in np.arange(0.0, end, 0.01):
        shown = of_copy[np.searchsorted(copy_times, seconds + 1e-6, side="right") - 1]
        early = since[shown] if shown != numbers[0] else 0.0
        assert early - 1 / 6 - 2e-3 <= seconds <= until[shown] + 1 / 6 + 2e-3


def test_twelve_frames_of_a_copy_are_those_of_the_video(tmp_path, copied):
    path = make_video(tmp_path / "long.mkv", num_frames=200, size=(480, 360), bframes=2, noise=8, audio_seconds=9)
    copy = copied(path)
    assert copy.stat().st_size < path.stat().st_size / 4
    asked, got = (read(FrameRequest(str(p), 12), lambda pixels: pixels, 60) for p in (path, copy))
    assert len(got.images) == 12
    assert np.abs(got.pts_seconds - asked.pts_seconds).max() <= 1 / 3  # when its third of a second begins
    for image, other in zip(asked.images, got.images, strict=True):
        assert abs(frame_number(image) - frame_number(other)) <= 25 / 6
    info = probe(str(copy), 30)
    assert (info.width, info.height, info.codec, info.frames) == (298, 224, "h264", 24)
    with av.open(str(copy)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert container.streams.video[0].format.name == "yuv420p"


def mean_squared_errors(path: Path, copy: Path) -> list[float]:
    """Of the frames of a copy of the same size, against those of the source at the middle of each third of a second."""
    found = []
    with av.open(str(copy)) as container:
        for frame in container.decode(video=0):
            start = frame.time + 1 / 6
            request = FrameRequest(str(path), 1, start_seconds=start, end_seconds=start + 1e-3)
            (source,) = read(request, lambda pixels: pixels.astype(float), 60).images
            found.append(((source - frame.to_ndarray(format="rgb24")) ** 2).mean())
    return found


def test_pictures_are_close(tmp_path, copied):
    path = make_video(tmp_path / "noisy.mp4", num_frames=50, size=(320, 224), noise=12, options={"crf": "10"})
    assert max(mean_squared_errors(path, copied(path))) < 255**2 / 10**3.3  # 33 dB: most of the noise is there


@pytest.mark.parametrize(
    "options",
    [
        {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"},
        {"color_range": "pc"},
        {"colorspace": "bt709", "color_range": "pc"},
    ],
)
def test_colours_are_those_that_the_reader_sees(tmp_path, copied, options):
    """A matrix or a range that is lost on the way would shift every colour."""
    path = make_video(tmp_path / "coloured.mp4", size=(320, 224), options=options)
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.color_range == 2) == ("color_range" in options)
        assert (codec.colorspace == 1) == ("colorspace" in options)
    pictures = [read(FrameRequest(str(p), 1), lambda pixels: pixels, 60).images[0] for p in (path, copied(path))]
    corners = np.ix_([28, 196], [40, 280])  # the same in every frame
    assert np.abs(pictures[0][corners].astype(int) - pictures[1][corners]).max() <= 4


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((641, 483), (296, 224)),  # 297.3 x 224: even sizes
        ((97, 131), (96, 130)),  # never scaled up
        ((225, 1001), (224, 996)),
        ((6, 4), (6, 4)),
    ],
)
def test_sizes_are_even_and_never_larger(tmp_path, copied, size, expected):
    path = make_video(tmp_path / "odd.mkv", codec="ffv1", num_frames=30, size=size, noise=20)
    info = probe(str(copied(path)), 30)
    assert (info.width, info.height) == expected


def test_a_turned_video_is_upright_in_its_copy(tmp_path, copied):
    path = make_video(tmp_path / "turned.mp4", num_frames=50, size=(320, 480), turn=90, noise=9)
    info = probe(str(copied(path)), 30)
    assert (info.width, info.height, info.rotation) == (224, 336, 0)
    assert every_frame(copied(path))[0] == [4, 12, 20, 29, 37, 45]  # the frames at 1/6, 3/6, ... s, of 25 a second


def test_a_slow_video_keeps_every_frame_at_its_time(tmp_path, copied):
    path = make_video(tmp_path / "slow.mp4", num_frames=6, fps=1, size=(640, 480), noise=9)
    numbers, times, end = every_frame(copied(path))
    assert numbers == list(range(6)) and times.tolist() == pytest.approx(list(range(6))) and end == pytest.approx(6)


def test_other_settings(tmp_path, copied):
    path = make_video(tmp_path / "a.mp4", num_frames=50, size=(320, 240), noise=9)
    info = probe(str(copied(path, fps=5, short_side=112)), 30)
    assert (info.width, info.height, info.frames, info.fps) == (148, 112, 10, 5.0)


def test_one_frame(tmp_path, copied):
    path = make_video(tmp_path / "one.mp4", num_frames=1, size=(640, 480), noise=9)
    numbers, times, end = every_frame(copied(path))
    assert (numbers, times.tolist()) == ([0], [0.0]) and end == pytest.approx(probe(str(path), 30).duration_seconds)


def test_of_a_source_as_small_as_its_copy_none_is_made(video, tmp_path):
    destination = tmp_path / "copy.mp4"
    destination.write_bytes(b"of an earlier source")
    made = make_copy(CopyRequest(str(video("one.mp4")), str(destination)), 60)
    assert made.error is None and made.size_bytes is None
    assert list(tmp_path.iterdir()) == []


def test_a_large_source_is_copied_even_where_that_saves_nothing(tmp_path, copied):
    path = make_video(tmp_path / "still.mp4", num_frames=3, fps=3, size=(640, 480), options={"crf": "51"})
    assert probe(str(copied(path)), 30).height == 224  # 640 x 480 cost more to decode


def test_what_cannot_be_read_is_an_error_with_its_reason_and_leaves_nothing(tmp_path):
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    (tmp_path / "empty.mp4").touch()
    make_audio(tmp_path / "audio.mp4")
    make_video(tmp_path / "headless.mp4", noise=9)
    truncate(tmp_path / "headless.mp4", 0.5)
    destination = tmp_path / "copies" / "copy.mp4"
    for name, reason in {
        "text.mp4": "cannot be opened as a video",
        "empty.mp4": "is empty (0 bytes)",
        "audio.mp4": "has no video stream",
        "headless.mp4": "cannot be opened as a video",
        "gone.mp4": "cannot be opened (No such file",
    }.items():
        made = make_copy(CopyRequest(str(tmp_path / name), str(destination)), 60)
        assert made.size_bytes is None and isinstance(made.error, VideoError)
        assert made.error.reason.startswith(reason) and made.error.path.endswith(name)
    assert not destination.parent.exists() or list(destination.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["cut.mkv", "cut.mp4", "spoiled.ts"])
def test_of_a_damaged_video_what_can_be_read_is_copied(tmp_path, copied, name):
    path = tmp_path / name
    options = {"movflags": "faststart"} if name == "cut.mp4" else {}
    make_video(path, num_frames=120, size=(320, 240), noise=9, container_options=options)
    if name == "spoiled.ts":
        damage(path, 0.4, 0.6)
    else:
        truncate(path, 0.6)
    _, times, end = every_frame_or_nothing(path)
    _, copy_times, copy_end = every_frame_or_nothing(copied(path))
    assert copy_end == pytest.approx(end, abs=0.1)
    assert copy_times[-1] == pytest.approx(times[-1], abs=1 / 3 + 0.05)


def every_frame_or_nothing(path: Path):
    got = read(FrameRequest(str(path), 2000), lambda pixels: pixels.shape, 60)
    return got.images, got.pts_seconds, got.duration_seconds


def test_the_time_limit_holds(tmp_path):
    path = make_video(tmp_path / "long.mp4", num_frames=150, size=(640, 480))
    made = make_copy(CopyRequest(str(path), str(tmp_path / "copies/copy.mp4")), 0.05)
    assert isinstance(made.error, VideoTimeoutError) and made.error.reason == "could not be read within 0.05 s"
    assert list((tmp_path / "copies").iterdir()) == []


def test_the_same_source_gives_the_same_copy(tmp_path, copied):
    path = make_video(tmp_path / "a.mp4", size=(320, 240), noise=9)
    first = copied(path).read_bytes()
    assert copied(path).read_bytes() == first


def test_a_copy_that_cannot_be_written_is_one_sentence(tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=100, size=(320, 240), noise=30)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*copy\.mp4 \(.*\): make room or choose another folder"):
        make_copy(CopyRequest(str(path), str(tmp_path / "file" / "copy.mp4")), 60)


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits")
def test_a_disk_that_is_full_is_one_sentence(tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=100, size=(320, 240), noise=30)
    code = (
        "import resource\n"
        "from tvrkit.frames.transcode import make_copy\n"
        "from tvrkit.frames.request import CopyRequest\n"
        "from tvrkit.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        "try:\n"
        f"    print(make_copy(CopyRequest({str(path)!r}, {str(tmp_path / 'copies/copy.mp4')!r}), 60))\n"
        "except DataError as error:\n"
        "    print('DataError', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=True)
    assert done.stdout.startswith("DataError cannot write ") and "(File too large)" in done.stdout
    assert list((tmp_path / "copies").iterdir()) == []


@pytest.mark.slow
def test_real_clips_and_their_copies_show_the_same(shared, tmp_path):
    """12 uniform frames: as long, the times within a sixth of a second, and what moves little looks alike."""
    for path in sorted((shared / "clips" / "clips").iterdir())[::9]:
        copy = tmp_path / "copy.mp4"
        made = make_copy(CopyRequest(str(path), str(copy)), 60)
        assert made.error is None
        if made.size_bytes is None:
            continue
        source, other = (read(FrameRequest(str(p), 12), lambda pixels: pixels, 60) for p in (path, copy))
        assert other.duration_seconds == pytest.approx(source.duration_seconds, abs=2e-3)
        assert np.diff(other.pts_seconds).max() <= max(1 / 3, np.diff(source.pts_seconds).max()) + 1 / 3
        errors = errors_at_middles(path, copy)
        # 29 dB against Pillow's way of scaling; the colours of a GIF change from one pixel to the next.
        assert np.median(errors) < 255**2 / 10 ** (2.2 if path.suffix == ".gif" else 2.9), path


def errors_at_middles(path: Path, copy: Path) -> list[float]:
    from PIL import Image

    found = []
    with av.open(str(copy)) as container:
        for frame in container.decode(video=0):
            start = frame.time + 1 / 6
            request = FrameRequest(str(path), 1, start_seconds=start, end_seconds=start + 1e-3)
            try:
                (source,) = read(request, Image.fromarray, 60).images
            except VideoError:  # the last third of a second is shorter
                continue
            scaled = np.asarray(source.resize((frame.width, frame.height), Image.Resampling.BICUBIC), float)
            found.append(((scaled - frame.to_ndarray(format="rgb24")) ** 2).mean())
    return found

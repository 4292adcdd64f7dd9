from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from media import make_video

from tvrkit.errors import ConfigError, DataError, VideoTimeoutError
from tvrkit.frames import copying
from tvrkit.frames.copying import copy_videos
from tvrkit.frames.request import CopyRequest

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes")


def children() -> set[int]:
    """Process ids of this process's children."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has ended
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(entry.parent.name))
    return found


@pytest.fixture
def requests(tmp_path):
    """Five sources of which the third is none."""
    made = []
    for number in range(5):
        path = tmp_path / f"{number}.mp4"
        if number == 2:
            path.write_text("no video")
        else:
            make_video(path, num_frames=60, size=(320, 240), noise=9)
        made.append(CopyRequest(str(path), str(tmp_path / "copies" / f"{number}.mp4")))
    return made


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_all_are_copied_but_what_cannot_be(requests, tmp_path, workers):
    got = {copied.request: copied for copied in copy_videos(requests, workers, 60)}
    assert set(got) == set(requests)
    reasons = [copied.error.reason for copied in got.values() if copied.error is not None]
    assert len(reasons) == 1 and reasons[0].startswith("cannot be opened as a video")
    assert files(tmp_path / "copies") == ["0.mp4", "1.mp4", "3.mp4", "4.mp4"]
    for request, copied in got.items():
        assert copied.size_bytes == (None if copied.error else Path(request.destination).stat().st_size)


@needs_proc
@pytest.mark.parametrize(
    ("how", "limit", "reason"),
    [
        pytest.param("SIGSTOP", 10.0, "could not be read within 10 s", marks=pytest.mark.slow),
        ("SIGKILL", 120.0, "SIGKILL"),
    ],
)
def test_a_process_that_hangs_or_dies_costs_its_video_only(requests, tmp_path, how, limit, reason):
    long = make_video(tmp_path / "long.mp4", num_frames=250, size=(640, 480))
    asked = [CopyRequest(str(long), str(tmp_path / "copies" / "long.mp4")), requests[0], requests[1]]
    before = children()

    def strike():  # once it writes the copy of the first
        while not (born := children() - before):
            time.sleep(0.005)
        while not list(tmp_path.glob("copies/.long.mp4.*.tmp")):
            time.sleep(0.005)
        (victim,) = born
        os.kill(victim, getattr(signal, how))

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    got = {Path(copied.request.path).name: copied for copied in copy_videos(asked, 1, limit)}
    thread.join(120)
    assert isinstance(got["long.mp4"].error, VideoTimeoutError) and reason in got["long.mp4"].error.reason
    assert got["0.mp4"].error is None and got["1.mp4"].error is None
    assert files(tmp_path / "copies") == ["0.mp4", "1.mp4"]  # and nothing half done


@needs_proc
def test_stopping_early_leaves_no_process(requests):
    before = children()
    with closing(copy_videos(requests, 2, 60)) as copies:
        next(copies)
        assert children() - before
    assert not children() - before


def test_a_large_file_has_more_time(tmp_path):
    request = CopyRequest(str(tmp_path / "large.mp4"), "copy.mp4")
    with open(request.path, "wb") as file:
        file.truncate(50_000_000)
    assert copying._limit(request, 10.0) == 30.0
    assert copying._limit(CopyRequest("gone.mp4", "copy.mp4"), 10.0) == 10.0


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_written_ends_it_in_one_sentence(requests, tmp_path, workers):
    (tmp_path / "copies").touch()
    with pytest.raises(DataError, match="cannot write"):
        list(copy_videos(requests, workers, 60))


def test_settings_that_make_no_sense_are_refused(requests):
    for workers, limit in ((-1, 60.0), (1, 0.0), (1, float("nan"))):
        with pytest.raises(ConfigError):
            list(copy_videos(requests, workers, limit))
    assert list(copy_videos([], 2, 60)) == []

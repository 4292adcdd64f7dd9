from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from media import frame_number, make_audio, make_video
from support import REPO

from tvrkit.errors import ConfigError, DataError
from tvrkit.frames.av_reader import probe, read
from tvrkit.frames.reader import FrameRequest
from tvrkit.prepare import compress
from tvrkit.prepare.compress import COPIES_NAME, compress_all
from tvrkit.reporting import Silent

posix = pytest.mark.skipif(os.name != "posix", reason="signals and locks")


@pytest.fixture
def sources(tmp_path):
    """Three videos whose copies are smaller, in two folders."""
    (tmp_path / "videos/sub").mkdir(parents=True)
    return [
        make_video(tmp_path / "videos" / name, num_frames=50, size=(400, 300), noise=9)
        for name in ("a.mp4", "b.mkv", "sub/c.mov")
    ]


@pytest.fixture
def run(tmp_path):
    """`run(sources)`: `compress_all` in this process, to the folder `copies`."""

    def make(sources, **options):
        jobs = [(source, tmp_path / "copies" / f"{source.stem}.mp4") for source in sources]
        return compress_all(jobs, **{"workers": 0, "timeout_seconds": 60, "watcher": Silent(), **options})

    return make


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.mp4")}


@pytest.mark.parametrize("workers", [0, 2])
def test_copies_are_made_once(sources, run, tmp_path, workers):
    got = run(sources, workers=workers)
    copies = tmp_path / "copies"
    assert got.done == {source: copies / f"{source.stem}.mp4" for source in sources}
    assert (got.new, got.kept, got.failures) == (3, 0, {})
    assert got.bytes_before == sum(source.stat().st_size for source in sources)
    assert got.bytes_after == sum(copy.stat().st_size for copy in got.done.values()) < got.bytes_before
    for copy in got.done.values():
        assert read(FrameRequest(str(copy), 20), frame_number, 30).images == [4, 12, 20, 29, 37, 45]
    assert set(names(copies)) == {"a.mp4", "b.mp4", "c.mp4", COPIES_NAME, compress.LOCK_NAME}
    before = times(copies)
    again = run(sources, workers=workers)
    assert (again.new, again.kept) == (0, 3) and times(copies) == before
    assert (again.done, again.bytes_before, again.bytes_after) == (got.done, got.bytes_before, got.bytes_after)


def test_only_what_changed_is_made_again(sources, run, tmp_path):
    run(sources)
    copies = tmp_path / "copies"
    make_video(sources[0], num_frames=25, size=(400, 300), noise=9)
    (copies / "b.mp4").write_bytes((copies / "b.mp4").read_bytes()[:-100])
    before = times(copies)
    got = run(sources)
    assert (got.new, got.kept) == (2, 1)
    assert {name for name, when in times(copies).items() if when != before[name]} == {"a.mp4", "b.mp4"}
    assert probe(str(copies / "a.mp4"), 30).duration_seconds == pytest.approx(1.0)
    (copies / "c.mp4").unlink()
    assert run(sources).new == 1
    assert run(sources, fps=2.0).new == 3
    assert run(sources, fps=2.0, short_side=112).new == 3
    assert probe(str(copies / "c.mp4"), 30).height == 112
    for damaged in ("{", "[]", '{"a.mp4": 3}', '{"a.mp4": {"made_from": 1}}'):
        (copies / COPIES_NAME).write_text(damaged)
        assert run(sources[:1]).new == 1


def test_a_source_as_small_as_its_copy_is_read_itself(run, tmp_path):
    still = make_video(tmp_path / "still.mp4", num_frames=2, fps=1, options={"crf": "51"})
    got = run([still])
    assert got.done == {still: still} and (got.new, got.kept) == (1, 0)
    assert got.bytes_before == got.bytes_after == still.stat().st_size
    assert not list((tmp_path / "copies").glob("*.mp4"))
    again = run([still])
    assert again.done == got.done and (again.new, again.kept) == (0, 1)
    assert again.bytes_after == got.bytes_after
    make_video(still, num_frames=50, size=(400, 300), noise=9)  # not so any more
    assert run([still]).done == {still: tmp_path / "copies/still.mp4"}


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_copied_has_its_reason_and_is_tried_again(sources, run, tmp_path, workers):
    audio = make_audio(tmp_path / "videos/audio.mp4")
    gone = tmp_path / "videos/gone.mp4"
    got = run([*sources[:1], audio, gone], workers=workers)
    assert got.failures == {
        audio: "has no video stream",
        gone: "cannot be opened (No such file or directory)",
    }
    assert list(got.done) == sources[:1] and (got.new, got.kept) == (1, 0)
    assert run([*sources[:1], audio, gone], workers=workers).failures == got.failures
    make_video(gone, num_frames=50, size=(400, 300), noise=9)
    assert list(run([*sources[:1], gone], workers=workers).done) == [sources[0], gone]


def test_what_a_dead_process_left_is_removed_and_nothing_else(sources, run, tmp_path):
    copies = tmp_path / "copies"
    copies.mkdir()
    for name in (".a.mp4.x81kd_2q.tmp", f".{COPIES_NAME}.abc.tmp", ".other.mp4.abc.tmp", "a.tmp", ".a.mp4"):
        (copies / name).write_bytes(b"half")
    run(sources[:1])
    left = {".other.mp4.abc.tmp", "a.tmp", ".a.mp4"}
    assert set(names(copies)) == {"a.mp4", COPIES_NAME, compress.LOCK_NAME} | left


def test_a_video_is_never_written_over(sources, tmp_path):
    def refuse(words, *jobs):
        before = [source.read_bytes() for source in sources]
        with pytest.raises(DataError, match=words):
            compress_all(jobs, workers=0, timeout_seconds=60, watcher=Silent())
        assert [source.read_bytes() for source in sources] == before

    a, b, _ = sources
    (tmp_path / "link").symlink_to(tmp_path / "videos", target_is_directory=True)
    refuse("would be written over a video", (a, a))
    refuse("would be written over a video", (a, tmp_path / "link" / "a.mp4"))
    refuse("would be written over a video", (a, tmp_path / "copies/a.mp4"), (b, a))
    refuse("would have the same copy", (a, tmp_path / "copies/x.mp4"), (b, tmp_path / "copies/x.mp4"))


def test_the_same_job_twice_is_one(sources, tmp_path):
    job = (sources[0], tmp_path / "copies/a.mp4")
    got = compress_all([job, job], workers=0, timeout_seconds=60, watcher=Silent())
    assert got.new == 1 and got.bytes_before == sources[0].stat().st_size


def test_nothing_to_do():
    got = compress_all([], workers=2, timeout_seconds=60, watcher=Silent())
    assert (got.done, got.new, got.bytes_before) == ({}, 0, 0)


@posix
def test_two_processes_do_not_copy_to_one_folder(sources, run, tmp_path):
    import fcntl

    (tmp_path / "copies").mkdir()
    with (tmp_path / "copies" / compress.LOCK_NAME).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"another tvrkit makes copies in .*copies"):
            run(sources)
    assert run(sources).new == 3


def test_settings_that_make_no_sense_are_refused(sources, run):
    for wrong in ({"fps": 0}, {"fps": float("nan")}, {"short_side": 1}, {"workers": -1}, {"timeout_seconds": 0}):
        with pytest.raises(ConfigError):
            run(sources, **wrong)


def test_a_folder_that_cannot_be_made_is_one_sentence(sources, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write to .*file"):
        compress_all([(sources[0], tmp_path / "file/a.mp4")], workers=0, timeout_seconds=60, watcher=Silent())


_SCRIPT = """
import sys
from pathlib import Path
from tvrkit.prepare.compress import compress_all
from tvrkit.reporting import Silent
sources = sorted(Path(sys.argv[1]).iterdir())
jobs = [(source, Path(sys.argv[2]) / f"{source.stem}.mp4") for source in sources]
got = compress_all(jobs, workers=2, timeout_seconds=60, watcher=Silent())
print(len(got.done), got.new, got.kept, len(got.failures))
"""


def is_whole(path: Path) -> bool:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0)) == container.streams.video[0].frames > 0


@posix
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_it_goes_on_the_next_time(tmp_path, how):
    videos, copies = tmp_path / "videos", tmp_path / "copies"
    videos.mkdir()
    first = make_video(videos / "0.mp4", num_frames=250, size=(640, 480), noise=9)
    for number in range(1, 16):
        (videos / f"{number}.mp4").write_bytes(first.read_bytes())
    command = [sys.executable, "-c", _SCRIPT, str(videos), str(copies)]
    process = subprocess.Popen(command, cwd=REPO, stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 300
    while len(list(copies.glob("*.mp4"))) < 4:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    process.send_signal(how)
    assert process.wait(120) != 0
    while workers_of(process.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert workers_of(process.pid) == []
    made = list(copies.glob("*.mp4"))
    assert 4 <= len(made) < 16 and all(is_whole(path) for path in made)
    if how == signal.SIGINT:
        noted = len(json.loads((copies / COPIES_NAME).read_text()))
        assert noted >= len(made) - 2  # each of two processes may just have finished one
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    total, new, kept, failures = map(int, done.stdout.split())
    assert (total, new + kept, failures) == (16, 16, 0)
    if how == signal.SIGINT:
        assert kept == noted
    assert set(names(copies)) == {f"{n}.mp4" for n in range(16)} | {COPIES_NAME, compress.LOCK_NAME}
    assert all(is_whole(path) for path in copies.glob("*.mp4"))


def workers_of(group: int) -> list[int]:
    """Processes of the session that `group` leads, without those that have ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = entry.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(entry.parent.name))
    return found

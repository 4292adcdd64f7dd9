"""Whatever ends indexing, at whatever moment: what is kept is right to the bit, and nothing is done twice."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from indexing import assert_same, meta_of, open_new, rows_of
from media import make_black, make_video, truncate
from searching import make_model
from support import clean_environment, run_tvrkit

from tvrkit.encode.moments import VideoMoments
from tvrkit.frames.moment_request import Cutting
from tvrkit.frames.reading import Reading
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.tally import tally
from tvrkit.index.update import encode, plan
from tvrkit.index.verify import verify

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs signals")]

KILLS = 13
CUTTING = Cutting("fixed", max_seconds=1.0, min_seconds=0.5, overlap_seconds=0.5)  # several moments even of tiny clips


@dataclass(frozen=True)
class World:
    """Clips of different content, some of them broken, a model, and what an undisturbed build makes of them."""

    model: Path
    clips: Path
    rows: dict[str, VideoMoments]
    failures: dict[str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    model = make_model(folder / "model")
    clips = folder / "clips"
    clips.mkdir()
    for i in range(27):
        make_video(clips / f"{i:02d}.mp4", num_frames=12 + 2 * i, fps=10, size=(64 + 16 * (i % 3), 64), noise=5 + 4 * i)
    make_black(clips / "black.mp4")
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "garbage.mp4").write_bytes(b"garbage" * 1000)
    shutil.copy(clips / "20.mp4", clips / "cut.mp4")
    truncate(clips / "cut.mp4", 0.4)
    with open_new(folder / "fresh", meta_of(model, folder / "model", CUTTING)) as index:
        encode(index, model, plan(index, [str(clips)]), reading=Reading(0))
        rows, failures = rows_of(index), index.failures()
    assert len(rows) == 28 and len(failures) == 3 and sum(map(len, rows.values())) > 60
    return World(folder / "model", clips, rows, failures)


def arguments(world: World, place: Path, workers: int = 0) -> list[str]:
    cutting = ["--cut", "fixed", "--max-seconds", "1", "--min-seconds", "0.5", "--overlap", "0.5"]
    return [
        "index",
        str(world.clips),
        "--index",
        str(place),
        "--model",
        str(world.model),
        *cutting,
        "--workers",
        str(workers),
    ]


# An import of torch costs seconds: one process has it, and a child of it is killed. Each video is told once it is kept.
VICTIMS = """
import os, sys, time, json
import torch
import tvrkit.index.encoding, tvrkit.index.segments, tvrkit.index.update as update
from tvrkit.cli import main
from tvrkit.core import load_model

load_model(sys.argv[1])

class Telling(update._Keeper):
    def keep(self):
        done = list(self._videos)
        super().keep()
        for identity in done:
            print("kept", identity, flush=True)

update._Keeper = Telling
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        update._COMMIT_SECONDS = order["commit"]
        try:
            main(order["arguments"])
        finally:
            os._exit(0)
    end, status = time.monotonic() + order["seconds"], 0
    while time.monotonic() < end and not (status := os.waitpid(child, os.WNOHANG))[0]:
        time.sleep(0.005)
    if not status or not status[0]:
        os.kill(child, 9)
        status = os.waitpid(child, 0)
    print("ended", status[1] & 127, flush=True)
"""


@pytest.fixture
def victims(world: World, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", VICTIMS, str(world.model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=clean_environment(tmp_path),
        cwd=tmp_path,
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


def killed_after(
    victims: subprocess.Popen[str], seconds: float, commit: float, words: list[str]
) -> tuple[int, set[str]]:
    """The signal that ended it (0 when it was done before), and what it said to have kept."""
    assert victims.stdin and victims.stdout
    print(json.dumps({"seconds": seconds, "commit": commit, "arguments": words}), file=victims.stdin, flush=True)
    kept = set()
    for line in victims.stdout:
        word, value = line.split()
        if word == "ended":
            return int(value), kept
        kept.add(value)
    raise AssertionError("the process that is to be killed is gone")


def check(place: Path, world: World) -> set[str]:
    """Every row that is there is that of the fresh build, to the bit; returns what is there."""
    with SegmentIndex(str(place)) as index:
        assert verify(index).problems == ()
        rows = rows_of(index)
        assert_same(rows, {identity: world.rows[identity] for identity in rows})
        failures = index.failures()
        assert failures.items() <= world.failures.items()
        assert not rows.keys() & failures.keys()
        return set(rows)


def test_killed_at_random_moments(world: World, victims: subprocess.Popen[str], tmp_path: Path) -> None:
    place, chance = tmp_path / "ix", random.Random(5)
    words, kept, kills = arguments(world, place), set[str](), 0
    assert killed_after(victims, 600, 0.0, arguments(world, tmp_path / "scratch"))[0] == 0  # it has loaded all by now
    begun = time.monotonic()
    assert killed_after(victims, 600, 0.0, arguments(world, tmp_path / "undisturbed"))[0] == 0
    whole = time.monotonic() - begun
    counts = []
    while kills < KILLS:
        # Every video in a segment of its own half of the time, for kills amid the writing.
        number, told = killed_after(victims, chance.uniform(0.02, 0.9) * whole, chance.choice([0.0, 0.25]), words)
        kills += number == signal.SIGKILL
        whole *= 1.0 if number else 0.8  # it was done before: this machine has become faster
        if (place / "index.json").exists():
            now = check(place, world)
            assert kept | told <= now  # what was kept before this kill, and before it was told
            whole *= 1.0 if now > kept else 1.05  # it got nowhere: this machine has become slower
            kept = now
        counts.append(len(kept))
        if len(kept) > 20:  # begin anew, so that there is always something to interrupt
            shutil.rmtree(place)
            kept = set()
    assert max(counts) > 10 and len(set(counts)) > 4
    with open_new(place, meta_of_world(world)) as index:
        missing = index.missing([row.identity for row in plan(index, [str(world.clips)]).files.values()])
    done = run_tvrkit(*words, cwd=tmp_path)
    assert done.code == 0 and f"Encoding videos {len(missing)}/{len(missing)}" in done.stderr
    assert check(place, world) == world.rows.keys()
    with SegmentIndex(str(place)) as index:
        assert index.failures() == world.failures
        assert str(tally(index.files(), index)) == "31 files = 27 ok + 3 failed + 1 blank"
    assert "Encoding" not in run_tvrkit(*words, cwd=tmp_path).stderr


def meta_of_world(world: World):
    from tvrkit.core import load_model

    return meta_of(load_model(world.model), world.model, CUTTING)


def start(world: World, place: Path, cwd: Path, workers: int, clips: Path | None = None) -> subprocess.Popen[str]:
    words = arguments(world, place, workers)
    if clips is not None:
        words[1] = str(clips)
    return subprocess.Popen(
        [sys.executable, "-m", "tvrkit", *words],
        cwd=cwd,
        env=clean_environment(cwd),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_two_at_once(world: World, tmp_path: Path) -> None:
    place = tmp_path / "ix"
    running = [start(world, place, tmp_path, 0) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert all("31 files = 27 ok + 3 failed + 1 blank" in words for words in said)
    assert check(place, world) == world.rows.keys()


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_says_what_is_kept(world: World, tmp_path: Path, kind: signal.Signals, code: int) -> None:
    clips = tmp_path / "many"
    clips.mkdir()
    for i in range(150):  # the same pictures in files that are not the same
        data = (world.clips / f"{i % 27:02d}.mp4").read_bytes()
        (clips / f"{i}.mp4").write_bytes(data + (8 + i).to_bytes(4, "big") + b"free" + bytes(i))
    place = tmp_path / "ix"
    with start(world, place, tmp_path, 2, clips) as process:
        deadline = time.monotonic() + 300
        while not list(place.rglob("*.safetensors")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        if kind is signal.SIGINT:
            os.killpg(process.pid, kind)  # as a terminal does
        else:
            process.send_signal(kind)
        _, err = process.communicate(timeout=300)
    assert process.returncode == code and "Traceback" not in err
    told = re.search(r"(\d+) of 150 videos are done and kept", err)
    with SegmentIndex(str(place)) as index:
        kept = len(index.identities()) + len(index.failures())
    assert told and int(told[1]) <= kept and 0 < kept < 150
    with pytest.raises(ProcessLookupError):  # no reader is left behind
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


def test_a_disk_that_is_full(world: World, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["unshare", "-rm", "sh", "-c", f"mount -t tmpfs tmpfs {disk}"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets nobody but its owner mount a disk")
    command = " ".join([sys.executable, "-m", "tvrkit", *arguments(world, disk / "ix")])
    script = f"""
        mount -t tmpfs -o size=120k tmpfs {disk}
        {command}; echo "first: $?"
        mount -o remount,size=16m {disk}
        {sys.executable} -m tvrkit index --verify --index {disk}/ix; echo "verified: $?"
        {command}; echo "second: $?"
        cp -r {disk}/ix {tmp_path}/copy
    """
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        env=clean_environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.stdout.split() == ["first:", "1", "verified:", "0", "second:", "0"], done.stderr
    assert re.search(r"Error: cannot write to the index .*(full|No space left)", done.stderr)
    (total, left) = (int(n) for n in re.findall(r"Encoding videos (\d+)/\1", done.stderr)[-1:] * 2)
    assert 0 < left == total < 31 and "damaged" not in done.stderr
    assert check(tmp_path / "copy", world) == world.rows.keys()

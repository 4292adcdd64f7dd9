"""LanceDB with many writers, kills at any moment, and object storage: an S3 endpoint of its own, over HTTP."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from indexing import assert_same, make_meta, make_moments, open_new, rows_of
from searching import make_clips, make_model
from support import REPO, clean_environment, run_tvrkit
from webserver import put, s3_server

from tvrkit.errors import StoreError
from tvrkit.index.lance import LanceIndex
from tvrkit.index.opening import open_index, read_meta

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs signals")]

# Fills an index with made-up videos: place, first, last.
WRITER = """
import sys

from indexing import make_meta, make_moments

from tvrkit.index.lance import LanceIndex
from tvrkit.index.video_index import FileRow

place, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with LanceIndex(place, make_meta(), create=True) as index:
    sys.stdout.write("ready\\n"), sys.stdout.flush()
    for number in range(first, last):
        identity = f"{number:032x}"
        if index.missing([identity]):
            index.put({identity: make_moments(number, moments=1 + number % 3)})
            index.put_files([FileRow(f"/v/{number}.mp4", "stamp", 1.0, identity)])
            sys.stdout.write(f"{number}\\n"), sys.stdout.flush()
"""


def start(place: str, first: int, last: int, home: Path, env: Mapping[str, str] = {}) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(REPO), str(REPO / "tests")])
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, place, str(first), str(last)],
        stdout=subprocess.PIPE,
        env=clean_environment(home, **{"PYTHONPATH": paths, **env}),
        text=True,
    )


def told(process: subprocess.Popen[str]) -> set[int]:
    """What a finished writer said that it had kept."""
    assert process.stdout is not None
    with process.stdout as lines:
        return {int(line) for line in lines if line.strip().isdigit()}


def check(index: LanceIndex) -> set[int]:
    """Every row is right to the bit; the numbers of the videos that are there."""
    rows = rows_of(index)
    numbers = {int(identity, 16) for identity in rows}
    assert_same(rows, {f"{n:032x}": make_moments(n, moments=1 + n % 3) for n in numbers})
    return numbers


def test_killed_at_random_moments(tmp_path: Path) -> None:
    place, chance = str(tmp_path / "x.lance"), random.Random(3)
    kept: set[int] = set()
    kills = rounds = 0
    while rounds < 4 or (rounds < 40 and len(kept) <= 10):  # a slow machine keeps less in each
        rounds += 1
        pair = [start(place, 0, 400, tmp_path) for _ in range(2)]
        for process in pair:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.1, 1.2))
        for process in pair:
            time.sleep(chance.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        said = set.union(*map(told, pair))
        with LanceIndex(place) as index:
            now = check(index)
            assert kept | said <= now  # what was kept before, and what was told
            assert len({file.path for file in index.files()}) == len(index.files()) >= len(said)
            kept = now
    assert kills >= 6 and len(kept) > 10
    last = max(kept) + 10
    whole = start(place, 0, last, tmp_path)
    assert whole.wait() == 0 and not told(whole) & kept
    with LanceIndex(place) as index:
        assert check(index) == set(range(last)) and len(index.files()) >= len(kept)
        assert len(index.engine()) > 0


def test_many_writers_at_once(tmp_path: Path) -> None:
    """Each videos of its own, and some that two of them have; nobody gives up, and no row is there twice."""
    place = str(tmp_path / "x.lance")
    writers = [start(place, 15 * i, 15 * i + 30, tmp_path) for i in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert set.union(*map(told, writers)) == set(range(60))
    with LanceIndex(place) as index:
        assert check(index) == set(range(60))
        assert len(index.files()) == 60 and len(index.engine()) == sum(1 + n % 3 for n in range(60))
        tables = index._tables
        for table, key in ((tables.videos, "identity"), (tables.files, "path"), (tables.settings, "name")):
            keys = tables.rows(table, [key])[key].to_pylist()
            assert len(keys) == len(set(keys))


def test_on_object_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(tmp_path / "log") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        put(environment, "videos", {})
        place = "s3://videos/x.lance"
        assert read_meta(place) is None
        writers = [start(place, 10 * i, 10 * i + 20, tmp_path, environment) for i in range(2)]
        assert [writer.wait() for writer in writers] == [0, 0] and len(set.union(*map(told, writers))) == 30
        with open_index(place, make_meta()) as index, open_new(tmp_path / "segments") as other:
            assert isinstance(index, LanceIndex) and check(index) == set(range(30)) and index.status().bytes > 1000
            for identity, video in index.iter_videos():
                other.put({identity: video})
            other.put_files(index.files())
            vector = make_moments(7).pooled[0, :1].float()
            mine, theirs = index.engine(), other.engine()
            refs = mine.candidates(vector, 9)
            assert refs == theirs.candidates(vector, 9)
            assert torch.equal(mine.read(refs).features.frame_features, theirs.read(refs).features.frame_features)
        with pytest.raises(StoreError, match="s3://nobucket/x.lance cannot be read or written"):
            LanceIndex("s3://nobucket/x.lance", make_meta(), create=True)


def test_commands_answer_as_with_the_default_index(tmp_path: Path) -> None:
    make_clips(tmp_path / "clips")
    make_model(tmp_path / "model", nearest_frame=True)
    hits = []
    for place in ("x.lance", "folder"):
        done = run_tvrkit("index", "clips", "--index", place, "--model", "model", cwd=tmp_path)
        assert done.code == 0, done.stderr
        done = run_tvrkit("query", "a dog", "--index", place, "--json", cwd=tmp_path)
        assert done.code == 0, done.stderr
        hits.append([json.loads(line) for line in done.stdout.splitlines()])
    assert hits[0] == hits[1] and len(hits[0]) == 4
    shutil.move(tmp_path / "clips" / "a.mp4", tmp_path / "clips" / "moved.mp4")
    done = run_tvrkit("index", "--index", "x.lance", cwd=tmp_path)
    assert done.code == 0 and "1 moved" in done.stderr, done.stderr
    done = run_tvrkit("index", "--status", "--index", "x.lance", "--json", cwd=tmp_path)
    assert done.code == 0 and json.loads(done.stdout)["videos"] == 4

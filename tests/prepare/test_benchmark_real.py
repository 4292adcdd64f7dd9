"""`prepare_benchmark` on the benchmarks' own lists, with videos under their real names; all of MSVD; Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from media import truncate
from small_msvd import put
from support import clean_environment

from tvrkit.manifest import read_manifest
from tvrkit.prepare.benchmarks import BENCHMARKS
from tvrkit.prepare.benchmarks.sources import AnnotationFiles

# Python runs this file (sitecustomize.py) in every process before all else: it makes a sign of the 20th clip.
TELLING = """
import sys

if "tvrkit" in sys.orig_argv:
    from tvrkit.prepare.memory import Memory

    keep, seen = Memory.keep, []

    def keep_and_tell(self, *arguments):
        keep(self, *arguments)
        seen.append(1)
        if len(seen) == 20:
            open("under way", "w").close()

    Memory.keep = keep_and_tell
"""


@pytest.mark.slow
def test_interrupted_and_run_again(lists, clip, tmp_path):
    """Ctrl-C while videos are looked into: no manifest, no traceback, and what was looked into is not again."""
    ids = [f"x_{number}_{number + 1}" for number in range(3000)]
    (lists / "train_list.txt").write_text("\n".join(ids))
    captions = json.loads((lists / "captions_msvd.json").read_text())
    (lists / "captions_msvd.json").write_text(json.dumps({**captions, **{video_id: ["a dog"] for video_id in ids}}))
    videos = put(clip, tmp_path / "videos", *(f"{video_id}.avi" for video_id in ids))
    command = [sys.executable, "-m", "tvrkit", "prepare", "msvd", "--from", videos, "--annotations", lists]
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(TELLING)
    env = clean_environment(tmp_path)
    telling = env | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), env["PYTHONPATH"]])}
    with subprocess.Popen(
        command, cwd=tmp_path, env=telling, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        end = time.monotonic() + 300
        while not (tmp_path / "under way").exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        words = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 130 and "Traceback" not in words, words
    assert not (tmp_path / "data/msvd/manifest.jsonl").exists()
    known = len(json.loads((tmp_path / "data/msvd/probes.json").read_text()))
    assert 20 <= known < 3000
    done = subprocess.run([*command, "--json"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert (report["new"], report["kept"]) == (3000 - known, known)


@pytest.mark.slow
def test_all_of_msvd(run_cli, clip, shared, tmp_path):
    """1,970 avi files under their real names and the real lists, with one command."""
    lists = shared / "annotations/msvd"
    ids = [line for split in ("train", "val", "test") for line in (lists / f"{split}_list.txt").read_text().split()]
    videos = tmp_path / "YouTubeClips"
    videos.mkdir()
    for video_id in ids:
        shutil.copy(clip, videos / f"{video_id}.avi")
    given = ("prepare", "msvd", "--from", videos, "--annotations", lists)
    done = run_cli(*given)
    assert done.code == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["train", "1,200", "1,200", "1,200", "0", "0", "48,774", "0"] in rows
    assert ["val", "100", "100", "100", "0", "0", "4,290", "0"] in rows
    assert ["test", "670", "670", "670", "0", "0", "27,763", "0"] in rows
    assert "1,970 videos looked into, 0 known from before." in done.stderr and "Warning" not in done.stderr
    assert "refuses" not in done.stderr
    assert read_manifest(tmp_path / "data/msvd/manifest.jsonl").splits() == {"train": 1200, "val": 100, "test": 670}

    again = json.loads(run_cli(*given, "--json").stdout)
    assert (again["new"], again["kept"]) == (0, 1970) and all(count["complete"] for count in again["splits"].values())
    check = run_cli("prepare", "msvd", "--check")
    assert check.code == 0 and "1,970 videos decoded again" in check.stderr

    gone, torn = ids[-5:], ids[:3]
    for video_id in gone:
        (videos / f"{video_id}.avi").unlink()
    for video_id in torn:
        truncate(videos / f"{video_id}.avi", 0.1)
    check = run_cli("prepare", "msvd", "--check", "--json")
    faults = json.loads(check.stdout)["faults"]
    assert check.code == 1
    assert {f["where"] for f in faults} == {*gone, *torn, "train", "test"}
    rest = json.loads(run_cli(*given, "--json").stdout)
    assert {p["where"] for p in rest["problems"] if p["kind"] == "missing file"} == set(gone)
    assert {p["where"].split()[0] for p in rest["problems"] if p["kind"] == "unreadable clip"} == set(torn)
    assert (rest["splits"]["test"]["videos"], rest["splits"]["train"]["unreadable"]) == (665, 3)
    for video_id in (*gone, *torn):
        shutil.copy(clip, videos / f"{video_id}.avi")
    run_cli(*given)
    assert run_cli("prepare", "msvd", "--check").code == 0


@pytest.mark.parametrize(
    ("name", "split", "folder", "suffix", "expected"),
    [
        ("msvd", "official", "msvd", ".avi", {"train": 1200, "val": 100, "test": 670}),
        ("msrvtt", "9k", "msrvtt", ".mp4", {"train": 9000, "test": 1000}),
        pytest.param("msrvtt", "full", "msrvtt", ".mp4", {"val": 497, "test": 2990}, marks=pytest.mark.slow),
        pytest.param("didemo", "official", "didemo", ".mp4", {"val": 1065, "test": 1004}, marks=pytest.mark.slow),
        pytest.param(
            "activitynet", "val_1", "activitynet", ".mkv", {"train": 10009, "test": 4917}, marks=pytest.mark.slow
        ),
        ("lsmdc", "official", "lsmdc", ".avi", {"test": 1000}),
        ("vatex", "official", "vatex", ".mp4", {"test": 1500}),
    ],
)
def test_real_lists(prepare_named, clip, shared, tmp_path, name, split, folder, suffix, expected):
    """The benchmarks' own files, and the first two test videos under their real names."""
    benchmark = BENCHMARKS[name]
    lists = shared / "annotations" / folder
    items = benchmark.read(AnnotationFiles([lists]), split).split("test")
    names = [(item.names[0] if item.names and name == "lsmdc" else item.video_id) for item in items[:2]]
    videos = put(clip, tmp_path / "videos", *(f"{video}{suffix}" for video in names))
    report, records, lines = prepare_named(name, split=split, videos=(videos,), annotations=(lists,))
    assert set(records) == {item.video_id for item in items[:2]}
    assert {s: count.listed for s, count in report.splits.items() if s in expected} == expected
    assert report.splits["test"].missing == expected["test"] - 2
    assert report.splits["test"].captions == sum(len(item.captions) for item in items[:2])
    assert len(lines) == sum(count.listed for count in report.splits.values())

"""Several downloads at once, full disks, kills, and any sequence of faults."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepare.downloads.broken_server import Fault, serving
from prepare.downloads.fetching import (
    BODY,
    OTHER,
    PATH,
    Listener,
    asset,
    fetch,
    is_whole,
    sentence,
    sha256,
    size_of,
)
from support import REPO, clean_environment

from tvrkit.errors import DataError
from tvrkit.prepare.downloads.assets import assets_of


def test_several_come_at_once_and_one_failure_is_not_all(tmp_path: Path) -> None:
    listener = Listener()
    files = {f"/{i}": random.Random(i).randbytes(700_000) for i in range(6)}
    # No file comes to its end before five are on their way; a barrier that was waited at in vain stays broken.
    meet = threading.Barrier(5, timeout=60)
    with serving(files) as site:
        site.head = True
        for i in range(5):
            site.then[f"/{i}"] = Fault(meet=meet)
        site.then["/5"] = Fault(status=404)
        assets = [asset(f"{site.url}/{i}", name=f"{i}.bin") for i in range(6)]
        fetched = fetch(tmp_path, *assets, connections=6, watcher=listener, timeout_seconds=300)
    assert not meet.broken
    assert sorted(fetched.paths) == [f"{i}.bin" for i in range(5)] and list(fetched.failures) == ["5.bin"]
    assert all(path.read_bytes() == files[f"/{path.stem}"] for path in fetched.paths.values())
    assert listener.bars == [["downloading, MB", 4, 3]]  # 6 x 0.7 announced, 5 x 0.7 came


def test_a_disk_without_room_is_a_sentence_before_anything_is_asked_for(tmp_path: Path) -> None:
    with serving({PATH: BODY}) as site:
        with pytest.raises(DataError, match=r"has .* left and 1,000,000\.0 TB are still to come: make room"):
            fetch(tmp_path, asset(site.url + PATH, size=10**18))
        assert site.asked(PATH) == []
        site.then[PATH] = Fault(announce=10**18)
        text = sentence(fetch(tmp_path, asset(site.url + PATH)))
        assert "make room" in text and "--from" not in text


@pytest.mark.skipif(not shutil.which("mount") or os.name == "nt" or os.geteuid() != 0, reason="needs a small disk")
def test_a_disk_that_fills_up_on_the_way_keeps_what_came(tmp_path: Path, monkeypatch) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("no small disk can be made here")
    try:
        # somebody else fills it
        monkeypatch.setattr(
            "tvrkit.prepare.downloads.room.Room.check", lambda self, more: None
        )  # somebody else fills it
        body = random.Random(3).randbytes(3_000_000)
        with serving({PATH: body}) as site:
            text = sentence(fetch(tmp_path, asset(site.url + PATH)))
            assert "is full" in text and "the next run goes on" in text
            assert body.startswith((tmp_path / "a.bin.part").read_bytes()) and not (tmp_path / "a.bin").exists()
            subprocess.run(["mount", "-o", "remount,size=8m", tmp_path], check=True)
            assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)), body)
            assert "range" in site.asked(PATH)[-1]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_folder_that_cannot_be_made_and_a_second_process_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be made"):
        fetch(tmp_path / "file" / "folder", asset("http://127.0.0.1:9/a"))
    fcntl = pytest.importorskip("fcntl")
    with serving({PATH: BODY}) as site, (tmp_path / "a.bin.part").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process is downloading" in sentence(fetch(tmp_path, asset(site.url + PATH)))


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\\b", ".hidden", "C:x", "a\x00b", " a"])
def test_a_name_that_is_no_file_name_is_no_asset(name: str) -> None:
    with pytest.raises(ValueError, match="no plain file name"):
        asset("http://127.0.0.1/a", name=name)


def test_assets_refuse_other_addresses_and_are_chosen_by_split() -> None:
    for wrong in ({"url": "ftp://x/a"}, {"sha256": "12"}, {"size": 0}):
        with pytest.raises(ValueError, match=r"a\.bin"):
            asset(wrong.pop("url", "http://x/a"), **wrong)
    some = (asset(name="a"), asset(name="b", splits=("9k",)), asset(name="c", holds="annotations"))
    assert [a.name for a in assets_of(some, split="7k", holds="videos")] == ["a"]
    assert [a.name for a in assets_of(some, split="9k", holds="videos")] == ["a", "b"]


PROGRAM = """
import sys
from tvrkit.prepare.downloads.assets import Asset
from tvrkit.prepare.downloads.download import download_all
print(download_all([Asset("a.bin", "videos", (sys.argv[1],))], sys.argv[2], backoff_seconds=.01).failures)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_stopped_leaves_a_part_that_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    body = random.Random(5).randbytes(4_000_000)
    with serving({PATH: body}) as site:
        for i in range(3):
            site.faults[PATH] = [Fault(pause=1000.0, cut=2_000_000)]
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, site.url + PATH, str(tmp_path)],
                env=clean_environment(tmp_path),
                cwd=REPO,
                stderr=subprocess.DEVNULL,
            )
            part, before = tmp_path / "a.bin.part", size_of(tmp_path / "a.bin.part")
            deadline = time.monotonic() + 120
            while size_of(part) <= before:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.01)
            time.sleep(0.2)
            process.send_signal(how)
            assert process.wait(timeout=120) != 0
            assert not (tmp_path / "a.bin").exists() and body.startswith(part.read_bytes()), i
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)), body)
        assert "range" in site.asked(PATH)[-1]


FAULTS = st.sampled_from(
    [
        Fault(),
        Fault(cut=0),
        Fault(cut=1),
        Fault(cut=1500),
        Fault(cut=700, chunked=True),
        Fault(chunked=True),
        Fault(cut=900, ranges=False),
        Fault(cut=900, if_range=False),
        Fault(replace=OTHER[:3000], cut=800),
        Fault(replace=OTHER[:3000], cut=800, if_range=False),
        Fault(replace=OTHER[:2500]),
        Fault(announce=5000),
        Fault(shift=3),
        Fault(at_most=400),
        Fault(at_most=400, cut=100),
        Fault(status=404),
        Fault(status=416),
        Fault(status=429, retry_after="0"),
        Fault(status=503),
        Fault(status=204),
        Fault(page=True),
        Fault(packed=True, cut=500),
        Fault(packed=True),
        Fault(redirect="/data/a.bin"),
    ]
)


SEQUENCES = (
    st.lists(FAULTS, max_size=8),
    st.lists(FAULTS, max_size=4),
    st.booleans(),
    st.sampled_from(["etag", "date", ""]),
)


@settings(max_examples=25, deadline=None)
@given(*SEQUENCES)
def test_any_sequence_of_faults_ends_in_the_exact_bytes_or_in_no_file(
    first: list[Fault], second: list[Fault], known: bool, mark: str
) -> None:
    _survives(first, second, known, mark)


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(*SEQUENCES)
def test_hundreds_of_sequences_of_faults_end_so(
    first: list[Fault], second: list[Fault], known: bool, mark: str
) -> None:
    _survives(first, second, known, mark)


def _survives(first: list[Fault], second: list[Fault], known: bool, mark: str) -> None:
    states = [BODY[:3000], OTHER[:3000], OTHER[:2500]]
    with tempfile.TemporaryDirectory() as name, serving({PATH: states[0], "/2": states[0]}) as site:
        folder = Path(name)
        site.faults = {PATH: list(first), "/2": list(second)}
        if mark != "etag":
            site.etags = {PATH: None, "/2": None}
        if mark == "date" and all(fault.replace is None for fault in (*first, *second)):
            site.modified = "Mon, 02 Nov 2026 10:00:00 GMT"
        checksum = sha256(states[0]) if known else None
        wanted = asset(site.url + PATH, site.url + "/2", name="a.mp4", sha256=checksum)
        for _ in range(2):
            fetched = fetch(folder, wanted)
            if fetched.failures:
                assert not (folder / "a.mp4").exists()
                assert fetched.failures["a.mp4"].endswith(".")
            else:
                assert fetched.paths["a.mp4"].read_bytes() in (states[:1] if known else states)

"""Files that are copied or moved: never lost, never overwritten, whenever it stops."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import clean_environment

from tvrkit.errors import DataError
from tvrkit.index import transfer as module
from tvrkit.index.transfer import Refusal, Transfer, transfer, transfer_all, undoing


def make(path: Path, content: str = "one") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.fixture(params=["links", "no links", "other file system"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the disk can do: a link across file systems is refused, and some know no links at all."""
    real = os.link

    def link(source: Path, target: Path, **more: bool) -> None:
        within = Path(source).parent == Path(target).parent
        if request.param == "no links" or not within:
            raise OSError(errno.EPERM if request.param == "no links" else errno.EXDEV, "cannot be linked")
        real(source, target, **more)

    if request.param != "links":
        monkeypatch.setattr(os, "link", link)
    return str(request.param)


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_a_file_arrives_whole_and_with_its_time(tmp_path: Path, kind: str, mode: str) -> None:
    source, target = make(tmp_path / "a/x.mp4"), tmp_path / "b/deep/x.mp4"
    os.utime(source, (1000, 1000))
    assert transfer(Transfer(source, target), mode)
    assert target.read_text() == "one" and target.stat().st_mtime == 1000
    assert source.exists() == (mode == "copy")
    assert [path.name for path in target.parent.iterdir()] == ["x.mp4"]


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str, mode: str) -> None:
    source, target = make(tmp_path / "a.mp4"), make(tmp_path / "b/a.mp4", "two")
    with pytest.raises(Refusal, match="another file"):
        transfer(Transfer(source, target), mode)
    assert (source.read_text(), target.read_text()) == ("one", "two")
    (tmp_path / "b/link.mp4").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refusal, match="another file"):
        transfer(Transfer(source, tmp_path / "b/link.mp4"), mode)


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = make(tmp_path / "a.mp4"), tmp_path / "b/a.mp4"
    with pytest.raises(Refusal):
        transfer(Transfer(source, target), "move", lambda item: make(item.target, "two") and None)
    assert (source.read_text(), target.read_text()) == ("one", "two")


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_what_was_interrupted_is_ended(tmp_path: Path, mode: str) -> None:
    source, target = make(tmp_path / "a.mp4"), make(tmp_path / "b/a.mp4")
    assert transfer(Transfer(source, target), mode) == (mode == "move")
    assert target.read_text() == "one" and source.exists() == (mode == "copy")


def test_links_are_not_moved_and_files_that_are_gone_are_told(tmp_path: Path) -> None:
    real = make(tmp_path / "real.mp4")
    link = tmp_path / "a/link.mp4"
    link.parent.mkdir()
    link.symlink_to("../real.mp4")
    items = [Transfer(link, tmp_path / "b/link.mp4"), Transfer(tmp_path / "gone", tmp_path / "b/gone")]
    done, stayed = transfer_all(items, "move", None)
    assert done == 0 and "it is a link" in stayed[link] and "No such file" in stayed[tmp_path / "gone"]
    assert transfer_all(items[:1], "copy", None) == (1, {})
    assert not (tmp_path / "b/link.mp4").is_symlink() and (tmp_path / "b/link.mp4").read_text() == "one" and real


@pytest.mark.parametrize("kind", ["no links", "other file system"], indirect=True)
def test_a_file_that_changes_while_it_is_copied_stays(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(tmp_path / "a.mp4")
    before = module.shutil.copystat

    def changing(a: Path, b: Path) -> None:
        before(a, b)
        source.write_text("two")

    monkeypatch.setattr(module.shutil, "copystat", changing)
    with pytest.raises(Refusal, match="it changed"):
        transfer(Transfer(source, tmp_path / "b/a.mp4"), "move")
    assert source.read_text() == "two" and list((tmp_path / "b").iterdir()) == []


def test_moves_are_logged_and_taken_back(tmp_path: Path) -> None:
    odd = os.fsdecode(b"b\xff\n.mp4")
    names = ["a.mp4", odd, "taken.mp4"]
    for name in names:
        make(tmp_path / "from" / name, name.encode("utf-8", "replace").decode())
    make(tmp_path / "to/taken.mp4", "mine")
    items = [Transfer(tmp_path / "from" / name, tmp_path / "to" / name) for name in names]
    log = tmp_path / "to/log.jsonl"
    done, stayed = transfer_all(items, "move", log)
    assert done == 2 and list(stayed) == [tmp_path / "from/taken.mp4"]
    assert undoing(log) == [Transfer(items[i].target, items[i].source) for i in (1, 0)]  # not what was never moved
    with log.open("a") as file:
        file.write('\n{"from": "/hal')  # a kill, in the middle of a line
    transfer_all([Transfer(make(tmp_path / "from/late.mp4"), tmp_path / "to/late.mp4")], "move", log)
    assert transfer_all(undoing(log), "move", None) == (3, {})
    assert sorted(p.name for p in (tmp_path / "from").iterdir()) == sorted([*names, "late.mp4"])
    assert (tmp_path / "to/taken.mp4").read_text() == "mine" and undoing(log) == []


def test_a_log_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the log"):
        undoing(tmp_path / "nothing")
    with pytest.raises(DataError, match="is no log"):
        undoing(make(tmp_path / "a", '[1]\n{"from": "/a"}\n'))


def test_nothing_is_moved_that_cannot_be_logged(tmp_path: Path) -> None:
    source = make(tmp_path / "a.mp4")
    make(tmp_path / "file")
    with pytest.raises(DataError, match="nothing more is moved"):
        transfer_all([Transfer(source, tmp_path / "b/a.mp4")], "move", tmp_path / "file/log")
    assert source.exists()


MOVER = """
import errno, os, sys
from pathlib import Path
from tvrkit.index.transfer import Transfer, transfer_all
real = os.link
def link(source, target, **more):
    if Path(source).parent != Path(target).parent:
        raise OSError(errno.EXDEV, "elsewhere")
    real(source, target, **more)
os.link = link
source, target = map(Path, sys.argv[1:])
print("ready", flush=True)
items = [Transfer(path, target / path.name) for path in sorted(source.iterdir())]
transfer_all(items, "move", target / "log.jsonl")
"""


@pytest.mark.slow
def test_kills_lose_no_file_and_break_none(tmp_path: Path) -> None:
    """Killed on its way to another file system, each file is whole here or there; undone, all are back."""
    source, target = tmp_path / "from", tmp_path / "to"
    contents = {f"{i:03d}.mp4": random.Random(i).randbytes(300_000) for i in range(300)}
    source.mkdir()
    for name, content in contents.items():
        (source / name).write_bytes(content)
    kills = 0
    for attempt in range(200):
        process = subprocess.Popen(
            [sys.executable, "-c", MOVER, str(source), str(target)],
            stdout=subprocess.PIPE,
            env=clean_environment(tmp_path),
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(random.Random(attempt).uniform(0.02, 0.2) * (1 + attempt / 20))  # a slow machine gets there too
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
        for name, content in contents.items():
            there = [path for path in (source / name, target / name) if path.exists()]
            assert there and all(path.read_bytes() == content for path in there)
        if not any(source.iterdir()):
            break
    assert kills >= 3 and not any(source.iterdir())
    lines = (target / "log.jsonl").read_text().splitlines()
    assert {Path(json.loads(line)["to"]).name for line in lines if line.endswith("}")} == set(contents)
    assert transfer_all(undoing(target / "log.jsonl"), "move", None)[1] == {}
    assert {path.name: path.read_bytes() for path in source.iterdir()} == contents

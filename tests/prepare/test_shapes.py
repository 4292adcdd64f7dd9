"""`prepare_shapes`: files that follow from the seed, work that goes on after a kill, a folder that is left alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import clean_environment

from tvrkit.errors import ConfigError, DataError
from tvrkit.keywords import TAGGER, tag_key_words
from tvrkit.manifest import read_manifest
from tvrkit.prepare import shapes_pool
from tvrkit.prepare.shapes import prepare_shapes
from tvrkit.prepare.shapes_render import is_whole

SCALE = 0.01  # 12 training families, 8 val, 8 test, 2 hard families: 72 clips


def digests(folder: Path) -> dict[str, str]:
    """What lies in a data set, but for the report, which says how much was new."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "report.json"
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return folder, prepare_shapes(folder, scale=SCALE, workers=0)


def test_manifest(prepared):
    folder, report = prepared
    manifest = read_manifest(folder / "manifest.jsonl")
    # A hundredth of the benchmark is another test set: no protocol is named.
    assert (manifest.name, manifest.preset, manifest.protocol, manifest.tagger) == ("shapes", "tiny", None, TAGGER)
    assert manifest.splits() == {"train": 48, "val": 8, "test": 8, "hard": 8}
    for record in manifest.records:
        assert is_whole(manifest.file_of(record))
        assert record.key_words == tuple(tag_key_words(record.captions))
        assert record.duration_seconds == 2.0
        if record.split in ("train", "hard"):
            assert record.video_id.startswith(record.tags["family"]) and record.tags["edit"]
        else:
            assert not record.tags
    assert (report.new, report.kept, report.problems) == (72, 0, ())
    assert json.loads((folder / "report.json").read_text())["splits"]["train"]["captions"] == 4 * 48
    captions = manifest.split("test")[0].captions
    words = [captions[0][start:end] for start, end in manifest.split("test")[0].key_words[0]]
    assert len(words) >= 3 and set(words) <= set(captions[0].split())


def test_a_second_run_renders_nothing(prepared):
    folder, _ = prepared
    before, times = digests(folder), {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}
    report = prepare_shapes(folder, scale=SCALE, workers=0)
    assert (report.new, report.kept) == (0, 72)
    assert digests(folder) == before
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}


def test_what_is_missing_or_torn_is_rendered_again(prepared):
    folder, _ = prepared
    before = digests(folder)
    videos = sorted(folder.rglob("*.mp4"))
    videos[0].unlink()
    videos[1].write_bytes(videos[1].read_bytes()[:-100])
    videos[2].write_bytes(b"")
    (folder / "manifest.jsonl").unlink()
    old = videos[0].with_name(".half.mp4.1.tmp")
    old.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert prepare_shapes(folder, scale=SCALE, workers=0).new == 3
    assert digests(folder) == before


def test_other_settings_or_another_data_set_are_refused(prepared, tmp_path):
    folder, _ = prepared
    with pytest.raises(DataError, match=r"holds shapes of other settings \(seed 0, scale 0.01.*--name"):
        prepare_shapes(folder, scale=SCALE, seed=1)
    (tmp_path / "manifest.jsonl").write_text('{"tvrkit_manifest": 1, "name": "mine"}\n')
    with pytest.raises(DataError, match="another data set"):
        prepare_shapes(tmp_path, scale=SCALE)
    for wrong in ({"scale": 0.0}, {"scale": 1.5}, {"seed": -1}):
        with pytest.raises(ConfigError, match="scale"):
            prepare_shapes(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


def test_a_damaged_recipe_is_a_sentence(tmp_path):
    (tmp_path / "shapes.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        prepare_shapes(tmp_path, scale=SCALE)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write to .*file"):
        prepare_shapes(tmp_path / "file" / "shapes", scale=SCALE)


@pytest.mark.slow
def test_workers_change_nothing(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(shapes_pool, "WORTH_A_PROCESS", 10)
    prepare_shapes(tmp_path / "shapes", scale=SCALE, workers=3)
    assert digests(tmp_path / "shapes") == digests(prepared[0])


@pytest.mark.slow
def test_a_worker_that_cannot_write_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes_pool, "WORTH_A_PROCESS", 10)
    (tmp_path / "videos/train").mkdir(parents=True)
    (tmp_path / "videos/train/train-0003-0.mp4").mkdir()  # in the way
    with pytest.raises(DataError, match=r"cannot write .*train-0003-0\.mp4"):
        prepare_shapes(tmp_path, scale=SCALE, workers=2)
    assert not (tmp_path / "manifest.jsonl").exists()


def wait_for_clips(folder: Path, number: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while sum(1 for _ in folder.rglob("[!.]*.mp4")) < number:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "nothing is rendered"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_killed_and_run_again(tmp_path, how):
    """A kill in the middle leaves whole files only, no process behind, and the second run renders what is missing."""
    command = [sys.executable, "-m", "tvrkit", "prepare", "shapes", "--scale", "0.1", "--workers", "2"]
    folder = tmp_path / "data/shapes"
    env = clean_environment(tmp_path)
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, start_new_session=True) as process:
        wait_for_clips(folder, 60, process)
        if how == "SIGINT":
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does, to the whole group
        else:
            process.kill()
        words = process.communicate(timeout=300)[1].decode()
    assert process.returncode == (130 if how == "SIGINT" else -signal.SIGKILL)
    assert "Traceback" not in words
    deadline = time.monotonic() + 120
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(process.pid, 0)  # is anybody left?
            assert time.monotonic() < deadline, "a rendering process outlived the command"
            time.sleep(0.1)
    there = {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*.mp4")}
    assert 60 <= len(there) < 600 and all(map(is_whole, there))
    assert not (folder / "manifest.jsonl").exists()

    done = subprocess.run([*command, "--json"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["kept"] == len(there) and report["new"] + report["kept"] == len(list(folder.rglob("[!.]*.mp4")))
    assert {path: path.stat().st_mtime_ns for path in there} == there
    for temporary in folder.rglob(".*"):
        temporary.unlink()
    prepare_shapes(tmp_path / "whole", scale=0.1, workers=0)
    assert digests(tmp_path / "whole") == digests(folder)

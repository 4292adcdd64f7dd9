"""`tvrkit prepare` as a user types it."""

from __future__ import annotations

import json

import pytest
from media import make_video

from tvrkit.manifest import read_manifest


@pytest.mark.slow
def test_shapes(run_cli, tmp_path):
    done = run_cli("prepare", "shapes", "--scale", "0.002", "--seed", "3", "--name", "few")
    assert done.code == 0, done.stderr
    assert read_manifest(tmp_path / "data/few/manifest.jsonl").splits() == {"train": 8, "val": 8, "test": 8, "hard": 8}
    assert "Rendering clips 32/32" in done.stderr and "32 clips rendered." in done.stderr
    assert "tvrkit train --data few" in done.stderr and "tvrkit eval --data few" in done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["train", "8", "32", "0.0044"] in rows and ["hard", "8", "8", "0.0044"] in rows

    again = run_cli("prepare", "shapes", "--scale", "0.002", "--seed", "3", "--name", "few", "--json")
    assert json.loads(again.stdout)["kept"] == 32 and "nothing to do" in again.stderr
    other = run_cli("prepare", "shapes", "--scale", "0.003", "--name", "few")
    assert other.code == 1 and "other settings" in other.stderr and "Traceback" not in other.stderr


@pytest.mark.slow
def test_folder(run_cli, tmp_path):
    (tmp_path / "clips").mkdir()
    for name in ("dog", "cat", "cow", "hen", "pig"):
        make_video(tmp_path / f"clips/{name}.mp4", num_frames=10, fps=10)
    (tmp_path / "clips").joinpath("broken.mp4").write_bytes(b"no video")
    lines = ["path,caption", *(f"{name}.mp4,a {name}" for name in ("dog", "cat", "cow", "hen", "pig", "broken"))]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    done = run_cli("prepare", "folder", "clips", "--captions", "captions.csv")
    assert done.code == 0, done.stderr
    assert read_manifest(tmp_path / "data/clips/manifest.jsonl").splits() == {"test": 5}
    assert "Warning: unreadable clip: 1" in done.stderr and "broken.mp4: " in done.stderr
    assert "6 videos looked into, 0 known from before." in done.stderr
    assert "tvrkit eval --data clips --model" in done.stderr

    again = run_cli("prepare", "folder", "clips", "--captions", "captions.csv", "--test-fraction", "0.4", "--json")
    assert "1 video looked into, 5 known from before." in again.stderr
    report = json.loads(again.stdout)
    assert sum(split["videos"] for split in report["splits"].values()) == 5
    assert report["problems"][0]["where"] == "broken.mp4"

    strict = run_cli("prepare", "folder", "clips", "--captions", "captions.csv", "--strict")
    assert strict.code == 1 and "--strict: 1 problem (unreadable clip 1)" in strict.stderr


def test_what_is_not_there_yet_says_so(run_cli):
    for name in ("msvd", "msrvtt", "didemo", "activitynet"):
        done = run_cli("prepare", name, "--root", "/somewhere")
        assert done.code == 1 and not done.stdout
        assert done.stderr.startswith(f"Error: `tvrkit prepare {name}` is not there yet")
        assert len(done.stderr.splitlines()) == 1 and "tvrkit prepare folder" in done.stderr


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a:b"])
def test_names_that_are_no_folder(run_cli, name):
    done = run_cli("prepare", "shapes", "--name", name)
    assert done.code == 2 and "--name" in done.stderr and "Traceback" not in done.stderr


def test_mistakes_are_sentences(run_cli, tmp_path):
    (tmp_path / "clips").mkdir()
    wrong = {
        ("folder", "none"): "there is no folder none",
        ("folder", "clips"): "no video in",
        ("folder", "clips", "--captions", "none.csv"): "cannot read the captions in none.csv",
        ("folder", "clips", "--val-fraction", "2"): "--val-fraction",
        ("nothing",): "No such command 'nothing'",
    }
    for arguments, words in wrong.items():
        done = run_cli("prepare", *arguments)
        assert done.code in (1, 2) and words in done.stderr and "Traceback" not in done.stderr

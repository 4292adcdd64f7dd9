"""`tvrkit similar`, as a user types it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from media import make_black
from searching import make_model
from support import Result
from tiny import write_video

from tvrkit.cli import main


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and four clips of which two are nearly one, and one lies there twice."""
    folder = tmp_path_factory.mktemp("world")
    make_model(folder / "model", num_frames=6)
    for name, colour, place, frames in (
        ("red", "red", "left", 8),
        ("again", "red", "left", 7),
        ("white", "white", "bottom", 8),
        ("blue", "blue", "top", 8),
    ):
        write_video(folder / "clips" / f"{name}.mp4", colour, place, frames=frames)
    shutil.copy(folder / "clips/white.mp4", folder / "clips/copy.mp4")
    return folder


@pytest.fixture
def similar(world: Path, tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in this process, in the test's folder, with one index for all tests."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, code: int = 0, place: Path = world / "index") -> Result:
        capfd.readouterr()
        given = [*map(str, arguments), "--model", str(world / "model"), "--index", str(place)]
        with pytest.raises(SystemExit) as stop:
            main(["similar", *given, "--workers", "0"])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert (stop.value.code or 0) == code, err
        return Result(code, out, err)

    return run


def test_the_nearest_come_first_and_not_the_clip_itself(world: Path, similar: Callable[..., Result]) -> None:
    shown = similar(world / "clips/red.mp4", "--videos", world / "clips", "--json", "--threshold", "0.95")
    hits = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [hit["rank"] for hit in hits] == [1, 2, 3] and Path(hits[0]["path"]).name == "again.mp4"
    assert [hit["near_duplicate"] for hit in hits] == [True, False, False]
    assert [hit["similarity"] for hit in hits] == sorted((hit["similarity"] for hit in hits), reverse=True)
    twice = next(hit for hit in hits if hit["other_paths"])
    assert {Path(path).name for path in (twice["path"], *twice["other_paths"])} == {"white.mp4", "copy.mp4"}
    table = similar(world / "clips/red.mp4", "--top", "1")
    assert "near-duplicate" in table.stdout and "again.mp4" in table.stdout and "blue.mp4" not in table.stdout


def test_a_clip_that_is_not_in_the_index(world: Path, tmp_path: Path, similar: Callable[..., Result]) -> None:
    similar("--duplicates", "--videos", world / "clips")
    write_video(tmp_path / "new.mp4", "blue", "top", frames=6)
    hits = [json.loads(line) for line in similar("new.mp4", "--json").stdout.splitlines()]
    assert len(hits) == 4 and Path(hits[0]["path"]).name == "blue.mp4"
    one = similar("new.mp4", "--json", "--videos", world / "clips/red.mp4").stdout.splitlines()
    assert [Path(json.loads(line)["path"]).name for line in one] == ["red.mp4"]


def test_groups_of_near_duplicates(world: Path, similar: Callable[..., Result]) -> None:
    shown = similar("--duplicates", "--videos", world / "clips", "--json", "--threshold", "0.95")
    groups = [json.loads(line)["videos"] for line in shown.stdout.splitlines()]
    names = [sorted(Path(p).name for one in group for p in (one["path"], *one["other_paths"])) for group in groups]
    assert sorted(names) == [["again.mp4", "red.mp4"], ["copy.mp4", "white.mp4"]]
    table = similar("--duplicates", "--threshold", "0.95")
    assert "Group 2" in table.stdout and "the same file" in table.stdout and "2 groups" in table.stderr


def test_a_single_video_has_none_like_it(world: Path, tmp_path: Path, similar: Callable[..., Result]) -> None:
    video = world / "clips/red.mp4"
    alone = similar(video, "--videos", video, place=tmp_path / "index")
    assert alone.stdout == "" and "no other video" in alone.stderr
    assert "0 groups" in similar("--duplicates", place=tmp_path / "index").stderr


def test_what_cannot_be(world: Path, tmp_path: Path, similar: Callable[..., Result]) -> None:
    similar("--duplicates", "--videos", world / "clips")
    assert "give a CLIP" in similar(code=2).stderr
    assert "give a CLIP" in similar(world / "clips/red.mp4", "--duplicates", code=2).stderr
    assert "no file nothing.mp4" in similar("nothing.mp4", code=1).stderr
    (tmp_path / "broken.mp4").write_bytes(b"broken")
    assert "broken.mp4: cannot be" in similar("broken.mp4", code=1).stderr
    make_black(tmp_path / "black.mp4")
    assert "blank frames only" in similar("black.mp4", code=1).stderr

"""`tvrkit filter`, as a user types it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from searching import make_clips, make_model
from support import Result

from tvrkit.cli import main


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, clips, and an index of them."""
    folder = tmp_path_factory.mktemp("world")
    make_model(folder / "model")
    make_clips(folder / "clips")
    return folder


@pytest.fixture
def clips(world: Path, tmp_path: Path) -> Path:
    """Clips of this test's own, two of which are one video under names that nobody chose."""
    shutil.copytree(world / "clips", tmp_path / "clips")
    shutil.copy(tmp_path / "clips/a.mp4", tmp_path / "clips" / os.fsdecode(b"odd\n\xff.mp4"))
    return tmp_path / "clips"


@pytest.fixture
def filtered(world: Path, tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in this process, in the test's folder, with one index for all tests."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, code: int = 0) -> Result:
        capfd.readouterr()
        given = [*map(str, arguments), "--model", str(world / "model"), "--index", str(world / "index")]
        with pytest.raises(SystemExit) as stop:
            main(["filter", *given, "--workers", "0"])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert (stop.value.code or 0) == code, err
        return Result(code, out, err)

    return run


def tree(folder: Path) -> dict[str, bytes]:
    """All videos below a folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".jsonl"
    }


def test_without_yes_nothing_is_changed(clips: Path, filtered: Callable[..., Result]) -> None:
    before = tree(clips)
    shown = filtered("clips", "--keep", "a dog", "--threshold", "0", "--move-to", "kept")
    assert shown.stdout.count("keep") == 5 and "5 of 5 videos are kept: confidence 0 or more (built in)" in shown.stderr
    assert "--yes will move 5 files to" in shown.stderr and "odd\\n" in shown.stdout
    assert tree(clips) == before and not Path("kept").exists()


def test_the_plan_as_json(clips: Path, filtered: Callable[..., Result]) -> None:
    words = ("--keep", "a dog", "--keep", "a cat", "--drop", "a car", "--copy-to", "kept", "--json")
    plan = json.loads(filtered("clips", *words, "--threshold", "0.00001").stdout)
    assert plan["threshold"] == 0.00001 and plan["calibrated_on"] is None and plan["mode"] == "copy"
    assert len(plan["files"]) == 5 and plan["kept"] == sum(one["kept"] for one in plan["files"])
    for one in plan["files"]:
        assert one["margin"] == one["keep"] - one["drop"]
        assert one["kept"] == (one["keep"] >= 0.00001 and one["margin"] > 0)
        relative = Path(one["path"]).relative_to(clips)
        assert one["target"] == (str(clips.parent / "kept" / relative) if one["kept"] else None)
    default = json.loads(filtered("clips", "--keep", "a dog", "--json").stdout)
    assert default["threshold"] == 0.5 and default["mode"] is None


def test_copies_keep_their_folders(clips: Path, filtered: Callable[..., Result]) -> None:
    before = tree(clips)
    done = filtered("clips", "--keep", "a dog", "--threshold", "0", "--copy-to", "kept", "--yes")
    assert "5 of 5 files: copy done" in done.stderr and tree(Path("kept")) == before == tree(clips)
    again = filtered("clips", "--keep", "a dog", "--threshold", "0", "--copy-to", "kept", "--yes")
    assert "0 of 5 files: copy done" in again.stderr  # they are there


def test_moves_can_be_taken_back(clips: Path, filtered: Callable[..., Result]) -> None:
    before = tree(clips)
    filtered("clips", "--keep", "a dog", "--threshold", "0", "--move-to", "kept", "--yes")
    assert tree(clips) == {} and tree(Path("kept")) == before
    (log,) = Path("kept").glob("tvrkit-moves-*.jsonl")
    assert "5 of 5 files: move done" in filtered("--undo", log).stderr
    assert tree(clips) == before and tree(Path("kept")) == {}
    assert "Nothing of it is left" in filtered("--undo", log).stderr


def test_nothing_is_overwritten(clips: Path, filtered: Callable[..., Result]) -> None:
    (clips.parent / "kept/sub").mkdir(parents=True)
    (clips.parent / "kept/sub/b.mkv").write_bytes(b"mine")
    done = filtered("clips", "--keep", "a dog", "--threshold", "0", "--move-to", "kept", "--yes", code=1)
    assert "sub/b.mkv: another file has its name there" in done.stderr and "1 of 5 files stay" in done.stderr
    assert list(tree(clips)) == ["sub/b.mkv"] and Path("kept/sub/b.mkv").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "say which folder"),
        (["clips"], 2, "say what to keep"),
        (["clips", "--keep", " "], 2, "must not be empty"),
        (["clips", "--keep", "a", "--copy-to", "x", "--move-to", "y"], 2, "choose one"),
        (["clips", "--keep", "a", "--yes"], 2, "--yes belongs to"),
        (["nothing", "--keep", "a"], 1, "no folder nothing"),
        (["clips", "--keep", "a", "--move-to", "clips/kept"], 2, "needs a folder outside"),
        (["clips", "--keep", "a", "--move-to", "clips"], 2, "needs a folder outside"),
        (["clips", "--keep", "a", "--move-to", "clips/a.mp4"], 1, "is a file"),
        (["clips", "--undo", "log"], 2, "stands alone"),
        (["--undo", "log"], 1, "cannot read the log"),
    ],
)
def test_what_cannot_be(
    clips: Path, filtered: Callable[..., Result], arguments: list[str], code: int, words: str
) -> None:
    assert words in filtered(*arguments, code=code).stderr
    assert len(tree(clips)) == 5

"""`tvrkit index`, as a user types it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from media import make_black, make_video
from searching import make_clips, make_model
from support import Result, clean_environment

from tvrkit.cli import main
from tvrkit.index.opening import open_index


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and clips to be looked at only."""
    folder = tmp_path_factory.mktemp("world")
    make_model(folder / "model")
    make_model(folder / "other", seed=1)
    make_clips(folder / "clips")
    return folder


@pytest.fixture
def clips(world: Path, tmp_path: Path) -> Path:
    shutil.copytree(world / "clips", tmp_path / "clips")
    return tmp_path / "clips"


@pytest.fixture
def index(world: Path, tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in this process, in the test's folder: an import of torch costs seconds."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, code: int = 0) -> Result:
        capfd.readouterr()
        arguments = tuple(str(world / "model") if word == "MODEL" else word for word in arguments)
        with pytest.raises(SystemExit) as stop:
            main(["index", *map(str, arguments), "--workers", "0"])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert (stop.value.code or 0) == code, err
        return Result(code, out, err)

    return run


def place(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "cache" / "indexes").iterdir()
    return found


def test_it_follows_the_folder(clips: Path, index: Callable[..., Result]) -> None:
    (clips / "broken.mp4").write_bytes(b"broken")
    make_black(clips / "black.mp4")
    first = index("clips", "--model", "MODEL")
    assert first.stdout == "" and "Encoding videos 6/6" in first.stderr and "broken.mp4: cannot be" in first.stderr
    assert "6 new. 6 files = 4 ok + 1 failed + 1 blank." in first.stderr
    again = index()  # the folders, the index and the model are known
    assert "Encoding" not in again.stderr and "Nothing has changed. 6 files = 4 ok" in again.stderr
    assert "1 of 6 videos could not be read before" in again.stderr
    (clips / "a.mp4").rename(clips / "b.mp4")
    shutil.copy(clips / "d.mov", clips / "copy.mov")
    make_video(clips / "new.avi", codec="mpeg4", num_frames=10)
    (clips / "sub/deep/c.webm").unlink()
    changed = index()
    assert "Encoding videos 1/1" in changed.stderr
    assert "2 new, 1 moved, 1 gone. 7 files = 5 ok (1 of them copies) + 1 failed + 1 blank." in changed.stderr
    assert "Encoding videos 1/1" in index("--retry-failed").stderr
    assert "Encoding videos 6/6" in index("--rebuild").stderr
    assert json.loads(index("--json").stdout)["ok"] == 5


def test_status(clips: Path, index: Callable[..., Result], tmp_path: Path, world: Path) -> None:
    (clips / "broken.mp4").write_bytes(b"broken")
    index("clips", "--model", "MODEL")
    result = index("--status")
    assert result.stderr == ""
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["index"] == str(place(tmp_path)) and lines["model"].startswith(str(world / "model"))
    assert lines["cut"].startswith("by   shots of 2 to 20 s") and lines["folders"] == str(clips)
    assert lines["files"] == "5 files = 4 ok + 1 failed + 0 blank" and lines["videos"] == "4 with 4 moments"
    assert lines["failed"].startswith(f"{clips}/broken.mp4: cannot be")
    facts = json.loads(index("--status", "--json").stdout)
    assert facts["failures"].keys() == {f"{clips}/broken.mp4"} and facts["cutting"]["cut"] == "shots"
    assert facts["videos"] == 4 and facts["pending"] == 0 and facts["bytes"] > 10_000
    (clips / "a.mp4").unlink()
    index()
    assert "no file  1 videos (--prune forgets them)" in index("--status").stdout
    assert "Forgotten: 1 contents" in index("--prune").stderr
    assert "no file" not in index("--status").stdout


def test_an_index_of_one_s_own_keeps_its_model_and_its_cutting(
    clips: Path, index: Callable[..., Result], world: Path
) -> None:
    index("clips", "--index", "ix", "--model", "MODEL", "--cut", "fixed", "--max-seconds", "1", "--overlap", "0")
    with open_index("ix") as opened:
        assert opened.meta.cutting.cut == "fixed" and opened.status().moments > 4
    assert "Nothing has changed" in index("clips", "--index", "ix").stderr
    refused = index("clips", "--index", "ix", "--model", world / "other", code=2)
    assert str(world / "model") in refused.stderr and str(world / "other") in refused.stderr
    assert "--rebuild" in refused.stderr
    assert "not by windows of 1 s, 0.5 s" in index("clips", "--index", "ix", "--overlap", "0.5", code=2).stderr
    assert "Encoding videos 4/4" in index("clips", "--index", "ix", "--model", world / "other", "--rebuild").stderr
    with open_index("ix") as opened:
        assert opened.meta.cutting.max_seconds == 1 and opened.meta.model == str(world / "other")


def test_models_have_an_index_each(clips: Path, index: Callable[..., Result], world: Path, tmp_path: Path) -> None:
    index("clips", "--model", "MODEL")
    index("clips", "--model", world / "other")
    assert len(list((tmp_path / "cache/indexes").iterdir())) == 2
    make_video(clips / "new.mp4", num_frames=10)
    assert index().stderr.count("Encoding videos 1/1") == 2
    assert index("--status").stdout.count("5 files = 5 ok") == 2


def test_of_several_indexes_none_stops_the_others(
    clips: Path, index: Callable[..., Result], world: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):  # fills an index that is told no folder
        main(["query", "a dog", "--videos", "clips", "--model", str(world / "other"), "--workers", "0"])
    assert "knows no folder yet" in index(code=1).stderr
    index("clips", "--model", "MODEL")
    alone = index()
    assert alone.stderr.count("Nothing has changed. 4 files = 4 ok") == 1 and "knows no folder" not in alone.stderr
    shutil.move(clips / "sub", tmp_path / "else")
    index("else", "--model", str(world / "other"))
    clips.rename(tmp_path / "away")
    one_gone = index(code=1).stderr
    assert "no folder of the index is there" in one_gone and "Nothing has changed. 2 files = 2 ok" in one_gone
    (tmp_path / "else").rename(tmp_path / "away too")
    assert index(code=1).stderr.count("no folder of the index is there") == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_after_a_kill_it_goes_on_by_itself(
    clips: Path, index: Callable[..., Result], world: Path, tmp_path: Path
) -> None:
    for number in range(60):  # other contents, the same pictures: a free atom at the end
        data = (world / "clips/a.mp4").read_bytes()
        (clips / f"{number}.mp4").write_bytes(data + (8 + number).to_bytes(4, "big") + b"free" + bytes(number))
    command = [sys.executable, "-m", "tvrkit", "index", "clips", "--index", "ix", "--model", str(world / "model")]
    with subprocess.Popen(command, cwd=tmp_path, env=clean_environment(tmp_path), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(tmp_path.glob("ix/moments-*/*.safetensors")):
            time.sleep(0.02)
        process.kill()
    assert "64 files = 64 ok" in index("--index", "ix").stderr  # no folder was named again


def test_shards_and_merging(clips: Path, index: Callable[..., Result], tmp_path: Path) -> None:
    (clips / "broken.mp4").write_bytes(b"broken")
    seen = 0
    for i in (1, 2, 3):
        result = index("clips", "--index", "ix", "--model", "MODEL", "--shard", f"{i}/3", "--json")
        seen += json.loads(result.stdout)["files"]
        assert Path(f"ix/shards/{i}-of-3/index.json").exists()
    assert seen == 5
    for known in (False, True):
        merged = index("--merge", "ix/shards", "--index", "ix")
        assert "5 files = 4 ok + 1 failed + 0 blank." in merged.stderr
        assert [int(n) for n in re.findall(r"\((\d) known\)", merged.stderr)].count(0) < 3 or not known
    assert "Nothing has changed. 5 files = 4 ok + 1 failed" in index("--index", "ix").stderr
    # What the whole index has is not encoded for a shard again.
    shutil.rmtree("ix/shards")
    again = index("clips", "--index", "ix", "--shard", "1/1")
    assert "Encoding" not in again.stderr and "5 files = 4 ok + 1 failed + 0 blank." in again.stderr


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_truncate, _zero, _flip, Path.unlink])
def test_damaged_segments_are_repaired(clips: Path, index: Callable[..., Result], damage: Callable) -> None:
    index("clips", "--index", "ix", "--model", "MODEL")
    before = index("--status", "--json", "--index", "ix").stdout
    damage(sorted(Path("ix").rglob("*.safetensors"))[0])
    repaired = index("--verify", "--index", "ix")
    assert "was damaged: what it held is missing" in repaired.stderr and "Encoding videos" in repaired.stderr
    assert "4 videos, 4 moments, 16 frames are whole" in index("--verify", "--index", "ix").stderr
    after = index("--status", "--json", "--index", "ix").stdout
    assert re.sub('"bytes": [0-9]+', "", after) == re.sub('"bytes": [0-9]+', "", before)


@pytest.mark.parametrize("name", ["files.sqlite", "catalogue.sqlite", "index.json"])
def test_lost_or_damaged_tables_cost_no_encoding(clips: Path, index: Callable[..., Result], name: str) -> None:
    for damage in (Path.unlink, _zero):
        shutil.rmtree("ix", ignore_errors=True)
        index("clips", "--index", "ix", "--model", "MODEL")
        (path,) = Path("ix").rglob(name)
        damage(path)
        if damage is _zero and name == "index.json":
            assert "cannot be read" in index("clips", "--index", "ix", code=1).stderr
            continue
        result = index("clips", "--index", "ix", "--model", "MODEL")
        assert "Encoding" not in result.stderr and "4 files = 4 ok" in result.stderr


def test_folders_that_are_gone(clips: Path, index: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    make_video(tmp_path / "more" / "m.mp4", num_frames=10)
    index("clips", "more", "--model", "MODEL")
    (tmp_path / "more").rename(tmp_path / "away")
    gone = index(code=1)
    assert "4 files = 4 ok" in gone.stderr and "left as they were" in gone.stderr.splitlines()[-1]
    assert "5 files = 5 ok" in index("--status").stdout
    (tmp_path / "away").rename(tmp_path / "more")
    assert "5 files = 5 ok" in index().stderr
    shutil.rmtree(tmp_path / "more")
    pruned = index("--prune")
    assert "1 gone. 4 files = 4 ok" in pruned.stderr and "Forgotten: 1 contents" in pruned.stderr
    assert "Nothing has changed. 4 files = 4 ok" in index().stderr


@pytest.mark.parametrize("name", [b"new\nline.mp4", "🏄 犬.mp4".encode(), b"bytes \xff\xfe.mp4", b"\x1b[31m.mp4"])
def test_strange_names(world: Path, index: Callable[..., Result], tmp_path: Path, name: bytes) -> None:
    (tmp_path / "v").mkdir()
    shutil.copy(world / "clips/a.mp4", os.path.join(os.fsencode(tmp_path), b"v", name))
    Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"v", b"broken " + name))).write_bytes(b"x")
    index("v", "--index", "ix", "--model", "MODEL")
    assert "Nothing has changed. 2 files = 1 ok + 1 failed" in index("--index", "ix").stderr
    shown = index("--index", "ix", "--status").stdout
    assert "\x1b" not in shown and len([line for line in shown.splitlines() if line.startswith("failed")]) == 1
    (path,) = json.loads(index("--index", "ix", "--status", "--json").stdout)["failures"]
    assert os.fsencode(path).endswith(b"broken " + name)


def test_measure(clips: Path, index: Callable[..., Result]) -> None:
    index("clips", "--model", "MODEL")
    assert "recall@10" in index("--measure").stdout
    measured = json.loads(index("--measure", "--json").stdout)
    assert measured["videos"] == 4 and all(0.99 <= share <= 1 for share in measured["recall"].values())


def test_bad_input_is_one_sentence(clips: Path, index: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    model = ("--model", "MODEL")
    for arguments, code, words in (
        ((), 1, "no index is kept in .* yet: `tvrkit index DIR`"),
        (("--status",), 1, "no index is kept"),
        (("--status", "--index", "nowhere"), 1, "there is no index at .*nowhere"),
        (("--verify", "--index", "nowhere"), 1, "there is no index at .*nowhere"),
        (("nowhere", *model), 1, "there is no folder or file nowhere"),
        (("empty", *model, "--index", "e"), 1, r"no video lies in .*empty.*\.mp4"),
        (("clips", *model, "--shard", "0/3"), 2, "--shard 0/3: it must be I/N"),
        (("clips", *model, "--shard", "x"), 2, "--shard x: it must be I/N"),
        (("--merge", "clips", "--index", "ix"), 1, "--merge clips: no index lies there"),
        (("clips", *model, "--min-seconds", "30"), 2, "0 < min <= max"),
        (("clips", *model, "--cut", "scenes"), 2, "--cut"),
        (("clips", *model, "--index", "clips/a.mp4"), 1, "cannot make the index"),
        (("clips", *model, "--index", "qdrant:http://localhost:1/x"), 2, "can only be searched"),
    ):
        result = index(*arguments, code=code)
        assert result.stdout == "" and re.search(words, result.stderr), (arguments, result.stderr)
    index("clips", *model)
    assert "must be qdrant:URL" in index("--to", "elsewhere", code=2).stderr

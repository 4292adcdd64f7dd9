"""`tvrkit query`, as a user types it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from media import frame_number, make_audio, make_video, truncate
from searching import make_clips, make_model
from support import Result, clean_environment

from tvrkit.cli import main

ROW = re.compile(r"^ *(\d+) +(-?\d\.\d{3}) +(\S.*?) +(\d\d:\d\d) +(\d\d:\d\d) *$", re.M)


@dataclass(frozen=True)
class World:
    """A model and clips to be looked at only."""

    model: Path
    clips: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    make_model(folder / "model")
    return World(folder / "model", make_clips(folder / "clips"))


@pytest.fixture
def clips(world: World, tmp_path: Path) -> Path:
    """Clips of this test's own."""
    shutil.copytree(world.clips, tmp_path / "clips")
    return tmp_path / "clips"


@pytest.fixture
def query(world: World, tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in this process, in the test's folder, with the small model: an import of torch costs seconds."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, model: bool = True) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["query", *map(str, arguments), *(["--model", str(world.model), "--workers", "0"] if model else [])])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Result(stop.value.code or 0, out, err)

    return run


def paths_of(result: Result) -> list[str]:
    return [json.loads(line)["path"] for line in result.stdout.splitlines()]


def test_the_line_of_the_readme(clips: Path, world: World, run_cli: Callable[..., Result]) -> None:
    """Typed exactly so; the newest run on real videos is chosen by itself."""
    run = clips.parent / "runs" / "20250101-000000-cats-tiny"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"name": run.name, "dataset": "cats"}))
    shutil.copytree(world.model, run / "checkpoints" / "best")
    first = run_cli("query", "a dog surfing", "--videos", "./clips")
    assert first.code == 0, first.stderr
    assert [row[0] for row in ROW.findall(first.stdout)] == ["1", "2", "3", "4"]
    assert {row[2] for row in ROW.findall(first.stdout)} == {
        "clips/a.mp4",
        "clips/d.mov",
        "clips/sub/b.mkv",
        "clips/sub/deep/c.webm",
    }
    assert f"Model: runs/{run.name}, the newest run" in first.stderr.replace("\\", "/").replace(
        str(clips.parent) + "/", ""
    )
    assert "Encoding videos 4/4" in first.stderr
    again = run_cli("query", "a dog surfing", "--videos", "./clips")
    assert again.stdout == first.stdout and "Encoding" not in again.stderr


def test_only_data_goes_to_stdout(clips: Path, query: Callable[..., Result]) -> None:
    (clips / "broken.mp4").write_bytes(b"broken")
    result = query("a dog", "--videos", "clips", "--json", "--top", "3")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all(set(row) == {"rank", "score", "path", "best_seconds", "duration_seconds"} for row in rows)
    assert all(0 <= row["best_seconds"] <= row["duration_seconds"] and Path(row["path"]).is_file() for row in rows)
    assert "broken.mp4" in result.stderr and "Encoding videos 5/5" in result.stderr


def test_the_cache_follows_the_folder(clips: Path, query: Callable[..., Result]) -> None:
    arguments = ("a dog", "--videos", "clips", "--json")
    first = query(*arguments)
    assert "Encoding videos 4/4" in first.stderr
    (clips / "a.mp4").rename(clips / "renamed.mp4")
    moved = query(*arguments)
    assert "Encoding" not in moved.stderr
    assert paths_of(moved) == [path.replace("a.mp4", "renamed.mp4") for path in paths_of(first)]
    (clips / "d.mov").unlink()
    assert len(paths_of(query(*arguments))) == 3
    make_video(clips / "renamed.mp4", num_frames=30)
    make_video(clips / "new.avi", codec="mpeg4")
    changed = query(*arguments)
    assert "Encoding videos 2/2" in changed.stderr and len(paths_of(changed)) == 4
    assert "Encoding videos 4/4" in query(*arguments, "--rebuild").stderr


def test_failures_are_named_once_and_retried_on_demand(clips: Path, query: Callable[..., Result]) -> None:
    (clips / "zero.mp4").write_bytes(b"")
    make_audio(clips / "sound.mp4")
    make_video(clips / "cut.mp4")
    truncate(clips / "cut.mp4", 0.4)  # the index is at the end
    result = query("a dog", "--videos", "clips", "--json")
    assert result.code == 0 and len(paths_of(result)) == 4
    assert "3 of 7 videos cannot be read" in result.stderr
    for name in ("zero.mp4", "sound.mp4", "cut.mp4"):
        assert re.search(rf"{name}: \w+", result.stderr)
    again = query("a dog", "--videos", "clips", "--json")
    assert "Encoding" not in again.stderr and "3 of 7" in again.stderr and "--retry-failed" in again.stderr
    assert "Encoding videos 3/3" in query("a dog", "--videos", "clips", "--retry-failed").stderr
    for path in clips.rglob("*"):
        if path.name not in ("zero.mp4", "sound.mp4") and path.is_file():
            path.unlink()
    nothing = query("a dog", "--videos", "clips")
    assert nothing.code == 1 and nothing.stdout == "" and "none of the 2 videos" in nothing.stderr


def test_long_paths_fit_80_columns(world: World, query: Callable[..., Result], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / ("a long name " * 8) / ("another_long_name" * 6)
    folder.mkdir(parents=True)
    shutil.copy(world.clips / "a.mp4", folder / "x.mp4")
    shutil.copy(world.clips / "d.mov", tmp_path / "d.mov")
    result = query("a dog", "--videos", tmp_path, "--videos", folder / "x.mp4")
    assert max(map(len, result.stdout.splitlines())) <= 80
    cells = [line[15:60].strip() for line in result.stdout.splitlines()]
    assert "x.mp4" in "".join(cells) and "00:0" in result.stdout


def test_a_video_finds_its_like(clips: Path, query: Callable[..., Result], tmp_path: Path) -> None:
    shutil.copyfile(clips / "d.mov", clips / "sub" / "copy.mov")
    for example in (clips / "d.mov", tmp_path / "elsewhere.mov"):
        if not example.exists():
            shutil.copy2(clips / "d.mov", example)
        paths = paths_of(query("--like", example, "--videos", "clips", "--json"))
        assert paths[0].endswith("copy.mov") and len(paths) == 4 and not any(p.endswith("d.mov") for p in paths)
    (tmp_path / "broken.mp4").write_bytes(b"x")
    broken = query("--like", tmp_path / "broken.mp4", "--videos", "clips")
    assert broken.code == 1 and broken.stdout == "" and "broken.mp4" in broken.stderr.splitlines()[-1]


def test_the_page_is_written(clips: Path, query: Callable[..., Result], tmp_path: Path) -> None:
    result = query("a <b>dog</b>", "--videos", "clips", "--page", "out.html", "--top", "2")
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert result.code == 0 and "Page: out.html" in result.stderr
    assert text.count('src="data:image/jpeg;base64,') == 2 and "a &lt;b&gt;dog&lt;/b&gt;" in text


def test_bad_input_is_one_sentence(clips: Path, query: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (clips / "not a video.mp4").mkdir()
    cases: list[tuple[tuple[str, ...], int, str]] = [
        (("", "--videos", "clips"), 2, "the query is empty"),
        ((" \n", "--videos", "clips"), 2, "the query is empty"),
        (("--videos", "clips"), 2, "either words, as in"),
        (("x", "--like", "clips/a.mp4", "--videos", "clips"), 2, "either words, as in"),
        (("x", "--videos", "nowhere"), 1, "there is no folder or file nowhere"),
        (("x", "--videos", "empty"), 1, "no video lies in empty"),
        (("--like", "nowhere.mp4", "--videos", "clips"), 1, "--like nowhere.mp4: there is no such file"),
        (("x", "--videos", "clips", "--page", "nowhere/out.html"), 1, "--page nowhere/out.html"),
        (("x", "--videos", "clips", "--page", "clips"), 1, "--page clips"),
        (("x", "--videos", "clips", "--top", "0"), 2, "--top"),
        (("x", "--videos", "clips", "--device", "tpu9"), 2, "--device tpu9"),
    ]
    for arguments, code, words in cases:
        result = query(*arguments)
        assert (result.code, result.stdout) == (code, ""), arguments
        assert words in result.stderr, result.stderr
    for model, words in (("nowhere", "nowhere"), (str(clips), "holds no model"), ("ViT-B-32/openai", "be downloaded")):
        result = query("x", "--videos", "clips", "--model", model, model=False)
        assert result.code == 1 and words in result.stderr


def test_a_long_query_is_cut_with_a_note(clips: Path, query: Callable[..., Result]) -> None:
    assert "only its beginning counts" in query("dog " * 200, "--videos", "clips").stderr
    assert "beginning" not in query("a dog", "--videos", "clips").stderr


@pytest.mark.parametrize(
    "name", [b"new\nline.mp4", "🏄 犬.mp4".encode(), b"bytes \xff\xfe.mp4", b"\x1b[31m.mp4", b"<b>.mp4"]
)
def test_strange_names(world: World, query: Callable[..., Result], tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "strange"
    folder.mkdir()
    shutil.copy(world.clips / "a.mp4", os.path.join(os.fsencode(folder), name))
    table = query("a dog", "--videos", "strange", "--page", "out.html")
    assert table.code == 0 and len(ROW.findall(table.stdout)) == 1 and "\x1b" not in table.stdout
    (path,) = paths_of(query("a dog", "--videos", "strange", "--json"))
    assert os.fsencode(path) == b"strange/" + name and Path(path).is_file()
    (folder / os.fsdecode(b"broken " + name)).write_bytes(b"x")
    broken = query("a dog", "--videos", "strange", "--json")
    assert "broken" in broken.stderr and "\x1b[31m" not in broken.stderr and len(paths_of(broken)) == 1
    (tmp_path / "out.html").read_text(encoding="utf-8")


def test_the_shapes_model_is_never_used_silently(clips: Path, query: Callable[..., Result], tmp_path: Path) -> None:
    """Its runs are passed over, so the default model is wanted, and cannot be had here."""
    run = tmp_path / "runs" / "20250101-000000-shapes-tiny"
    (run / "checkpoints" / "best").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"name": run.name, "dataset": "shapes"}))
    result = query("a dog", "--videos", "clips", model=False)
    assert result.code == 1 and result.stdout == ""
    from tvrkit.core.catalogue import DEFAULT_SEARCH_BACKBONE

    assert f"Model: {DEFAULT_SEARCH_BACKBONE}, the default" in result.stderr
    assert re.search(r"Error: .*must be downloaded.*--model", result.stderr)


def test_a_named_shapes_run_is_warned_of(
    clips: Path, query: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "demo"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"name": run.name, "dataset": "shapes"}))
    shutil.copytree(world.model, run / "checkpoints" / "best")
    arguments = ("a dog", "--videos", "clips", "--model", "runs/demo", "--workers", "0")
    assert "knows moving shapes only" in query(*arguments, model=False).stderr
    (clips / "manifest.jsonl").write_text('{"tvrkit_manifest": 1, "name": "shapes"}\n')
    assert "knows moving shapes only" not in query(*arguments, model=False).stderr


def test_a_damaged_cache_heals(clips: Path, query: Callable[..., Result], tmp_path: Path) -> None:
    first = query("a dog", "--videos", "clips", "--json")
    (segment,) = (tmp_path / "cache").rglob("*.safetensors")
    segment.write_bytes(segment.read_bytes()[:100])
    healed = query("a dog", "--videos", "clips", "--json")
    assert healed.stdout == first.stdout
    assert re.search(r"Warning: .*safetensors is damaged", healed.stderr) and "Encoding videos 4/4" in healed.stderr
    for path in (tmp_path / "cache").rglob("*.sqlite"):
        path.write_bytes(b"garbage" * 1000)
    healed = query("a dog", "--videos", "clips", "--json")
    assert healed.stdout == first.stdout and "Encoding" not in healed.stderr and "damaged" in healed.stderr


def test_a_cache_that_cannot_be_written(clips: Path, query: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    result = query("a dog", "--videos", "clips", "--json")
    assert result.code == 0 and len(paths_of(result)) == 4
    assert "cannot make the cache folder" in result.stderr and "not kept" in result.stderr


def test_an_answer_from_the_cache_loads_no_video_reader(clips: Path, world: World, query, tmp_path: Path) -> None:
    query("a dog", "--videos", "clips")
    code = (
        "import sys\nfrom tvrkit.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n"
        "    assert not stop.code\nprint(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "query", "a dog", "--videos", "clips", "--model", str(world.model), "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(tmp_path, TVRKIT_CACHE=str(tmp_path / "cache")),
        check=True,
    )
    assert len(done.stdout.splitlines()) == 4
    loaded = set(done.stderr.splitlines()[-1].split())
    assert {"torch", "tvrkit.store"} <= loaded
    assert not loaded & {"av", "decord", "tvrkit.encode", "tvrkit.frames.pool", "tvrkit.train"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_it_keeps_what_was_encoded(world: World, tmp_path: Path, kind: signal.Signals) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for i in range(120):
        shutil.copyfile(world.clips / "d.mov", folder / f"{i:03d}.mov")
        os.utime(folder / f"{i:03d}.mov", (1_700_000_000 + i,) * 2)
    command = [sys.executable, "-m", "tvrkit", "query", "a dog", "--videos", "clips", "--json", "--model", world.model]
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=tmp_path,
        env=clean_environment(tmp_path, TVRKIT_CACHE=str(tmp_path / "cache")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        deadline = time.monotonic() + 120
        # The second segment is begun when the first is committed.
        while len(list((tmp_path / "cache").rglob("*.safetensors"))) < 2:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        # As a terminal's Ctrl-C: to all processes of the command.
        os.killpg(process.pid, kind)
        out, err = process.communicate(timeout=60)
    assert out == "" and "Traceback" not in err
    if kind is signal.SIGINT:
        assert process.returncode == 130
        kept = re.search(r"(\d+) of 120 videos are done and kept", err)
        assert kept and 0 < int(kept[1]) < 120
    done = subprocess.run(
        [*map(str, command), "--top", "200"],
        cwd=tmp_path,
        env=clean_environment(tmp_path, TVRKIT_CACHE=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        check=True,
    )
    again = re.search(r"Encoding videos (\d+)/\1", done.stderr)
    assert again and 0 < int(again[1]) < 120
    assert len(done.stdout.splitlines()) == 120


@pytest.mark.slow
def test_two_at_once(world: World, clips: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tvrkit", "query", "a dog", "--videos", "clips", "--json", "--model", world.model]
    environment = clean_environment(tmp_path, TVRKIT_CACHE=str(tmp_path / "cache"))
    running = [
        subprocess.Popen([*map(str, command)], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert answers[0] == answers[1] and len(answers[0].splitlines()) == 4


# Python itself may lie where only root may look, so all of it is loaded before the process gives up its rights.
AS_NOBODY = """
import os, sys
from tvrkit.cli import main
import tvrkit.encode
def answer(folder):
    try:
        main(["query", "a dog", "--videos", folder, "--json", "--workers", "0", "--model", sys.argv[1]])
    except SystemExit as stop:
        assert not stop.code, stop.code
    print(flush=True)
answer("clips")
os.setgroups([]), os.setgid(65534), os.setuid(65534)
answer("clips")
answer("more")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root, to become a user who may only read")
def test_a_cache_that_may_only_be_read_answers(world: World, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    make_video(tmp_path / "more" / "new.mp4")
    for path in (
        world.model,
        *world.model.rglob("*"),
        *world.model.parents,
        tmp_path,
        *tmp_path.rglob("*"),
        *tmp_path.parents,
    ):
        if path != Path("/"):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(world.model)],
        cwd=tmp_path,
        env=clean_environment(tmp_path, TVRKIT_CACHE=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        check=False,
        umask=0o022,
    )
    assert done.returncode == 0, done.stderr
    as_root, as_nobody, more = done.stdout.strip().split("\n\n")
    assert as_root == as_nobody and len(as_root.splitlines()) == 4
    assert json.loads(more)["path"] == "more/new.mp4"
    assert done.stderr.count("Encoding videos") == 2
    assert "cannot write to the cache" in done.stderr and "not kept" in done.stderr


@pytest.mark.slow
def test_the_shared_clips(shared: Path, world: World, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    """107 real files in mixed containers: none crashes it, none is lost without a word."""
    arguments = (
        "a dog surfing",
        "--videos",
        shared / "clips" / "clips",
        "--model",
        world.model,
        "--json",
        "--top",
        "500",
    )
    result = run_cli("query", *arguments, "--page", "out.html")
    assert result.code == 0, result.stderr
    found = paths_of(result)
    failed = re.search(r"(\d+) of (\d+) videos cannot be read", result.stderr)
    assert len(found) + (int(failed[1]) if failed else 0) == len(list((shared / "clips" / "clips").iterdir()))
    assert len(found) >= 100
    again = run_cli("query", *arguments)
    assert again.stdout == result.stdout and "Encoding" not in again.stderr


@pytest.mark.slow
def test_best_moments_show_what_the_page_shows(world: World, query: Callable[..., Result], tmp_path: Path) -> None:
    import base64
    import io

    import numpy as np
    from PIL import Image

    make_video(tmp_path / "videos.mp4", num_frames=80, fps=20, size=(320, 240))
    (row,) = map(
        json.loads, query("a dog", "--videos", "videos.mp4", "--json", "--page", "out.html").stdout.splitlines()
    )
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    data = re.search(r'data:image/jpeg;base64,([^"]+)"', text)
    assert data
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))))
    assert frame_number(picture) == round(row["best_seconds"] * 20)

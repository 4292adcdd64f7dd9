"""What a question costs and leaves behind: the index that it keeps up to date."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from media import make_audio, make_video, truncate
from support import Result, clean_environment

Query = Callable[..., Result]


def names_of(result: Result) -> list[str]:
    return [Path(json.loads(line)["path"]).name for line in result.stdout.splitlines()]


def test_the_index_follows_the_folder(clips: Path, query: Query) -> None:
    arguments = ("a dog", "--videos", "clips", "--json")
    first = query(*arguments)
    assert "Encoding videos 4/4" in first.stderr
    (clips / "a.mp4").rename(clips / "renamed.mp4")
    moved = query(*arguments)
    assert "Encoding" not in moved.stderr
    assert names_of(moved) == [name.replace("a.mp4", "renamed.mp4") for name in names_of(first)]
    (clips / "d.mov").unlink()
    assert len(names_of(query(*arguments))) == 3
    make_video(clips / "renamed.mp4", num_frames=30)
    make_video(clips / "new.avi", codec="mpeg4")
    changed = query(*arguments)
    assert "Encoding videos 2/2" in changed.stderr and len(names_of(changed)) == 4
    assert "Encoding videos 4/4" in query(*arguments, "--rebuild").stderr


def test_failures_are_named_once_and_retried_on_demand(clips: Path, query: Query) -> None:
    (clips / "zero.mp4").write_bytes(b"")
    make_audio(clips / "sound.mp4")
    make_video(clips / "cut.mp4")
    truncate(clips / "cut.mp4", 0.4)  # the index is at the end
    result = query("a dog", "--videos", "clips", "--json")
    assert result.code == 0 and len(names_of(result)) == 4
    assert "3 of 7 videos cannot be read" in result.stderr
    for name in ("zero.mp4", "sound.mp4", "cut.mp4"):
        assert re.search(rf"{name}: \w+", result.stderr)
    again = query("a dog", "--videos", "clips", "--json")
    assert "Encoding" not in again.stderr and "3 of 7" in again.stderr and "--retry-failed" in again.stderr
    assert "Encoding videos 3/3" in query("a dog", "--videos", "clips", "--retry-failed").stderr
    nothing = query("a dog", "--videos", "clips/zero.mp4")
    assert nothing.code == 1 and nothing.stdout == "" and "zero.mp4" in nothing.stderr


def test_a_cache_that_cannot_be_written(clips: Path, query: Query, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    result = query("a dog", "--videos", "clips", "--json")
    assert result.code == 0 and len(names_of(result)) == 4 and "not kept" in result.stderr


def test_an_index_of_one_s_own(clips: Path, query: Query, search_world, tmp_path: Path) -> None:
    first = query("a dog", "--videos", "clips", "--json", "--index", "mine")
    assert (tmp_path / "mine").is_dir() and not (tmp_path / "cache" / "indexes").exists()
    # It knows its model.
    again = query("a dog", "--json", "--index", "mine", "--workers", "0", model=False)
    assert again.stdout == first.stdout and str(search_world.model) in again.stderr


def test_an_answer_from_the_index_loads_no_other_store_or_engine(
    clips: Path, search_world, query: Query, tmp_path: Path
) -> None:
    query("a dog", "--videos", "clips")
    code = (
        "import sys\nfrom tvrkit.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n"
        "    assert not stop.code\nprint(*sorted(sys.modules), file=sys.stderr)"
    )
    arguments = ["query", "a dog", "--videos", "clips", "--model", str(search_world.model), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(tmp_path, TVRKIT_CACHE=str(tmp_path / "cache")),
        check=True,
    )
    assert len(done.stdout.splitlines()) == 4
    loaded = set(done.stderr.splitlines()[-1].split())
    assert {"torch", "tvrkit.store"} <= loaded
    assert not loaded & {"decord", "tvrkit.train", "tvrkit.serve", "lancedb", "qdrant_client", "ray", "fsspec"}


def test_the_shapes_model_is_never_used_silently(clips: Path, query: Query, tmp_path: Path) -> None:
    """Its runs are passed over, so the default model is wanted, and cannot be had here."""
    run = tmp_path / "runs" / "20250101-000000-shapes-tiny"
    (run / "checkpoints" / "best").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"name": run.name, "dataset": "shapes"}))
    result = query("a dog", "--videos", "clips", model=False)
    assert result.code == 1 and result.stdout == ""
    from tvrkit.core.catalogue import DEFAULT_SEARCH_BACKBONE

    assert f"Model: {DEFAULT_SEARCH_BACKBONE}, the default" in result.stderr
    assert re.search(r"Error: .*must be downloaded.*--model", result.stderr)


def test_a_named_shapes_run_is_warned_of(clips: Path, query: Query, search_world, tmp_path: Path) -> None:
    import shutil

    run = tmp_path / "runs" / "demo"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"name": run.name, "dataset": "shapes"}))
    shutil.copytree(search_world.model, run / "checkpoints" / "best")
    arguments = ("a dog", "--videos", "clips", "--model", "runs/demo", "--workers", "0")
    assert "knows moving shapes only" in query(*arguments, model=False).stderr
    (clips / "manifest.jsonl").write_text('{"tvrkit_manifest": 1, "name": "shapes"}\n')
    assert "knows moving shapes only" not in query(*arguments, model=False).stderr


# Python itself may lie where only root may look, so all of it is loaded before the process gives up its rights.
AS_NOBODY = """
import os, sys
from tvrkit.cli import main
import tvrkit.encode
def answer(*arguments):
    try:
        main(["query", "a dog", *arguments, "--json", "--workers", "0", "--model", sys.argv[1]])
    except SystemExit as stop:
        assert not stop.code, stop.code
    print(flush=True)
answer("--videos", "clips")
os.setgroups([]), os.setgid(65534), os.setuid(65534)
answer()
answer("--videos", "clips")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root, to become a user who may only read")
def test_an_index_that_may_only_be_read_answers(search_world, clips: Path, tmp_path: Path) -> None:
    model = search_world.model
    for path in (model, *model.rglob("*"), *model.parents, tmp_path, *tmp_path.rglob("*"), *tmp_path.parents):
        if path != Path("/"):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(model)],
        cwd=tmp_path,
        env=clean_environment(tmp_path, TVRKIT_CACHE=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        check=False,
        umask=0o022,
    )
    assert done.returncode == 0, done.stderr
    as_root, as_nobody, updated = done.stdout.strip().split("\n\n")
    assert as_root == as_nobody == updated and len(as_root.splitlines()) == 4

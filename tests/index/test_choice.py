"""Which model answers when none is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tvrkit.index.choice import are_shapes, dataset_of, newest_run


def make_run(runs: Path, name: str, dataset: object, age: int, *, checkpoint: bool = True) -> Path:
    run = runs / name
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"name": name, "dataset": dataset}))
    if checkpoint:
        (run / "checkpoints" / "best").mkdir(parents=True)
    os.utime(run / "run.json", (2_000_000_000 - age,) * 2)
    return run


def test_the_newest_run_on_real_videos_is_taken(tmp_path: Path) -> None:
    runs = tmp_path / "runs"  # where the fixture own_folders puts them
    assert newest_run() is None
    make_run(runs, "e", "shapes", age=0)
    assert newest_run() is None
    good = make_run(runs, "a", "cats", age=50)
    make_run(runs, "b", "older", age=90)
    make_run(runs, "c", "dogs", age=10, checkpoint=False)
    make_run(runs, "d", 7, age=5)
    broken = make_run(runs, "f", "x", age=1)
    (broken / "run.json").write_text("{")
    assert newest_run() == good
    assert [dataset_of(runs / name) for name in "abcdef"] == ["cats", "older", "dogs", None, "shapes", None]
    assert dataset_of(tmp_path) is None


@pytest.mark.parametrize(
    ("header", "yes"), [('{"tvrkit_manifest": 1, "name": "shapes"}', True), ('{"name": "cats"}', False), ("[", False)]
)
def test_shapes_are_known_by_their_manifest(tmp_path: Path, header: str, yes: bool) -> None:
    videos = tmp_path / "set" / "videos" / "test"
    videos.mkdir(parents=True)
    assert not are_shapes(videos)
    (tmp_path / "set" / "manifest.jsonl").write_text(header + "\n")
    assert are_shapes(videos) is yes and are_shapes(tmp_path / "set") is yes

"""A run on a small data set, trained once for all tests of commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from searching import make_clips, make_model
from support import Result
from tiny import make_data, tiny_config, write_clip

from tvrkit.cli import main
from tvrkit.train.loop import train

RUN = "20260101-000000-squares-small"


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A folder with the data set `squares`, and a run on it that began from the built-in weights."""
    folder = tmp_path_factory.mktemp("trained")
    manifest = make_data(folder / "data" / "squares", hard=True, test=5)
    config = tiny_config(
        write_clip(folder),
        manifest,
        model={"backbone": "shapes", "pretrained": "shapes"},
        train={"freeze": "vision", "epochs": 1},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TVRKIT_CACHE", str(folder / "cache"))
        train(config, folder / "runs" / RUN)
    return folder


@pytest.fixture
def world(trained, tmp_path, monkeypatch):
    """A copy of it, as the current folder."""
    shutil.copytree(trained, tmp_path / "world")
    run_file = tmp_path / "world" / "runs" / RUN / "run.json"
    run_file.write_text(run_file.read_text().replace(str(trained), str(tmp_path / "world")))
    for name in ("data", "runs", "cache"):
        monkeypatch.setenv(f"TVRKIT_{name.upper()}", str(tmp_path / "world" / name))
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"


@dataclass(frozen=True)
class SearchWorld:
    """A model and clips to be looked at only."""

    model: Path
    clips: Path


@pytest.fixture(scope="session")
def search_world(tmp_path_factory: pytest.TempPathFactory) -> SearchWorld:
    """A small model with random weights, and four clips."""
    folder = tmp_path_factory.mktemp("search")
    make_model(folder / "model")
    return SearchWorld(folder / "model", make_clips(folder / "clips"))


@pytest.fixture
def clips(search_world: SearchWorld, tmp_path: Path) -> Path:
    """Clips of this test's own."""
    shutil.copytree(search_world.clips, tmp_path / "clips")
    return tmp_path / "clips"


@pytest.fixture
def query(search_world: SearchWorld, tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`tvrkit query` in this process, in the test's folder, with the small model: an import of torch costs seconds."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, model: bool = True) -> Result:
        capfd.readouterr()
        options = ["--model", str(search_world.model), "--workers", "0"] if model else []
        with pytest.raises(SystemExit) as stop:
            main(["query", *map(str, arguments), *options])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Result(stop.value.code or 0, out, err)

    return run

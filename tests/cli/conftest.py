"""A run on a small data set, trained once for all tests of commands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny import make_data, tiny_config, write_clip

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

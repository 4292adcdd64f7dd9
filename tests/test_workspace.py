from __future__ import annotations

import os
from pathlib import Path

import pytest

from tvrkit import workspace
from tvrkit.errors import DataError


@pytest.fixture
def data(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    monkeypatch.setenv("TVRKIT_DATA", str(folder))

    def prepare(name):
        path = folder / name / "manifest.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        return path

    return prepare


def test_the_only_prepared_set_is_chosen(data):
    with pytest.raises(DataError, match="tvrkit prepare shapes"):
        workspace.manifest_path()
    path = data("shapes")
    assert workspace.manifest_path() == path
    data("clips")
    with pytest.raises(DataError, match=r"clips, shapes\): choose one with `--data clips`"):
        workspace.manifest_path()
    assert workspace.manifest_path("shapes") == path


def test_a_set_can_be_named_by_its_path(data, tmp_path):
    path = data("shapes")
    assert workspace.manifest_path(str(path)) == path
    assert workspace.manifest_path(str(path.parent)) == path
    with pytest.raises(DataError, match="prepared there: shapes"):
        workspace.manifest_path("msvd")


def test_runs_are_ordered_by_their_start(tmp_path, monkeypatch):
    monkeypatch.setenv("TVRKIT_RUNS", str(tmp_path / "runs"))
    assert workspace.runs() == []
    for name, seconds in (("b", 1), ("a", 2)):
        file = tmp_path / "runs" / name / "run.json"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        os.utime(file, (seconds, seconds))
        (file.parent / "checkpoints" / "best").mkdir(parents=True)
    (tmp_path / "runs" / "stray").mkdir()
    assert [run.name for run in workspace.runs()] == ["b", "a"]


def test_a_run_without_a_model_is_listed_only_when_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("TVRKIT_RUNS", str(tmp_path / "runs"))
    (tmp_path / "runs" / "begun").mkdir(parents=True)
    (tmp_path / "runs" / "begun" / "run.json").write_text("{}")
    assert workspace.runs() == []
    assert [run.name for run in workspace.runs(unfinished=True)] == ["begun"]


def test_the_cache_follows_xdg(monkeypatch):
    monkeypatch.delenv("TVRKIT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert workspace.cache_folder() == Path("/somewhere/tvrkit")

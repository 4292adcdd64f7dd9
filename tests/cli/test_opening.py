"""Which model and which index a command gets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from searching import make_clips, make_model

from tvrkit.cli.opening import default_place, lasting, latest_index, open_for_search, update_index
from tvrkit.errors import ConfigError, DataError, ModelError
from tvrkit.frames.reading import Reading

HERE = Reading(workers=0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_model(folder / "model")
    make_model(folder / "other", seed=1)
    make_clips(folder / "clips", ("a.mp4", "b.mp4"))
    return folder


def filled(world: Path, model: str = "model", index: str | None = None) -> str:
    """An index of the clips; where it lies."""
    places = [str(world / "clips")]
    with open_for_search(index, str(world / model), "cpu", places=places) as opened:
        update_index(opened, places, reading=HERE)
        assert opened.index is not None and len(opened.engine) == 2
        return opened.index.place


def test_each_model_has_its_own_and_the_last_one_answers(world: Path) -> None:
    first, second = filled(world), filled(world, "other")
    assert first != second and latest_index() == second
    with open_for_search(None, None, "cpu") as opened:
        assert opened.source == str(world / "other") and opened.index is not None and opened.index.place == second
    with open_for_search(None, str(world / "model"), "cpu") as opened:
        assert opened.index is not None and opened.index.place == first == default_place(opened.model)


def test_an_index_that_is_named_brings_its_model(world: Path, tmp_path: Path) -> None:
    place = filled(world, index=str(tmp_path / "ix"))
    assert latest_index() is None
    with open_for_search(place, None, "cpu") as opened:
        assert opened.source == str(world / "model") and len(opened.engine) == 2
    with pytest.raises(ConfigError, match="made by the model .*model .* not by .*other"):
        open_for_search(place, str(world / "other"), "cpu")


def test_a_model_whose_weights_have_changed_is_not_taken(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "model", tmp_path / "run")
    with open_for_search(str(tmp_path / "ix"), str(tmp_path / "run"), "cpu", places=[str(world / "clips")]):
        pass
    shutil.rmtree(tmp_path / "run")
    shutil.copytree(world / "other", tmp_path / "run")
    with pytest.raises(ModelError, match="whose weights are others by now"):
        open_for_search(str(tmp_path / "ix"), None, "cpu")


def test_nothing_to_answer_from(world: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no index at .*`tvrkit index DIR`"):
        open_for_search(None, str(world / "model"), "cpu")
    with pytest.raises(DataError, match="no index at .*nowhere"):
        open_for_search(str(tmp_path / "nowhere"), str(world / "model"), "cpu")
    with pytest.raises(DataError, match="there is no folder or file nowhere"):
        open_for_search(None, str(world / "model"), "cpu", places=["nowhere"])
    assert not (tmp_path / "cache").exists()
    with open_for_search(None, str(world / "model"), "cpu", places=[str(world / "clips")]) as opened:
        with pytest.raises(DataError, match="has no video yet: `tvrkit index DIR`.*--videos DIR"):
            _ = opened.engine


def test_without_a_cache_the_answer_comes_all_the_same(world: Path, tmp_path: Path, capfd) -> None:
    (tmp_path / "cache").write_text("in the way")
    place = filled(world)
    assert "is used for this answer and not kept" in capfd.readouterr().err
    assert not Path(place).exists()


def test_an_open_engine_stays_as_it_was_until_it_is_reloaded(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "clips", tmp_path / "clips")
    places = [str(tmp_path / "clips")]
    with open_for_search(None, str(world / "model"), "cpu", places=places) as opened:
        update_index(opened, places, reading=HERE)
        before = opened.engine
        (tmp_path / "clips/a.mp4").unlink()
        update_index(opened, places, reading=HERE)
        assert len(before) == 2 and len(opened.engine) == 1


def test_names_of_models_hold_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "weights.pt").write_bytes(b"")
    assert lasting("run") == str(tmp_path / "run") and lasting("ViT-B-32/openai") == "ViT-B-32/openai"
    assert lasting("ViT-B-32=weights.pt") == f"ViT-B-32={tmp_path / 'weights.pt'}"

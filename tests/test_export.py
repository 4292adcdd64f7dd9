from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from backbones import write_backbone

import tvrkit
from tvrkit.config import Config, ModelConfig, config_to_yaml
from tvrkit.core import RetrievalModel, build_model, save_model
from tvrkit.errors import CheckpointError, ConfigError
from tvrkit.export.card import plain
from tvrkit.export.folder import export

CAPTIONS = ["a dog runs over the grass", "two cats", "a red car"]


def retrieval(best: float) -> dict:
    return {"R@1": best, "R@5": 2 * best, "R@10": 3 * best, "MdR": 4.0, "MnR": 7.25, "queries": 50, "gallery": 40}


def evaluation(split: str, best: float, step: int = 200, **more) -> dict:
    return {
        "tvrkit": "0.1.0",
        "model": "runs/x",
        "dataset": "clips",
        "split": split,
        "protocol": "folder",
        "t2v": retrieval(best),
        "v2t": retrieval(best + 1),
        "checkpoint": {"step": step, "split": "val", "selected_by": "t2v/R@1"},
        **more,
    }


VALIDATION = {**evaluation("val", 21.5), "step": 200, "selected_by": "t2v/R@1"}


def a_run(tmp_path: Path, *evaluations: dict, metrics: dict | None = VALIDATION) -> tuple[Path, RetrievalModel]:
    """A run's folder as training leaves it."""
    path = write_backbone(tmp_path / "secret-place" / "tower")
    settings = ModelConfig(
        backbone=str(path), pretrained=None, num_frames=4, max_words=12, temporal="transformer",
        interaction="weighted_token_wise", key_words=True, nearest_frame=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = build_model(settings)
    run = tmp_path / "runs" / "20261123-120000-clips-custom"
    (run / "evaluations").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"name": run.name, "dataset": "clips", "manifest": "m"}))
    (run / "config.yaml").write_text(config_to_yaml(Config(model=settings)))
    save_model(model, run / "checkpoints" / "best", metrics)
    for row in evaluations:
        (run / "evaluations" / f"{row['dataset']}-{row['split']}.json".replace("/", "_")).write_text(json.dumps(row))
    return run, model


@torch.no_grad()
def scores(model: RetrievalModel) -> torch.Tensor:
    pixels = torch.randn(3, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    video = model.encode_video(model.encode_frames(pixels, mask), mask)
    return model.similarity(model.encode_text(model.tokenize(CAPTIONS)), video)


def test_what_is_exported_gives_the_runs_scores(tmp_path: Path) -> None:
    run, model = a_run(tmp_path)
    done = export(run, tmp_path / "out")
    assert done.folder == tmp_path / "out" and done.checkpoint == run / "checkpoints" / "best"
    assert sorted(p.name for p in done.folder.iterdir()) == [
        "README.md",
        "backbone",
        "config.yaml",
        "metrics.json",
        "model.safetensors",
    ]
    assert done.size_bytes == sum(p.stat().st_size for p in done.folder.rglob("*") if p.is_file())
    loaded = tvrkit.load(done.folder)
    assert torch.equal(scores(loaded), scores(model))
    assert torch.equal(scores(loaded), scores(tvrkit.load(run)))
    assert loaded.fingerprint() == model.fingerprint()


def test_it_works_anywhere_and_says_nothing_of_where_it_was_made(tmp_path: Path) -> None:
    run, model = a_run(tmp_path)
    folder = export(run, tmp_path / "out").folder
    (tmp_path / "secret-place").rename(tmp_path / "gone")
    moved = folder.rename(tmp_path / "moved")
    assert torch.equal(scores(tvrkit.load(moved)), scores(model))
    for path in moved.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path
    assert yaml.safe_load((moved / "config.yaml").read_text())["model"]["backbone"] == "tower/open_clip_config.json"


def test_an_export_can_be_exported_again(tmp_path: Path) -> None:
    run, model = a_run(tmp_path, evaluation("test", 30.0))
    first = export(run, tmp_path / "same").folder
    second = export(first, tmp_path / "elsewhere" / "same").folder
    for path in first.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path
    assert torch.equal(scores(tvrkit.load(second)), scores(model))


def test_half_precision(tmp_path: Path) -> None:
    run, model = a_run(tmp_path)
    full, half = export(run, tmp_path / "full"), export(run, tmp_path / "half", half=True)
    assert half.size_bytes < 0.55 * full.size_bytes
    torch.testing.assert_close(scores(tvrkit.load(half.folder)), scores(model), atol=5e-3, rtol=0)
    assert "stored as float16" in (half.folder / "README.md").read_text()


def test_the_card_has_the_measured_numbers_and_which_split_chose(tmp_path: Path) -> None:
    zero = evaluation("test", 11.5)
    rows = [
        evaluation("test", 30.0, zero_shot={key: zero[key] for key in ("protocol", "t2v", "v2t")}),
        evaluation("other", 99.0, step=100),  # of an earlier checkpoint of the run
    ]
    run, _ = a_run(tmp_path, *rows)
    done = export(run, tmp_path / "my-model")
    assert done.measured == (("clips", "test"),)
    card = (done.folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: tvrkit\n")
    assert "\n# my-model\n" in card
    assert "It is the best checkpoint, step 200 of training on clips, by t2v/R&#64;1 on the split val." in card
    assert "| clips test | folder | t2v | 30.0 | 60.0 | 90.0 | 4.0 | 7.2 | 50 | 40 |" in card
    assert "| clips test, backbone alone (zero-shot) | folder | v2t | 12.5 |" in card
    assert "| clips val, which chose the checkpoint | folder | t2v | 21.5 |" in card
    assert "99.0" not in card
    assert "weighted_token_wise" in card and "| Frozen | none |" in card
    kept = json.loads((done.folder / "metrics.json").read_text())
    assert kept["step"] == 200 and [row["split"] for row in kept["evaluations"]] == ["test"]


def test_the_card_labels_a_set_that_was_not_whole(tmp_path: Path) -> None:
    part = evaluation("test", 30.0, coverage={"complete": False})
    run, _ = a_run(tmp_path, part, evaluation("val", 30.0, coverage={"complete": True}))
    card = (export(run, tmp_path / "out").folder / "README.md").read_text()
    assert card.count("INCOMPLETE") == 1 and "INCOMPLETE: clips test was not the whole set of its protocol" in card


def test_nothing_measured_nothing_said(tmp_path: Path) -> None:
    run, _ = a_run(tmp_path, metrics=None)
    card = (export(run, tmp_path / "out").folder / "README.md").read_text()
    assert "Nothing was measured." in card
    assert "There is no record of how this checkpoint was chosen." in card
    assert "R@1" not in card


def test_without_a_validation_split_the_card_says_so(tmp_path: Path) -> None:
    run, _ = a_run(tmp_path, metrics={"dataset": "clips", "split": None, "step": 7})
    card = (export(run, tmp_path / "out").folder / "README.md").read_text()
    assert "It is the last checkpoint, step 7 of training on clips: there was no validation split" in card


def test_names_from_outside_stay_words(tmp_path: Path) -> None:
    evil = "x|y](http://e.vil)<script>alert(1)</script>\n# Head `rm` www.e.vil a@e.vil"
    rows = [replace_names(evaluation("test", 30.0), evil)]
    run, _ = a_run(tmp_path, *rows, metrics=replace_names(VALIDATION, evil))
    card = (export(run, tmp_path / "out").folder / "README.md").read_text()
    assert "<script>" not in card and "http://" not in card and "www.e" not in card and "a@e" not in card
    assert "\n# Head" not in card
    # Every line of the table has the same number of cells.
    table = card[card.index("| data set and split") :].split("\n\n")[0].splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def replace_names(row: dict, name: str) -> dict:
    return {**row, "dataset": name[:40], "split": name, "protocol": name}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ViT-B-32 (CLIP), 12.5 %", "ViT-B-32 (CLIP), 12.5 %"),
        ("weighted_token_wise", "weighted_token_wise"),
        ("_a_ *b* `c`", r"\_a\_ \*b\* \`c\`"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("a\nb\x1b[31m\tc", r"a b \[31m c"),
        ("\u202ereversed", "reversed"),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_damaged_numbers_are_left_out(tmp_path: Path) -> None:
    run, _ = a_run(tmp_path)
    (run / "evaluations" / "a.json").write_text("{")
    (run / "evaluations" / "b.json").write_text('["t2v"]')
    (run / "evaluations" / "c.json").write_text('{"dataset": "c", "split": "test", "t2v": 3}')
    assert export(run, tmp_path / "out").measured == ()


def test_what_may_not_be_overwritten(tmp_path: Path) -> None:
    run, _ = a_run(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holiday.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for out, message in [
        (tmp_path / "mine", "is there and is no earlier export"),
        (tmp_path / "file", "is there and is no earlier export"),
        (run, "which it is made from"),
        (run / "checkpoints" / "best", "which it is made from"),
        (run.parent, "which it is made from"),
    ]:
        with pytest.raises(ConfigError, match=message):
            export(run, out)
    other, _ = a_run(tmp_path / "more")
    with pytest.raises(ConfigError, match="is a run"):
        export(run, other)
    assert (tmp_path / "mine" / "holiday.txt").read_text() == "precious"
    assert (run / "run.json").is_file()


def test_an_earlier_export_and_an_empty_folder_are_replaced(tmp_path: Path) -> None:
    run, model = a_run(tmp_path)
    (tmp_path / "out").mkdir()
    for _ in range(2):
        export(run, tmp_path / "out")
        (tmp_path / "out" / "stray").write_text("")
    export(run, tmp_path / "out")
    assert not (tmp_path / "out" / "stray").exists()
    assert torch.equal(scores(tvrkit.load(tmp_path / "out")), scores(model))


def test_a_run_without_a_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_local_weights_are_named_without_their_path(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = write_backbone(tmp_path / "tower")
    settings = ModelConfig(backbone=str(path), pretrained=None)
    weights = tmp_path / "private" / "mine.safetensors"
    weights.parent.mkdir()
    save_file(build_model(settings).backbone.clip.state_dict(), weights)
    save_model(build_model(replace(settings, pretrained=str(weights))), tmp_path / "model")
    export(tmp_path / "model", tmp_path / "out")
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["model"]["pretrained"] == "mine.safetensors"


def test_the_command(tmp_path: Path, run_cli) -> None:
    run, model = a_run(tmp_path)
    done = run_cli("export", "--out", "my-model")
    assert done.code == 0, done.stderr
    assert done.stdout == "my-model\n"
    assert "Not evaluated yet" in done.stderr
    assert torch.equal(scores(tvrkit.load(tmp_path / "my-model")), scores(model))


def test_the_command_with_json_and_its_own_choice_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from tvrkit.cli.export import command

    run, _ = a_run(tmp_path, evaluation("test", 30.0))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, [run.name, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["folder"] == f"exports/{run.name}"
    assert (tmp_path / "exports" / run.name / "README.md").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [(["export"], "there is no run in"), (["export", "nowhere"], "there is no run 'nowhere'")],
)
def test_the_command_without_a_run(tmp_path: Path, run_cli, words: list[str], message: str) -> None:
    done = run_cli(*words)
    assert done.code == 2
    assert done.stdout == ""
    assert message in done.stderr and "Traceback" not in done.stderr

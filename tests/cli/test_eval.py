from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support import run_tvrkit

from tvrkit.cli.eval import command
from tvrkit.errors import ConfigError, DataError, TvrkitError


def run(*arguments):
    result = CliRunner().invoke(command, ["--device", "cpu", "--workers", "0", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.slow
def test_the_bare_command_measures_the_newest_run_on_its_test_split(trained):
    bare = run_tvrkit("eval", cwd=trained)
    assert bare.code == 0, bare.stderr
    assert max(len(line) for line in bare.stdout.splitlines()) <= 80
    table = " ".join(bare.stdout.split())
    assert "squares, test, no protocol: 5 videos and 5 captions" in table
    assert "t2v: 5 captions look for their video among 5" in table
    assert "R@1 95 % R@5 R@10 R@50 MdR MnR ties" in table
    assert "zero-shot" in table and "2 families of clips whose captions differ in one word" in table
    assert "right of two captions: colour" in table
    assert "chosen by t2v/MnR on the split val" in " ".join(bare.stderr.split())
    as_json = run_tvrkit("eval", "--json", cwd=trained)
    numbers = json.loads(as_json.stdout)
    assert numbers["split"] == "test" and numbers["t2v"]["queries"] == 5
    assert numbers["checkpoint"] == {"step": 4, "split": "val", "selected_by": "t2v/MnR"}
    assert numbers["zero_shot"]["v2t"]["gallery"] == 5 and numbers["hard"]["clips"] == 6
    kept = next((trained / "runs").glob("*/evaluations/squares-test.json"))
    assert json.loads(kept.read_text()) == numbers


def test_a_run_by_name_an_open_clip_name_and_another_split(world):
    name = next((world / "runs").iterdir()).name
    of_run = json.loads(run(name, "--json", "--no-zero-shot", "--split", "val").stdout)
    assert of_run["split"] == "val" and "zero_shot" not in of_run and "hard" not in of_run
    shapes = json.loads(run("--model", "shapes/shapes", "--data", "squares", "--json").stdout)
    assert shapes["model"] == "shapes/shapes" and "zero_shot" not in shapes
    assert json.loads(run("--json").stdout)["zero_shot"]["t2v"]["queries"] == shapes["t2v"]["queries"] == 5


def test_scores_can_be_kept(world):
    result = run("--save-similarity", "scores.npy", "--json", "--no-zero-shot")
    scores, names = np.load("scores.npy"), json.loads(Path("scores.json").read_text())
    assert scores.shape == (5, 5) and scores.dtype == np.float32
    assert names["columns"] == [f"test{i}" for i in range(5)]
    assert [row["video_id"] for row in names["rows"]] == names["columns"]
    own = scores.diagonal()
    found = 100 * np.mean([(row > score).sum() == 0 for row, score in zip(scores, own, strict=True)])
    assert json.loads(result.stdout)["t2v"]["R@1"] == pytest.approx(found)


def test_an_unreadable_video_stops_it_or_is_labelled(world):
    (world / "data" / "squares" / "videos" / "test2.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 5 videos of squares/test cannot be read \(test2: .*--allow-missing"):
        run()
    result = run("--allow-missing", "--no-zero-shot")
    assert "4 videos and 4 captions: INCOMPLETE" in result.stdout
    assert "1 videos could not be read" in " ".join(result.stderr.split()) and "test2" in result.stderr
    assert json.loads(run("--allow-missing", "--json", "--no-zero-shot").stdout)["missing"] == ["test2"]


def test_a_baseline_that_cannot_be_had_is_said_once_or_is_an_error(world):
    config = world / "runs" / "20260101-000000-squares-small" / "checkpoints" / "best" / "config.yaml"
    config.write_text(config.read_text().replace("pretrained: shapes", "pretrained: null"))
    result = run()
    reason = "No zero-shot row: its backbone began with no weights that join text and video"
    assert reason in " ".join(result.stderr.split())
    assert "zero-shot" not in result.stdout
    with pytest.raises(ConfigError, match="--zero-shot: there is no pretrained model to compare with"):
        run("--zero-shot")


def test_wrong_use_is_one_sentence(world, monkeypatch):
    for arguments, words in (
        (("x", "--model", "y"), "give a RUN or --model, not both"),
        (("nothing",), "there is no run 'nothing'"),
        (("--split", "tset"), r"no split 'tset'; it has train \(12\)"),
        (("--data", "nothing"), "no prepared data set 'nothing'"),
        (("--device", "cuda:77"), "sees no such device"),
        (("--model", "ViT-B-33/openai"), "ViT-B-33"),
    ):
        with pytest.raises(TvrkitError, match=words):
            CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    monkeypatch.setenv("TVRKIT_RUNS", str(world / "none"))
    with pytest.raises(ConfigError, match="there is no run in .*train one with `tvrkit train`"):
        run()


def test_data_that_moved_with_the_project_are_found_by_name(world):
    for run_file in (world / "runs").glob("*/run.json"):
        run_file.write_text(run_file.read_text().replace(str(world / "data"), "/gone/data"))
    assert json.loads(run("--json", "--no-zero-shot").stdout)["dataset"] == "squares"

"""`tvrkit calibrate`, as a user types it: what is learned, what is printed, and who finds it afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from searching import make_model
from support import Result
from tiny import make_data

from tvrkit.cli import main
from tvrkit.core import load_model
from tvrkit.index.confidence import load_judge
from tvrkit.manifest import read_manifest, write_manifest

VIDEOS = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_model(folder / "model")
    make_data(folder / "squares", train=12, val=VIDEOS, test=2)
    return folder


@pytest.fixture
def calibrate(world: Path, tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in this process, in the test's folder, on a copy of the model."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(world / "model", tmp_path / "model")

    def run(*arguments: str | Path, code: int = 0, data: Path = world / "squares") -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            given = ["--model", "model", "--data", str(data), "--workers", "0"]
            main(["calibrate", *map(str, arguments), *given])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert (stop.value.code or 0) == code, err
        return Result(code, out, err)

    return run


def test_it_is_learned_measured_and_found(calibrate: Callable[..., Result]) -> None:
    result = calibrate("--json")
    told = json.loads(result.stdout)
    calibration, report = told["calibration"], told["report"]
    assert Path(told["path"]) == Path("model/calibration.json") and "Kept: model/calibration.json" in result.stderr
    assert report["learned_on"] == "squares/val" and report["videos"] == [20, 20]  # 12 train captions are too few
    assert calibration["similarity"] >= 0 and calibration["standing"] >= 0 and calibration["bank"] == 20
    sizes = [one["searched"] for one in report["calibrated"]["by_size"]]
    assert sizes == [1, 10, 19]
    judge = load_judge(load_model("model"), "model")
    assert judge.calibration.learned_on == "squares/val" and judge.threshold == 0.5
    assert judge.calibration.standing == calibration["standing"] and len(judge.calibration.bank) == 20


def test_what_it_prints(calibrate: Callable[..., Result]) -> None:
    shown = calibrate()
    for words in (
        "Learned from 20 videos of squares/val, measured on 20 others",
        "calibrated",
        "built-in",
        "raw cosine",
    ):
        assert words in shown.stdout
    assert "confidence" in shown.stdout and "Thresholds: confidence 0.5, cosine" in shown.stderr
    assert calibrate().stdout == shown.stdout  # the same every time


def test_a_test_split_needs_a_word_and_training_captions_a_warning(calibrate: Callable[..., Result]) -> None:
    refused = calibrate("--split", "test", code=2)
    assert "--allow-test" in refused.stderr and not Path("model/calibration.json").exists()
    few = calibrate("--split", "test", "--allow-test", code=1)
    assert "squares/test has 2 videos to learn from: 40" in few.stderr
    assert "it will be surer than it should be" in calibrate("--split", "train", code=1).stderr
    assert "has no split 'dev'" in calibrate("--split", "dev", code=1).stderr


def test_training_captions_are_what_a_query_stands_against(
    world: Path, tmp_path: Path, calibrate: Callable[..., Result]
) -> None:
    """Enough of them leave all of the split to learn from; none of the split's own is among them."""
    manifest = read_manifest(world / "squares" / "manifest.jsonl")
    many = tuple(f"a scene with {i} squares" for i in range(70))
    own = manifest.split("val")[0].captions
    records = [
        replace(record, path=str(world / "squares" / record.path), key_words=None)
        if record.video_id != "train0"
        else replace(record, path=str(world / "squares" / record.path), captions=many + own, key_words=None)
        for record in manifest.records
    ]
    write_manifest(replace(manifest, records=tuple(records)), tmp_path / "more/manifest.jsonl")
    told = json.loads(calibrate("--json", data=tmp_path / "more").stdout)
    assert told["report"]["videos"] == [30, 30] and told["calibration"]["bank"] > 70
    bank = json.loads(Path("model/calibration.json").read_text())["bank"]
    assert set(many) <= set(bank) and not set(own) & set(bank)


def test_videos_that_cannot_be_read_have_no_part(world: Path, tmp_path: Path, calibrate: Callable[..., Result]) -> None:
    shutil.copytree(world / "squares", tmp_path / "broken")
    for i in range(3):
        (tmp_path / "broken/videos" / f"val{i}.mp4").write_bytes(b"broken")
    shown = calibrate(data=tmp_path / "broken", code=1)
    assert "3 of 60 videos cannot be read" in shown.stderr and "has 38 videos to learn from: 40" in shown.stderr

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from limits import file_size_limit
from support import REPO, clean_environment
from tiny import tiny_config, write_clip

from tvrkit.core import build_model, load_model
from tvrkit.errors import CheckpointError, ConfigError
from tvrkit.reporting import Silent
from tvrkit.train.run import check_free
from tvrkit.train.state import (
    Progress,
    damage,
    last_checkpoint,
    load_training_state,
    record_validation,
    save_last,
    under,
)

# Saves one checkpoint after the other; all parts of a checkpoint bear its number.
SAVER = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from tiny import tiny_config, write_clip
from tvrkit.core import build_model
from tvrkit.train.state import Progress, record_validation, save_last
run = Path({run!r})
run.mkdir(parents=True, exist_ok=True)
model = build_model(tiny_config(write_clip(run), run / "none").model)
(run / "run.json").write_text("{{}}")
for step in range({first}, 10**9):
    with torch.no_grad():
        model.backbone.logit_scale.fill_(float(step))
    progress = Progress(step=step)
    save_last(run, model, {{"mark": torch.full((300_000,), float(step))}}, progress, {{"step": step}}, keep={keep})
    record_validation(run, progress, {{"step": step, "validated": True}}, best=step % 2 == 0)
    print(step, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("keep", [1, 3])
def test_a_kill_while_saving_leaves_whole_checkpoints(tmp_path, keep):
    run, random_seconds = tmp_path / "run", random.Random(7)
    first = 0
    for _ in range(3):
        code = SAVER.format(tests=str(REPO / "tests"), run=str(run), first=first, keep=keep)
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=clean_environment(tmp_path), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(4):  # both kinds are there
            first = int(process.stdout.readline())
        time.sleep(random_seconds.uniform(0, 0.3))
        process.kill()
        process.wait()
        told = [first, *map(int, process.stdout.read().split())]
        process.stdout.close()
        tensors, progress = load_training_state(last_checkpoint(run), "cpu")
        assert progress.step in (told[-1], told[-1] + 1)
        last = load_model(last_checkpoint(run))
        assert last.backbone.logit_scale.item() == progress.step == tensors["mark"].unique().item()
        assert json.loads((last_checkpoint(run) / "metrics.json").read_text())["step"] == progress.step
        best = load_model(run).backbone.logit_scale.item()
        assert best % 2 == 0 and progress.step - 2 <= best <= progress.step
        older = sorted((run / "checkpoints").glob("step-*"))
        assert [damage(folder) for folder in older] == [None] * len(older) and (keep == 3) == (len(older) in (2, 3))
        first = progress.step + 1


STATE = {"optimizer/a/exp_avg": torch.zeros(50)}
BIG = {"optimizer/a/exp_avg": torch.zeros(100_000)}


class Warned(Silent):
    """Remembers what it was warned of."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, text):
        self.said.append(text)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def mark(model, step: float) -> None:
    with torch.no_grad():
        model.backbone.logit_scale.fill_(float(step))


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return build_model(tiny_config(write_clip(tmp_path), tmp_path / "none").model)


def test_what_is_saved_comes_back(model, tmp_path):
    progress = Progress(step=7, best=12.5, best_step=4, seconds=3.25)
    tensors = {"optimizer/a/step": torch.tensor(7.0), "optimizer/a/exp_avg": torch.randn(3, 4).t()}
    save_last(tmp_path, model, tensors, progress, {"step": 7})
    back, numbers = load_training_state(last_checkpoint(tmp_path), "cpu")
    assert numbers == progress
    assert set(back) == set(tensors) and all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert set(under(back, "optimizer/")) == {"a/step", "a/exp_avg"}
    loaded = load_model(last_checkpoint(tmp_path)).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


def test_best_is_a_copy_that_training_cannot_go_on_from(model, tmp_path):
    progress = Progress(step=1)
    save_last(tmp_path, model, STATE, progress, {"step": 1})
    record_validation(tmp_path, Progress(step=1, validated=True), {"step": 1, "score": 2.0}, best=True)
    save_last(tmp_path, model, STATE, Progress(step=2), {"step": 2})
    record_validation(tmp_path, Progress(step=2, validated=True), {"step": 2, "score": 1.0}, best=False)
    best = tmp_path / "checkpoints" / "best"
    assert json.loads((best / "metrics.json").read_text()) == {"step": 1, "score": 2.0}
    assert not (best / "training.safetensors").exists() and not (best / "training.json").exists()
    assert load_training_state(last_checkpoint(tmp_path), "cpu")[1] == Progress(step=2, validated=True)
    with pytest.raises(CheckpointError, match="damaged"):
        load_training_state(best, "cpu")


def test_a_disk_without_room_leaves_the_checkpoint_before(model, tmp_path):
    save_last(tmp_path, model, STATE, Progress(step=1), {"step": 1})
    record_validation(tmp_path, Progress(step=1, validated=True), {"step": 1}, best=True)
    before = contents(tmp_path)
    for size in (10, 1_000, 20_000, 300_000):  # no file of more bytes can be written, whichever comes first
        with file_size_limit(size), pytest.raises(OSError, match="File too large"):
            save_last(tmp_path, model, BIG, Progress(step=2), {"step": 2})
        assert contents(tmp_path) == before
        with file_size_limit(size), pytest.raises(OSError, match="File too large"):
            record_validation(tmp_path, Progress(step=1), {"words": "x" * size}, best=True, averaged=model)
        assert contents(tmp_path) == before
    assert damage(last_checkpoint(tmp_path)) is None


def test_the_last_ones_are_kept(model, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    for step in range(1, 8):
        mark(model, step)
        save_last(tmp_path, model, {"mark": torch.tensor([step])}, Progress(step=step), {"step": step}, keep=3)
        if step == 5:
            record_validation(tmp_path, Progress(step=5, validated=True), {"step": 5, "score": 1.0}, best=True)
        older = [f"step-{n:08d}" for n in range(max(1, step - 2), step)]
        assert sorted(p.name for p in checkpoints.iterdir()) == ["best"] * (step >= 5) + ["last", *older]
        for name in older:  # each is a whole one, of its own step
            tensors, progress = load_training_state(checkpoints / name, "cpu")
            assert damage(checkpoints / name) is None
            assert name == f"step-{progress.step:08d}" and tensors["mark"].item() == progress.step
            assert load_model(checkpoints / name).backbone.logit_scale.item() == progress.step
    _, progress = load_training_state(checkpoints / "step-00000005", "cpu")
    assert progress.validated and json.loads((checkpoints / "step-00000005" / "metrics.json").read_text())["score"] == 1
    save_last(tmp_path, model, STATE, Progress(step=8), {"step": 8}, keep=1)
    assert sorted(p.name for p in checkpoints.iterdir()) == ["best", "last"]


def damage_by(how: str, folder: Path) -> None:
    path = folder / ("model.safetensors" if how == "model" else "training.safetensors")
    content = path.read_bytes()
    if how in ("cut", "model"):
        path.write_bytes(content[: len(content) // 2])
    elif how == "bit":
        path.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    elif how == "zeros":
        path.write_bytes(b"\x00" * len(content))
    elif how == "gone":
        path.unlink()
    else:
        (folder / "training.json").write_text({"json": "{", "step": '{"step": -5}', "kind": '{"step": "x"}'}[how])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "deserializing header"),
        ("model", "deserializing header"),
        ("bit", "training.safetensors is not as it was written"),
        ("zeros", "deserializing header"),
        ("gone", "training.safetensors is missing"),
        ("json", "Expecting property name"),
        ("step", "training.json has the step -5"),
        ("kind", "step must be a whole number, not 'x'"),
    ],
)
def test_a_damaged_one_is_named_and_the_one_before_it_goes_on(model, tmp_path, how, words):
    for step in (1, 2, 3):
        save_last(tmp_path, model, STATE, Progress(step=step), {}, keep=3)
    report = Warned()
    last, older = (tmp_path / "checkpoints" / name for name in ("last", "step-00000002"))
    assert last_checkpoint(tmp_path, report) == last and report.said == []
    damage_by(how, last)
    assert last_checkpoint(tmp_path, report) == older
    (said,) = report.said
    assert said.startswith(f"{last} is damaged (") and words in said
    assert said.endswith(f"): going on from {older}, which is older and whole.")
    # Going on from it leaves the damaged one nowhere, and no step that is still to come.
    save_last(tmp_path, model, STATE, Progress(step=3), {}, keep=3)
    folders = sorted(p for p in (tmp_path / "checkpoints").iterdir())
    assert [p.name for p in folders] == ["last", "step-00000001", "step-00000002"]
    assert [damage(folder) for folder in folders] == [None] * 3
    for folder in folders:
        damage_by(how, folder)
    with pytest.raises(CheckpointError, match=r"is damaged \(.*no older checkpoint that is whole: start a new run"):
        last_checkpoint(tmp_path)


def test_a_model_of_a_checkpoint_that_is_gone_is_saved_all_the_same(model, tmp_path):
    for step in (1, 2):
        save_last(tmp_path, model, STATE, Progress(step=step), {}, keep=2)
    older = tmp_path / "checkpoints" / "step-00000001"
    resumed = load_model(older)
    for step in (2, 3, 4):
        save_last(tmp_path, resumed, STATE, Progress(step=step), {}, keep=2)
    assert not older.exists()
    # Killed between two renames: the folder it goes on from gets its own name back before the next one is written.
    last = tmp_path / "checkpoints" / "last"
    last.rename(last.with_name(".last.old"))
    resumed = load_model(last_checkpoint(tmp_path))
    save_last(tmp_path, resumed, STATE, Progress(step=5), {}, keep=2)
    assert load_model(last).backbone.tokenizer.encoder is not None and damage(last) is None


def test_a_file_system_without_links_gets_copies(model, tmp_path, monkeypatch):
    def refused(*args):
        raise OSError(95, "Operation not supported")  # as FAT and some network mounts say

    monkeypatch.setattr("os.link", refused)
    for step in (1, 2):
        save_last(tmp_path, model, {"mark": torch.tensor([step])}, Progress(step=step), {}, keep=2)
    tensors, _ = load_training_state(tmp_path / "checkpoints" / "step-00000001", "cpu")
    assert tensors["mark"].item() == 1


def test_a_checkpoint_without_sums_is_taken_as_it_is(model, tmp_path):
    save_last(tmp_path, model, STATE, Progress(step=1), {})
    (tmp_path / "checkpoints" / "last" / "sums.json").unlink()  # tvrkit 0.1 wrote none
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoints" / "last"


def test_averaged_weights_are_the_best_and_the_last_are_the_weights(model, tmp_path):
    mark(model, 1)
    save_last(tmp_path, model, STATE, Progress(step=1), {"step": 1})
    mark(model, 7)  # as inside Ema.swapped()
    record_validation(tmp_path, Progress(step=1, validated=True), {"score": 2.0}, best=True, averaged=model)
    last, best = (tmp_path / "checkpoints" / name for name in ("last", "best"))
    assert load_model(last).backbone.logit_scale.item() == 1 and load_model(best).backbone.logit_scale.item() == 7
    assert json.loads((last / "metrics.json").read_text()) == {"step": 1}
    assert json.loads((best / "metrics.json").read_text()) == {"score": 2.0}
    assert not {"training.safetensors", "training.json", "sums.json"} & {p.name for p in best.iterdir()}
    assert load_training_state(last, "cpu")[1].validated


def test_a_kill_in_the_first_save_lets_the_run_begin_again(model, tmp_path):
    (tmp_path / "checkpoints" / ".last.abc.tmp").mkdir(parents=True)
    check_free(tmp_path)
    save_last(tmp_path, model, STATE, Progress(step=1), {})
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["last"]
    with pytest.raises(ConfigError, match="there is a run in"):
        check_free(tmp_path)


def test_a_run_without_a_checkpoint_says_how_to_begin(tmp_path):
    with pytest.raises(
        CheckpointError, match="has no checkpoint to go on from: start it again with `tvrkit train --preset"
    ):
        last_checkpoint(tmp_path)

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from limits import file_size_limit
from team import run_team
from tiny import tiny_config, write_clip

from tvrkit.core import build_model, load_model
from tvrkit.errors import TrainingError
from tvrkit.reporting import Silent
from tvrkit.train.saving import Checkpoints
from tvrkit.train.state import Progress, last_checkpoint, load_training_state
from tvrkit.train.validation import Outcome

STATE = {"mark": torch.zeros(1000)}


class Words(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text):
        self.said.append(text)

    def warn(self, text):
        self.warned.append(text)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return build_model(tiny_config(write_clip(tmp_path), tmp_path / "none").model)


def outcome(score: float) -> Outcome:
    return Outcome(score, {"score": score}, "")


def test_a_disk_that_is_full_for_a_while_costs_no_run(model, tmp_path):
    report = Words()
    checkpoints = Checkpoints(tmp_path, 1, report)
    progress = Progress(step=1)
    assert checkpoints.save(model, STATE, progress, {"step": 1})
    assert checkpoints.validated(progress, outcome(5.0))
    checkpoints.require()
    with file_size_limit(1000):
        for step in (2, 3):
            progress.step, progress.validated = step, False
            assert not checkpoints.save(model, STATE, progress, {"step": step})
            # Better than all, and not kept: so it is not what later ones are measured by.
            assert not checkpoints.validated(progress, outcome(90.0))
            assert (progress.best, progress.best_step, progress.bad_validations) == (5.0, 1, 0)
        folder = tmp_path / "checkpoints"
        assert report.warned == [
            f"the checkpoint of step 2 could not be written to {folder} (File too large); the checkpoint of step 1 is"
            " whole: free some space there; training goes on meanwhile."
        ]
        wanted = re.escape(
            f"the checkpoint of step 3 could not be written to {folder} (File too large); the checkpoint of step 1 is"
            f" whole: free some space there, then `tvrkit train --resume {tmp_path}` goes on from there."
        )
        with pytest.raises(TrainingError, match=f"^{wanted}$"):
            checkpoints.require()
    _, saved = load_training_state(last_checkpoint(tmp_path), "cpu")
    assert (saved.step, saved.best, saved.validated) == (1, 5.0, True)
    assert json.loads((last_checkpoint(tmp_path) / "metrics.json").read_text()) == {"score": 5.0}
    progress.step, progress.validated = 4, False
    assert checkpoints.save(model, STATE, progress, {"step": 4})
    assert report.said == ["The checkpoint of step 4 could be written again."] and len(report.warned) == 1
    assert checkpoints.validated(progress, outcome(6.0))
    checkpoints.require()
    assert json.loads((folder / "best" / "metrics.json").read_text()) == {"score": 6.0}
    assert load_training_state(last_checkpoint(tmp_path), "cpu")[1] == progress


def test_a_best_that_has_no_room_is_not_the_best(model, tmp_path):
    report = Words()
    checkpoints = Checkpoints(tmp_path, 1, report)
    progress = Progress(step=1)
    checkpoints.save(model, STATE, progress, {"step": 1})
    with file_size_limit(5000):
        assert not checkpoints.validated(progress, outcome(5.0))
    assert progress.best is None and "the validation of step 1 could not be written" in report.warned[0]
    assert not (tmp_path / "checkpoints" / "best").exists()
    # Resumed from here, this validation is done again.
    assert not load_training_state(last_checkpoint(tmp_path), "cpu")[1].validated
    with pytest.raises(TrainingError, match="the validation of step 1"):
        checkpoints.require()


def test_a_worse_one_counts_even_where_it_could_not_be_written(model, tmp_path):
    checkpoints = Checkpoints(tmp_path, 1, Words())
    progress = Progress(step=1)
    checkpoints.save(model, STATE, progress, {"step": 1})
    checkpoints.validated(progress, outcome(5.0))
    progress.step = 2
    with file_size_limit(10):
        checkpoints.save(model, STATE, progress, {"step": 2})
        assert not checkpoints.validated(progress, outcome(4.0))
    assert progress.bad_validations == 1 and progress.best == 5.0


def test_the_first_that_cannot_be_written_says_that_there_is_none(model, tmp_path):
    checkpoints = Checkpoints(tmp_path, 1, Words())
    with file_size_limit(10):
        checkpoints.save(model, STATE, Progress(step=3), {"step": 3})
    with pytest.raises(TrainingError, match="there is none yet: free some space there, then start it anew"):
        checkpoints.require()


def test_a_folder_that_cannot_be_written_to_is_another_advice(model, tmp_path):
    report = Words()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("a file")
    assert not Checkpoints(tmp_path / "run", 1, report).save(model, STATE, Progress(step=3), {"step": 3})
    assert "see that it can be written to" in report.warned[0]


def test_the_average_becomes_the_best(model, tmp_path):
    checkpoints = Checkpoints(tmp_path, 1, Silent())
    progress = Progress(step=1)
    checkpoints.save(model, STATE, progress, {"step": 1})
    with torch.no_grad():
        model.backbone.logit_scale.fill_(3.0)
    assert checkpoints.validated(progress, outcome(1.0), averaged=model)
    assert load_model(tmp_path / "checkpoints" / "best").backbone.logit_scale.item() == 3.0
    assert load_model(last_checkpoint(tmp_path)).backbone.logit_scale.item() != 3.0


def both(team, folder: Path) -> tuple[list[object], list[str], list[str]]:
    """Only the process that leads meets a full disk; all must hear of it."""
    torch.manual_seed(0)
    model = build_model(tiny_config(folder / "tiny_clip.json", folder / "none").model)
    report = Words()
    checkpoints = Checkpoints(folder / "run", 1, report if team.leads else Silent(), team)
    progress = Progress(step=1)
    seen: list[object] = [checkpoints.save(model, STATE, progress, {}), checkpoints.validated(progress, outcome(5.0))]
    progress.step = 2
    if team.leads:
        with file_size_limit(1000):
            seen += [checkpoints.save(model, STATE, progress, {}), checkpoints.validated(progress, outcome(9.0))]
    else:
        seen += [checkpoints.save(model, STATE, progress, {}), checkpoints.validated(progress, outcome(9.0))]
    seen.append(progress)
    try:
        checkpoints.require()
    except TrainingError as error:
        seen.append(str(error))
    return seen, report.said, report.warned


@pytest.mark.slow
def test_all_processes_go_on_alike(tmp_path):
    write_clip(tmp_path)
    (leads, _, warned), (follows, _, quiet) = run_team(both, 2, tmp_path)
    assert leads == follows
    assert leads[:4] == [True, True, False, False] and leads[4].best == 5.0 and "of step 2 could not" in leads[5]
    assert len(warned) == 1 and quiet == []

from __future__ import annotations

import json
import sys

import pytest

from tvrkit.reporting import Silent
from tvrkit.train.log import RunLog


class Said(Silent):
    def __init__(self):
        self.words = []

    def say(self, text):
        self.words.append(text)


def test_lines_after_the_step_that_is_gone_back_to_are_taken_out(tmp_path):
    with RunLog(tmp_path, 0, Silent()) as log:
        for step in range(1, 6):
            log.write(step, {"loss": step / 3, "validation": {"t2v": {"R@1": 50.0}}})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "los')  # a kill in the middle of a line
    with RunLog(tmp_path, 3, Silent()) as log:
        log.write(4, {"loss": 9.0})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["loss"] == 1 / 3 and lines[-1]["loss"] == 9.0


def test_tensorboard_gets_the_same_numbers(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with RunLog(tmp_path, 0, Silent()) as log:
        log.write(1, {"loss": 0.5, "validation": {"t2v": {"R@1": 50.0}, "split": "val"}})
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "validation/t2v/R@1"}
    assert [event.value for event in events.Scalars("loss")] == [0.5]


def test_without_tensorboard_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said = Said()
    with RunLog(tmp_path, 0, said) as log:
        log.write(1, {"loss": 0.5})
    assert said.words == ['No TensorBoard log: `pip install "tvrkit[tensorboard]"` brings it.']
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1

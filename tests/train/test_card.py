from __future__ import annotations

import dataclasses
import json
import os
import re

import pytest
import torch
from team import run_team

from tvrkit.config import Config, config_from_dict
from tvrkit.manifest import Manifest, Record
from tvrkit.train.card import RunFacts, card, write_card
from tvrkit.train.session import BROKEN_OFF, Session, begin_session, read_sessions
from tvrkit.train.state import Progress

SESSION = Session(
    started="2026-01-02 03:04:05 +0000",
    first_step=0,
    seconds_before=0.0,
    command="tvrkit train --preset tiny",
    processes=2,
    hardware="2 x NVIDIA H200, AMD EPYC (16 cores)",
    versions={"tvrkit": "1.0", "torch": "2.9"},
)


def manifest(name="squares", protocol="msrvtt-1ka"):
    records = [Record(f"t{i}", f"t{i}.mp4", ("a", "b"), split="train") for i in range(6)]
    records += [Record(f"v{i}", f"v{i}.mp4", ("c",), split="val") for i in range(3)]
    return Manifest(name, tuple(records), protocol=protocol)


def facts(**changes):
    values = {
        "config": config_from_dict({"train": {"lr": 3e-4, "seed": 5, "epochs": 3}, "model": {"num_frames": 6}}),
        "manifest": manifest(),
        "parameters": 151_300_000,
        "learning": 3_200_000,
        "steps": 30,
        "progress": Progress(step=20, best=41.5, best_step=10, validated=True, seconds=75.0),
        "session": SESSION,
        "parts": {"read": 45.0, "towers": 25.0, "head": 5.0},
    }
    return RunFacts(**(values | changes))


def write_log(run, scores):
    run.mkdir(parents=True, exist_ok=True)
    with (run / "log.jsonl").open("w") as file:
        for epoch, score in enumerate(scores):
            step = 10 * (epoch + 1)
            file.write(json.dumps({"step": step, "epoch": epoch, "loss": 0.5}) + "\n")
            numbers = {"R@1": score, "R@5": 80.0, "R@10": 90.0, "MdR": 2.0, "MnR": 3.25}
            numbers |= {"R@1_low": score - 3, "R@1_high": score + 4}
            line = {"step": step, "epoch": epoch, "validation": {"split": "val", "t2v": numbers, "v2t": numbers}}
            file.write(json.dumps(line) + "\n")


def rows(text, heading):
    """The cells of the table under a heading."""
    part = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_the_card_says_what_the_run_is(tmp_path):
    run = tmp_path / "run"
    write_log(run, [41.5, 40.0])
    write_card(run, facts(unreadable=2))
    text = (run / "run.md").read_text()
    assert text.startswith("# run\n\nStep 20 of 30 after 75.0 s: under way.\n")
    assert rows(text, "Result") == [
        ["**10** (best)", "1", "41.5 (38.5 to 45.5)", "80.0", "90.0", "2.0", "3.2", "41.5 (38.5 to 45.5)"],
        ["20", "2", "40.0 (37.0 to 44.0)", "80.0", "90.0", "2.0", "3.2", "40.0 (37.0 to 44.0)"],
    ]
    assert "Best checkpoint: step 10, in epoch 1 of 3, by t2v/R@1 on the split val." in text
    assert "squares, protocol msrvtt-1ka." in text
    assert rows(text, "Data") == [["train", "6", "12", "training"], ["val", "3", "3", "choosing the checkpoint"]]
    assert "2 training videos could not be read" in text
    assert "151.30 million parameters, 3.20 million learn" in text and "seed 5" in text
    settings = {name: (here, default) for name, here, default in rows(text, "Model and settings")}
    assert settings == {
        "model.num_frames": ("6", "12"),
        "train.epochs": ("3", "5"),
        "train.lr": ("0.0003", "0.0001"),
        "train.seed": ("5", "0"),
    }
    assert rows(text, "Time") == [
        ["read", "45.0 s", "60 %"],
        ["towers", "25.0 s", "33 %"],
        ["head", "5.0 s", "7 %"],
    ]
    assert "60 % of it went by waiting for videos" in text
    assert "1. 2026-01-02 03:04:05 +0000: steps 1 to 20, 2 processes, 75.0 s, under way" in text
    assert "    - 2 x NVIDIA H200, AMD EPYC (16 cores)\n    - tvrkit 1.0, torch 2.9\n" in text
    assert f"tvrkit eval {run}\ntvrkit export {run}\ntvrkit train --resume {run}\n" in text


def test_the_commands_of_the_card_are_commands(tmp_path):
    from test_house import parse

    write_card(tmp_path, facts())
    block = (tmp_path / "run.md").read_text().partition("```sh\n")[2].partition("```")[0]
    assert len(block.splitlines()) == 3
    for line in block.splitlines():
        parse(line)


def test_the_best_stays_in_a_long_table(tmp_path):
    write_log(tmp_path, [50.0, *(40.0 + i / 10 for i in range(20))])
    text = card(tmp_path, facts(progress=Progress(step=210, best=50.0, best_step=10)), [])
    steps = [row[0] for row in rows(text, "Result")]
    assert steps == ["**10** (best)", *(str(step) for step in range(120, 220, 10))]
    assert "21 validations in all" in text


def test_without_validation_it_says_so(tmp_path):
    text = card(tmp_path, facts(progress=Progress(step=3)), [])
    assert "Nothing has been validated yet. The last checkpoint is the one that is kept." in text
    no_split = config_from_dict({"data": {"val_split": "none"}})
    text = card(tmp_path, facts(config=no_split), [])
    assert "Nothing has been validated. The last checkpoint" in text and "these differ from the defaults" in text


def test_defaults_are_no_row(tmp_path):
    assert "differ from the defaults:\n\n(none)" in card(tmp_path, facts(config=Config()), [])


def test_each_session_is_listed_with_its_own_time_and_end(tmp_path):
    write_card(tmp_path, facts(progress=Progress(step=8, seconds=30.0)))
    second = dataclasses.replace(
        SESSION, started="2026-01-03 00:00:00 +0000", first_step=5, seconds_before=20.0, processes=1
    )
    write_card(tmp_path, facts(session=second, progress=Progress(step=9, seconds=25.0)))
    write_card(tmp_path, facts(session=second, progress=Progress(step=30, seconds=110.0), ended="finished"))
    first, last = read_sessions(tmp_path)
    assert (first["step"], first["seconds"], first["ended"]) == (8, 30.0, BROKEN_OFF)
    assert (last["step"], last["seconds"], last["ended"]) == (30, 90.0, "finished")
    text = (tmp_path / "run.md").read_text()
    assert "Step 30 of 30 after 2 min, in 2 sessions: finished." in text
    assert "1. 2026-01-02 03:04:05 +0000: steps 1 to 8, 2 processes, 30.0 s, broken off" in text
    assert "2. 2026-01-03 00:00:00 +0000: steps 6 to 30, 1 process, 90.0 s, finished" in text


def test_names_from_outside_neither_format_nor_link(tmp_path):
    nasty = "x](http://evil) <script>|`*#\n## Result\ud800"
    session = dataclasses.replace(SESSION, command=f"tvrkit train {nasty}", hardware=nasty[:-1])
    config = config_from_dict({"data": {"dataset": nasty}})
    changes = {"manifest": manifest(nasty, nasty), "session": session, "config": config, "ended": nasty}
    run = tmp_path / "a`b |\n$(x)"
    run.mkdir()
    write_log(run, [41.5])
    write_card(run, facts(**changes))
    text = (run / "run.md").read_text(encoding="utf-8")
    assert "<script>" not in text and "://" not in text and not re.search(r"(?<!\\)\]\(", text)
    assert text.count("\n## Result") == 1 and text.count("`") == 6 + text.count("\\`") + 2 * text.count("`tvrkit prep")
    assert [len(row) for row in rows(text, "Model and settings")] == [3]
    assert "tvrkit eval RUN\n" in text


def test_a_card_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "run").write_text("a file where a folder should be")
    write_card(tmp_path / "run", facts())


def test_a_damaged_list_of_sessions_is_begun_anew(tmp_path):
    (tmp_path / "sessions.json").write_text('[{"started": ')
    write_card(tmp_path, facts())
    assert len(read_sessions(tmp_path)) == 1


def test_a_session_knows_its_machine():
    session = begin_session(Progress(step=4, seconds=2.5), "cpu")
    assert (session.first_step, session.seconds_before, session.processes) == (4, 2.5, 1)
    assert session.versions["torch"] == torch.__version__ and {"tvrkit", "Python", "open_clip"} <= set(session.versions)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert f"({cores} core" in session.hardware and " x " not in session.hardware


def begin_in_a_team(team):
    return begin_session(Progress(), "cpu", team)


@pytest.mark.slow
def test_processes_of_one_machine_are_one_machine():
    sessions = run_team(begin_in_a_team, 2)
    assert [session.processes for session in sessions] == [2, 2]
    assert sessions[0].hardware == begin_session(Progress(), "cpu").hardware


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (
            ["/srv/me/.venv/bin/tvrkit", "train", "--set", "data.dataset=my clips"],
            "tvrkit train --set 'data.dataset=my clips'",
        ),
        (["/somewhere/tvrkit/__main__.py", "train"], "tvrkit train"),
        (["my_script.py"], "my_script.py"),
        ([""], "python"),
    ],
)
def test_the_command_is_shown_as_it_was_typed(monkeypatch, arguments, shown):
    monkeypatch.setattr("sys.argv", arguments)
    assert begin_session(Progress(), "cpu").command == shown

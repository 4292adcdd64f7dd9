"""run.md: what a run is, on what, how far, and what came of it, for people; written anew as it goes on."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvrkit.config import Config, config_to_dict
from tvrkit.export.card import plain
from tvrkit.files import write_text
from tvrkit.manifest import Manifest
from tvrkit.train.log import read_log
from tvrkit.train.session import UNDER_WAY, Session, record_session
from tvrkit.train.state import Progress
from tvrkit.train.times import READ

CARD = "run.md"
SHOWN = 10
"""Validations in the table, the newest; the best one is there in any case."""
SLOW_DATA = 0.3
"""Share of the time spent waiting for videos above which the card says what helps."""


@dataclass(frozen=True)
class RunFacts:
    """What the card cannot read from the run's folder.

    Attributes:
        config: of the run.
        manifest: its data set.
        parameters, learning: how many the model has, and how many of them and of the objective's are trained.
        steps: optimiser steps that are planned.
        progress: how far it is.
        session: this session, of `begin_session`.
        unreadable: training videos that were left out.
        parts: seconds of this session by part, of `StepTimes.totals`.
        ended: how the session ended, in a few words; `UNDER_WAY` until then.
    """

    config: Config
    manifest: Manifest
    parameters: int
    learning: int
    steps: int
    progress: Progress
    session: Session
    unreadable: int = 0
    parts: Mapping[str, float] = field(default_factory=dict)
    ended: str = UNDER_WAY


def write_card(run: Path, facts: RunFacts) -> None:
    """Write run.md and sessions.json; a disk that is full leaves them as they were, which the checkpoints tell of."""
    progress = facts.progress
    with contextlib.suppress(OSError):
        sessions = record_session(
            run,
            facts.session,
            step=progress.step,
            seconds=progress.seconds,
            parts=facts.parts,
            ended=facts.ended,
        )
        write_text(run / CARD, card(run, facts, sessions))


def card(run: Path, facts: RunFacts, sessions: Sequence[Mapping[str, Any]]) -> str:
    """The card as Markdown; names from outside (data sets, paths, the command) can neither format nor link."""
    parts = [
        f"# {plain(run.resolve().name) or 'run'}",
        _state(facts, sessions),
        "## Result",
        *_result(run, facts),
        "## Data",
        *_data(facts),
        "## Model and settings",
        *_settings(facts),
        "## Time",
        *_time(facts),
        "## Sessions",
        *(_session(number, session) for number, session in enumerate(sessions, start=1)),
        "## What to do with it",
        _commands(run),
    ]
    return "\n\n".join(parts) + "\n"


def _state(facts: RunFacts, sessions: Sequence[Mapping[str, Any]]) -> str:
    progress = facts.progress
    many = f", in {len(sessions)} sessions" if len(sessions) > 1 else ""
    return f"Step {progress.step} of {facts.steps} after {_duration(progress.seconds)}{many}: {plain(facts.ended)}."


def _result(run: Path, facts: RunFacts) -> Iterator[str]:
    train, progress = facts.config.train, facts.progress
    validations = [line for line in read_log(run) if isinstance(line.get("validation"), Mapping)]
    if not validations:
        yield (
            "Nothing has been validated"
            + (" yet." if facts.ended == UNDER_WAY and facts.config.data.val_split in facts.manifest.splits() else ".")
            + " The last checkpoint is the one that is kept."
        )
        return
    best = next((line for line in validations if line["step"] == progress.best_step), None)
    if best is not None:
        weights = ", of the moving average of the weights" if train.ema else ""
        yield (
            f"Best checkpoint: step {best['step']}, in epoch {best.get('epoch', 0) + 1} of {train.epochs}, by"
            f" {train.select_by} on the split {plain(facts.config.data.val_split)}{weights}. The split that chose it"
            " flatters it a little; the test split had no part in it."
        )
    shown = validations[-SHOWN:]
    if best is not None and best not in shown:
        shown = [best, *shown]
    head = ["step", "epoch", "t2v R@1 (95 % interval)", "R@5", "R@10", "MdR", "MnR", "v2t R@1 (95 % interval)"]
    rows = [_validation(line, best=line is best) for line in shown]
    yield _table(head, rows)
    if len(shown) < len(validations):
        yield f"{len(validations)} validations in all; log.jsonl has the others."


def _validation(line: Mapping[str, Any], *, best: bool) -> list[str]:
    t2v, v2t = line["validation"].get("t2v", {}), line["validation"].get("v2t", {})
    step = f"**{line['step']}** (best)" if best else str(line["step"])
    plain_columns = [_number(t2v.get(name)) for name in ("R@5", "R@10", "MdR", "MnR")]
    return [step, str(line.get("epoch", 0) + 1), _recall(t2v), *plain_columns, _recall(v2t)]


def _recall(numbers: Mapping[str, Any]) -> str:
    low, high = numbers.get("R@1_low"), numbers.get("R@1_high")
    return f"{_number(numbers.get('R@1'))} ({_number(low)} to {_number(high)})"


def _data(facts: RunFacts) -> Iterator[str]:
    manifest, data = facts.manifest, facts.config.data
    protocol = f", protocol {plain(manifest.protocol)}" if manifest.protocol else ""
    yield f"{plain(manifest.name)}{protocol}."
    uses = {data.train_split: "training", data.val_split: "choosing the checkpoint"}
    rows = []
    for split, videos in manifest.splits().items():
        captions = sum(len(record.captions) for record in manifest.split(split))
        rows.append([plain(split), str(videos), str(captions), uses.get(split, "")])
    yield _table(["split", "videos", "captions", "used for"], rows)
    if facts.unreadable:
        yield f"{facts.unreadable} training videos could not be read and were left out: quarantine.jsonl names them."


def _settings(facts: RunFacts) -> Iterator[str]:
    config = facts.config
    yield (
        f"{facts.parameters / 1e6:.2f} million parameters, {facts.learning / 1e6:.2f} million learn (the loss's own"
        f" included); seed {config.train.seed}. All settings are in config.yaml; these differ from the defaults:"
    )
    mine, default = config_to_dict(config), config_to_dict(Config())
    rows = [
        [f"{section}.{key}", plain(_json(value)), plain(_json(default[section][key]))]
        for section, settings in mine.items()
        for key, value in settings.items()
        if value != default[section][key]
    ]
    yield _table(["setting", "here", "default"], rows) if rows else "(none)"


def _time(facts: RunFacts) -> Iterator[str]:
    total = sum(facts.parts.values())
    if not total:
        yield f"{_duration(facts.progress.seconds)} so far."
        return
    yield "Of the last session, by part:"
    rows = [
        [plain(part), _duration(spent), f"{100 * spent / total:.0f} %"]
        for part, spent in sorted(facts.parts.items(), key=lambda item: -item[1])
    ]
    yield _table(["part", "time", "share"], rows)
    waited = facts.parts.get(READ, 0.0) / total
    if waited > SLOW_DATA:
        yield (
            f"{100 * waited:.0f} % of it went by waiting for videos: more data.workers, data.cache_frames=true or a"
            " smaller copy of the videos (`tvrkit prepare --compress`) shorten that."
        )


def _session(number: int, session: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in dict(session.get("versions", {})).items())
    processes = session.get("processes", 1)
    first, last = session.get("first_step", 0) + 1, session.get("step", 0)
    steps = "no step" if last < first else f"step {first}" if last == first else f"steps {first} to {last}"
    lines = [
        f"{number}. {plain(session.get('started', ''))}: {steps},"
        f" {processes} process{'' if processes == 1 else 'es'}, {_duration(session.get('seconds', 0.0))},"
        f" {plain(session.get('ended', ''))}",
        f"    - {plain(session.get('command', ''))}",
        f"    - {plain(session.get('hardware', ''))}",
        f"    - {plain(versions)}",
    ]
    return "\n".join(lines)


def _commands(run: Path) -> str:
    path = shlex.quote(str(run))
    if not path.isprintable() or "`" in path:
        path = "RUN"
    return f"```sh\ntvrkit eval {path}\ntvrkit export {path}\ntvrkit train --resume {path}\n```"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, (int, float)) and not isinstance(value, bool) else "-"


def _duration(seconds: float) -> str:
    """For instance `7.5 s`, `12 min` or `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"

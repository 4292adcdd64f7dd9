"""Models that `tvrkit eval` measures: which, on what data, with which baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvrkit.cli.evaluation import Comparison, Measured, Row, chosen_by, compare_with_first, letter_of
from tvrkit.cli.evaluation_choice import choose, require_manifest
from tvrkit.errors import ConfigError, TvrkitError
from tvrkit.frames.reading import Reading
from tvrkit.manifest import Manifest

if TYPE_CHECKING:
    from tvrkit.config import ModelConfig
    from tvrkit.core import RetrievalModel
    from tvrkit.distributed import Team
    from tvrkit.encode import EncodedFrames
    from tvrkit.evaluate import Evaluation
    from tvrkit.reporting import Reporter
    from tvrkit.store import FeatureStore

BANK_SPLIT = "train"


@dataclass(frozen=True)
class Choices:
    """What to measure on, how to read it, and what to add: rows with dual softmax, rows with a query bank.

    The processes of `team` share the work: all of them go the same way through this module.
    """

    data: str | None
    split: str
    zero_shot: bool | None
    device: str
    reading: Reading
    allow_missing: bool
    team: Team
    report: Reporter
    temperature: float | None = None
    query_bank: int | None = None


def measure_models(
    runs: Sequence[str], models: Sequence[str], choices: Choices
) -> tuple[list[Measured], list[Comparison], Manifest]:
    """Measure each on the same split, and compare the first with the others.

    Raises:
        ConfigError: there is no such run, or they were trained on different data sets and none is named.
        DataError: there is no such split, or a part of it cannot be measured.
    """
    from tvrkit.distributed.agree import agreed

    team = choices.team
    # One process chooses: the newest run may be another a moment later.
    choice = agreed(team, lambda: choose(runs, models, choices.data) if team.leads else ([], Path()))
    chosen, path = team.from_leader(choice)
    bank = BANK_SPLIT if choices.query_bank is not None else None
    manifest = agreed(team, lambda: require_manifest(path, choices.split, bank, allow_missing=choices.allow_missing))
    baselines: list[ModelConfig] = []
    measured = []
    for place, (source, folder) in enumerate(chosen):
        letter = letter_of(place) if len(chosen) > 1 else None
        measured.append(_measure_one(source, folder, letter, manifest, choices, baselines))
    return measured, compare_with_first(measured), manifest


def _measure_one(
    source: str,
    folder: Path | None,
    letter: str | None,
    manifest: Manifest,
    choices: Choices,
    baselines: list[ModelConfig],
) -> Measured:
    """Measure a model, and its backbone as it was pretrained where that is wanted and was not measured yet."""
    from tvrkit.core import load_model
    from tvrkit.distributed.agree import agreed

    model = agreed(choices.team, lambda: load_model(source, choices.device))
    choices.report.say(f"{f'Model {letter}' if letter else 'Model'}: {source}{chosen_by(folder)}")
    rows = [_measure(letter or (source if folder is None else "trained"), model, manifest, choices)]
    wanted = choices.zero_shot if letter is None else bool(choices.zero_shot)
    if wanted is not False and folder is not None and (base := _zero_shot(model, choices, wanted)):
        if base.config not in baselines:
            rows.append(_measure(f"{letter} 0-shot" if letter else "zero-shot", base, manifest, choices))
        baselines.append(base.config)
    return Measured(source, folder, tuple(rows))


def _measure(name: str, model: RetrievalModel, manifest: Manifest, choices: Choices) -> Row:
    from tvrkit.evaluate import HARD_SPLIT, evaluate_encoded, evaluate_hard, with_dual_softmax

    encoded = _encode(name, model, manifest, choices.split, choices)
    evaluation = evaluate_encoded(
        model, manifest, choices.split, encoded, allow_missing=choices.allow_missing, team=choices.team
    )
    hard = None
    if choices.split == "test" and HARD_SPLIT in manifest.splits():
        clips = _encode(name, model, manifest, HARD_SPLIT, choices)
        hard = evaluate_hard(model, manifest, clips, team=choices.team)
    normalised = []
    if choices.temperature is not None:
        normalised.append(with_dual_softmax(evaluation, choices.temperature))
    if choices.query_bank is not None:
        normalised.append(_with_bank(name, model, manifest, evaluation, encoded, choices))
    return Row(name, evaluation, hard, tuple(normalised))


def _with_bank(
    name: str,
    model: RetrievalModel,
    manifest: Manifest,
    evaluation: Evaluation,
    encoded: EncodedFrames,
    choices: Choices,
) -> Evaluation:
    from tvrkit.evaluate import query_bank, with_query_bank
    from tvrkit.reporting import counted

    progress = choices.report.progress(f"Frames of the query bank, {name}")
    with _cache(model, choices) as store, progress as bar:
        bank = query_bank(
            model,
            manifest,
            evaluation,
            split=BANK_SPLIT,
            size=choices.query_bank or 1,
            encoded=encoded,
            reading=choices.reading,
            store=store,
            on_progress=counted(bar),
            team=choices.team,
        )
    return with_query_bank(evaluation, bank)


def _encode(name: str, model: RetrievalModel, manifest: Manifest, split: str, choices: Choices) -> EncodedFrames:
    from tvrkit.evaluate import encode_split
    from tvrkit.reporting import counted

    progress = choices.report.progress(f"Frames of {split}, {name}", len(manifest.split(split)))
    with _cache(model, choices) as store, progress as bar:
        tell = counted(bar)
        return encode_split(
            model, manifest, split, reading=choices.reading, store=store, on_progress=tell, team=choices.team
        )


def _cache(model: RetrievalModel, choices: Choices) -> FeatureStore:
    from tvrkit.distributed.agree import agreed
    from tvrkit.encode import frame_cache
    from tvrkit.store import FeatureStore

    return agreed(choices.team, lambda: FeatureStore(frame_cache(model)))


def _zero_shot(model: RetrievalModel, choices: Choices, wanted: bool | None) -> RetrievalModel | None:
    """The backbone as it was pretrained; None, with a line that says why, where that is not to be had."""
    from tvrkit.core import build_model
    from tvrkit.distributed.agree import agreed
    from tvrkit.evaluate import baseline_config

    config = baseline_config(model.config)
    if config.pretrained is None:
        reason = "its backbone began with no weights that join text and video"
    else:
        try:
            return agreed(choices.team, lambda: build_model(config, choices.device))
        except TvrkitError as error:  # it cannot be downloaded, or a weights file of one's own lies elsewhere now
            reason = str(error)
    if wanted:
        raise ConfigError(f"--zero-shot: there is no pretrained model to compare with, {reason}")
    choices.report.say(f"No zero-shot row: {reason}")
    return None

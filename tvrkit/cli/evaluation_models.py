"""Models that `tvrkit eval` measures: which, on what data, with which baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvrkit.cli import output
from tvrkit.cli.evaluation import Comparison, Measured, Row, chosen_by, compare_with_first, letter_of
from tvrkit.errors import ConfigError, DataError, TvrkitError
from tvrkit.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from tvrkit.config import ModelConfig
    from tvrkit.core import RetrievalModel
    from tvrkit.encode import EncodedFrames
    from tvrkit.evaluate import Evaluation

BANK_SPLIT = "train"


@dataclass(frozen=True)
class Choices:
    """What to measure on, how to read it, and what to add: rows with dual softmax, rows with a query bank."""

    data: str | None
    split: str
    zero_shot: bool | None
    device: str
    reader: str
    workers: int
    timeout: float
    allow_missing: bool
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
    from tvrkit.evaluate import require_whole

    chosen = _choose_models(runs, models)
    manifest = read_manifest(_choose_data(choices.data, chosen))
    # Before anything costs time.
    manifest.split(choices.split)
    if not choices.allow_missing:
        require_whole(manifest, choices.split)
    if choices.query_bank is not None:
        _require_bank(manifest, choices.split)
    baselines: list[ModelConfig] = []
    measured = []
    for place, (source, folder) in enumerate(chosen):
        letter = letter_of(place) if len(chosen) > 1 else None
        measured.append(_measure_one(source, folder, letter, manifest, choices, baselines))
    return measured, compare_with_first(measured), manifest


def _require_bank(manifest: Manifest, split: str) -> None:
    if split == BANK_SPLIT:
        raise ConfigError(
            f"--query-bank takes captions of {BANK_SPLIT!r}, which is what is measured: choose another --split."
        )
    if BANK_SPLIT not in manifest.splits():
        raise DataError(f"--query-bank takes training captions, and {manifest.name} has no split {BANK_SPLIT!r}.")


def _choose_models(runs: Sequence[str], models: Sequence[str]) -> list[tuple[str, Path | None]]:
    """What to load, and the run or exported folder that it is, if it is one."""
    from tvrkit.workspace import runs as runs_there
    from tvrkit.workspace import runs_folder

    if models:
        from tvrkit.core.zero_shot import is_open_clip_folder

        # A backbone as it is published was not trained here, and is its own baseline.
        folders = [Path(model) if Path(model).is_dir() and not is_open_clip_folder(model) else None for model in models]
        return list(zip(models, folders, strict=True))
    chosen: list[tuple[str, Path | None]] = []
    for run in runs:
        folder = next((path for path in (Path(run), runs_folder() / run) if path.is_dir()), None)
        if folder is None:
            raise ConfigError(f"there is no run {run!r}, neither here nor in {runs_folder()}.")
        chosen.append((str(folder), folder))
    if chosen:
        return chosen
    there = runs_there()
    if not there:
        raise ConfigError(
            f"there is no run in {runs_folder()}: train one with `tvrkit train`, or name a model with --model."
        )
    return [(str(there[-1]), there[-1])]


def _choose_data(data: str | None, chosen: Sequence[tuple[str, Path | None]]) -> Path:
    """The manifest: the one named, else the one that the runs were trained on, else the only one prepared."""
    from tvrkit.train.run import read_run
    from tvrkit.workspace import RUN_FILE, manifest_path

    if data is not None:
        return manifest_path(data)
    found: dict[Path, str] = {}
    for source, folder in chosen:
        if folder is not None and (folder / RUN_FILE).is_file():
            info = read_run(folder)
            there = Path(str(info["manifest"]))
            # A project folder may have moved since, with its data.
            path = there if there.is_file() else manifest_path(str(info["dataset"]))
            found.setdefault(path.resolve(), f"{source} on {info['dataset']}")
    if len(found) > 1:
        raise ConfigError(
            f"these runs were trained on different data sets ({', '.join(found.values())}):"
            " name the one to measure all of them on with --data."
        )
    return next(iter(found), None) or manifest_path(None)


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

    model = load_model(source, choices.device)
    output.say(f"{f'Model {letter}' if letter else 'Model'}: {source}{chosen_by(folder)}")
    rows = [_measure(letter or (source if folder is None else "trained"), model, manifest, choices)]
    wanted = choices.zero_shot if letter is None else bool(choices.zero_shot)
    if wanted is not False and folder is not None and (base := _zero_shot(model, choices.device, wanted)):
        if base.config not in baselines:
            rows.append(_measure(f"{letter} 0-shot" if letter else "zero-shot", base, manifest, choices))
        baselines.append(base.config)
    return Measured(source, folder, tuple(rows))


def _measure(name: str, model: RetrievalModel, manifest: Manifest, choices: Choices) -> Row:
    from tvrkit.evaluate import HARD_SPLIT, evaluate_encoded, evaluate_hard, with_dual_softmax

    encoded = _encode(name, model, manifest, choices.split, choices)
    evaluation = evaluate_encoded(model, manifest, choices.split, encoded, allow_missing=choices.allow_missing)
    hard = None
    if choices.split == "test" and HARD_SPLIT in manifest.splits():
        hard = evaluate_hard(model, manifest, _encode(name, model, manifest, HARD_SPLIT, choices))
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
    from tvrkit.encode import frame_cache
    from tvrkit.evaluate import query_bank, with_query_bank
    from tvrkit.reporting import counted
    from tvrkit.store import FeatureStore

    with FeatureStore(frame_cache(model)) as store, output.progress(f"Frames of the query bank, {name}") as bar:
        bank = query_bank(
            model,
            manifest,
            evaluation,
            split=BANK_SPLIT,
            size=choices.query_bank or 1,
            encoded=encoded,
            workers=choices.workers,
            reader=choices.reader,
            timeout_seconds=choices.timeout,
            store=store,
            on_progress=counted(bar),
        )
    return with_query_bank(evaluation, bank)


def _encode(name: str, model: RetrievalModel, manifest: Manifest, split: str, choices: Choices) -> EncodedFrames:
    from tvrkit.encode import frame_cache
    from tvrkit.evaluate import encode_split
    from tvrkit.reporting import counted
    from tvrkit.store import FeatureStore

    total = len(manifest.split(split))
    with FeatureStore(frame_cache(model)) as store, output.progress(f"Frames of {split}, {name}", total) as bar:
        return encode_split(
            model,
            manifest,
            split,
            workers=choices.workers,
            reader=choices.reader,
            timeout_seconds=choices.timeout,
            store=store,
            on_progress=counted(bar),
        )


def _zero_shot(model: RetrievalModel, device: str, wanted: bool | None) -> RetrievalModel | None:
    """The backbone as it was pretrained; None, with a line that says why, where that is not to be had."""
    from tvrkit.core import build_model
    from tvrkit.evaluate import baseline_config

    config = baseline_config(model.config)
    if config.pretrained is None:
        reason = "its backbone began from random weights"
    else:
        try:
            return build_model(config, device)
        except TvrkitError as error:  # it cannot be downloaded, or a weights file of one's own lies elsewhere now
            reason = str(error)
    if wanted:
        raise ConfigError(f"--zero-shot: there is no pretrained model to compare with, {reason}")
    output.say(f"No zero-shot row: {reason}")
    return None

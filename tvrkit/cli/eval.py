"""`tvrkit eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.cli.options import (
    choose_device,
    data_option,
    device_option,
    json_option,
    model_option,
    reader_option,
    timeout_option,
    workers_option,
)
from tvrkit.errors import ConfigError, TvrkitError, WeightsUnavailableError

if TYPE_CHECKING:
    from tvrkit.cli.evaluation import Row
    from tvrkit.core import RetrievalModel
    from tvrkit.encode import EncodedFrames
    from tvrkit.manifest import Manifest


@click.command()
@click.argument("run", required=False)
@model_option
@data_option
@click.option("--split", default="test", show_default=True, help="Split to measure on.")
@click.option(
    "--zero-shot/--no-zero-shot",
    default=None,
    help="Measure the backbone as it was pretrained as well.  [default: if its weights are at hand]",
)
@click.option("--allow-missing", is_flag=True, help="Leave unreadable videos out, and say so, instead of stopping.")
@click.option(
    "--save-similarity",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.npy",
    help="Write the scores, captions by videos, and a FILE.json that names both.",
)
@json_option
@device_option
@reader_option
@workers_option
@timeout_option
def command(
    run: str | None,
    model: str | None,
    data: str | None,
    split: str,
    zero_shot: bool | None,
    allow_missing: bool,
    save_similarity: Path | None,
    as_json: bool,
    device: str,
    reader: str,
    workers: int,
    timeout: float,
) -> None:
    """Measure how well a model finds videos by captions, and back.

    Takes a RUN, or with --model anything else that holds a model; without either the newest run. Ranks the test split
    of the data set that it was trained on, and for `shapes` asks the hard gallery of one-word edits too.

    \b
    Example:
      tvrkit eval --model ViT-B-32/openai --data shapes --json
    """
    from tvrkit.cli.evaluation import chosen_by, keep, print_tables, result_of, write_scores
    from tvrkit.core import load_model
    from tvrkit.manifest import read_manifest

    source, folder = _choose_model(run, model)
    manifest = read_manifest(_choose_data(data, folder))
    manifest.split(split)  # before anything costs time
    reading = _Reading(choose_device(device), reader, workers, timeout, allow_missing)
    main = load_model(source, reading.device)
    output.say(f"Model: {source}{chosen_by(folder)}")
    rows = [_measure(source if folder is None else "trained", main, manifest, split, reading)]
    if zero_shot is not False and folder is not None and (base := _zero_shot(main, reading.device, zero_shot)):
        rows.append(_measure("zero-shot", base, manifest, split, reading))
    if save_similarity is not None:
        write_scores(save_similarity, rows[0].evaluation, manifest)
    result = result_of(source, folder, rows)
    if folder is not None:
        keep(folder, result)
    if as_json:
        output.print_json(result)
    else:
        print_tables(rows)


@dataclass(frozen=True)
class _Reading:
    """How videos are read."""

    device: str
    reader: str
    workers: int
    timeout: float
    allow_missing: bool


def _choose_model(run: str | None, model: str | None) -> tuple[str, Path | None]:
    """What to load, and the run or exported folder that it is, if it is one."""
    from tvrkit.workspace import runs, runs_folder

    if run is not None and model is not None:
        raise ConfigError("give a RUN or --model, not both.")
    if run is not None:
        for folder in (Path(run), runs_folder() / run):
            if folder.is_dir():
                return str(folder), folder
        raise ConfigError(f"there is no run {run!r}, neither here nor in {runs_folder()}.")
    if model is not None:
        return model, Path(model) if Path(model).is_dir() else None
    there = runs()
    if not there:
        raise ConfigError(
            f"there is no run in {runs_folder()}: train one with `tvrkit train`, or name a model with --model."
        )
    return str(there[-1]), there[-1]


def _choose_data(data: str | None, folder: Path | None) -> Path:
    """The manifest: the one named, else the one that the run was trained on, else the only one prepared."""
    from tvrkit.train.run import read_run
    from tvrkit.workspace import RUN_FILE, manifest_path

    if data is None and folder is not None and (folder / RUN_FILE).is_file():
        info = read_run(folder)
        there = Path(str(info["manifest"]))
        # A project folder may have moved since, with its data.
        return there if there.is_file() else manifest_path(str(info["dataset"]))
    return manifest_path(data)


def _measure(name: str, model: RetrievalModel, manifest: Manifest, split: str, reading: _Reading) -> Row:
    from tvrkit.cli.evaluation import Row
    from tvrkit.evaluate import HARD_SPLIT, evaluate_encoded, evaluate_hard

    encoded = _encode(name, model, manifest, split, reading)
    evaluation = evaluate_encoded(model, manifest, split, encoded, allow_missing=reading.allow_missing)
    hard = None
    if split == "test" and HARD_SPLIT in manifest.splits():
        hard = evaluate_hard(model, manifest, _encode(name, model, manifest, HARD_SPLIT, reading))
    return Row(name, evaluation, hard)


def _encode(name: str, model: RetrievalModel, manifest: Manifest, split: str, reading: _Reading) -> EncodedFrames:
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
            workers=reading.workers,
            reader=reading.reader,
            timeout_seconds=reading.timeout,
            store=store,
            on_progress=counted(bar),
        )


def _zero_shot(model: RetrievalModel, device: str, wanted: bool | None) -> RetrievalModel | None:
    """The backbone as it was pretrained; None, with a line that says why, where that is not to be had."""
    from tvrkit.core import build_model
    from tvrkit.evaluate import zero_shot_config

    config = zero_shot_config(model.config)
    if config.pretrained is None:
        reason = "its backbone began from random weights"
    else:
        try:
            return build_model(config, device)
        except WeightsUnavailableError as error:
            reason = str(error)
        except TvrkitError as error:  # a weights file of one's own that lies elsewhere now
            reason = str(error)
    if wanted:
        raise ConfigError(f"--zero-shot: there is no pretrained model to compare with, {reason}")
    output.say(f"No zero-shot row: {reason}")
    return None

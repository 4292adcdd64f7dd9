"""`tvrkit calibrate`."""

from __future__ import annotations

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
from tvrkit.errors import ConfigError
from tvrkit.frames.reading import Reading

if TYPE_CHECKING:
    from tvrkit.index.calibration import Calibration
    from tvrkit.index.calibration_report import Judged, Measures, Report

HEAD = ("", "searched", "cases", "Brier", "error", "precision", "recall", "absent", "present")


@click.command()
@model_option
@data_option
@click.option("--split", default="val", show_default=True, metavar="NAME", help="Whose captions to learn from.")
@click.option("--allow-test", is_flag=True, help="Learn from a test split, which it is then no test for any more.")
@json_option
@device_option
@workers_option
@reader_option
@timeout_option
def command(
    model: str | None,
    data: str | None,
    split: str,
    allow_test: bool,
    as_json: bool,
    device: str,
    workers: int,
    reader: str,
    timeout: float,
) -> None:
    """Learn from captioned videos how sure an answer is.

    Searches are made up from one half of a split's captions, with the right video among those searched and without; the
    other half tells how good the learned confidence is. It is kept beside the model, where every search finds it.
    Without --model the newest run is calibrated, on the data that it was trained on. docs/confidence.md says more.

    \b
    Example:
      tvrkit calibrate --model runs/mine --data msrvtt
    """
    if split.startswith(("test", "hard")) and not allow_test:
        raise ConfigError(
            f"--split {split}: what is learned from a test split makes every number measured on it look better; take"
            " another, or say --allow-test."
        )
    if split == "train":
        output.warn("the model saw these captions with their videos: it will be surer than it should be.")
    from tvrkit.cli.evaluation_choice import choose
    from tvrkit.manifest import read_manifest

    chosen, path = choose([], [model] if model is not None else [], data)
    manifest = read_manifest(path)
    records = manifest.split(split)
    device = choose_device(device)

    from tvrkit.core import load_model
    from tvrkit.data import frame_request
    from tvrkit.encode import encode_frames, frame_cache
    from tvrkit.index.calibrating import calibrate
    from tvrkit.index.calibration import save_calibration
    from tvrkit.reporting import counted
    from tvrkit.store import FeatureStore

    source = chosen[0][0]
    output.say(f"Model: {source}. Data: {manifest.name}/{split}, {len(records)} videos.")
    loaded = load_model(source, device)
    requests = [frame_request(manifest, record, loaded.config.num_frames) for record in records]
    with FeatureStore(frame_cache(loaded)) as store, output.progress("Encoding videos", len(requests)) as bar:
        encoded = encode_frames(
            loaded, requests, reading=Reading(workers, reader, timeout), store=store, on_progress=counted(bar)
        )
    if encoded.failures:
        output.warn(f"{len(encoded.failures)} of {len(records)} videos cannot be read and have no part in this.")
    calibration, report = calibrate(loaded, manifest, split, encoded)
    place = save_calibration(loaded, source, calibration, report.to_dict())
    if as_json:
        output.print_json({"calibration": _plain(calibration), "report": report.to_dict(), "path": str(place)})
    else:
        _print(report)
    output.say(f"Kept: {place}")


def _plain(calibration: Calibration) -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(calibration), "bank": len(calibration.bank)}


def _print(report: Report) -> None:
    learned, checked = report.videos
    click.echo(f"Learned from {learned} videos of {report.learned_on}, measured on {checked} others.")
    ways = {"calibrated": report.calibrated, "built-in": report.built_in, "raw cosine": report.raw}
    rows = [_row(name, judged.together, "all") for name, judged in ways.items()]
    rows += [_row("calibrated", one, f"{one.searched:,}") for one in report.calibrated.by_size]
    output.print_table(HEAD, rows, tight=True)
    click.echo("When calibrated confidence says so much, so many fit:")
    _print_reliability(report.calibrated)
    output.say(
        "Of what a search shows first. error: mean distance of confidence and truth. precision: of confident matches,"
        " those that fit. recall: of those that fit, the confident ones. absent: the right video was not there, and the"
        " answer was `no confident match`. present: it was there, and was shown first as a confident match."
        f" Thresholds: confidence {report.calibrated.threshold:g}, cosine {report.raw.threshold:.3f}."
    )


def _row(name: str, measures: Measures, searched: str) -> tuple[object, ...]:
    shares = (measures.precision, measures.recall, measures.absent, measures.present)
    return (
        name,
        searched,
        measures.cases,
        f"{measures.brier:.3f}",
        f"{measures.calibration_error:.3f}",
        *(None if share is None else f"{share:.3f}" for share in shares),
    )


def _print_reliability(judged: Judged) -> None:
    rows = [(one.cases, f"{one.probability:.3f}", f"{one.fits:.3f}") for one in judged.reliability]
    output.print_table(("cases", "confidence", "fit"), rows, tight=True)

"""`tvrkit export`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from tvrkit.cli import output
from tvrkit.cli.options import json_option, model_option
from tvrkit.errors import ConfigError


@click.command()
@click.argument("run", required=False)
@model_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write it; an earlier export there is replaced.  [default: exports/ and the model's name]",
)
@click.option("--half", is_flag=True, help="Store weights as float16: half the size, scores a little different.")
@json_option
def command(run: str | None, model: str | None, out: Path | None, half: bool, as_json: bool) -> None:
    """Write a trained model as one folder that loads anywhere.

    Takes the best checkpoint of RUN, of the newest run if none is named, or with --model anything else that holds a
    model, such as a published backbone that shall be at hand without a network. The folder holds the weights, the
    config, the tokenizer, the measured numbers and a model card; it goes wherever --model is asked for, and into
    tvrkit.load().

    \b
    Example:
      tvrkit export --out my-model
    """
    from tvrkit.export.folder import export

    source, name = _choose(run, model)
    done = export(source, out or Path("exports") / name, half=half)
    output.say(f"Model: {done.checkpoint}")
    if done.measured:
        output.say(f"Measured on: {', '.join(' '.join(pair) for pair in done.measured)}")
    elif model is None:
        output.say("Not evaluated yet: `tvrkit eval` and another export bring numbers into its model card.")
    output.say(f"Written: {done.folder} ({done.size_bytes / 1e6:.1f} MB); load it with tvrkit.load or --model.")
    if as_json:
        output.print_json(
            {"folder": str(done.folder), "checkpoint": str(done.checkpoint), "size_bytes": done.size_bytes}
        )
    else:
        click.echo(done.folder)


def _choose(run: str | None, model: str | None) -> tuple[str, str]:
    """What to export, and what to call it."""
    if run is not None and model is not None:
        raise ConfigError("give a RUN or --model, not both.")
    if model is None or Path(model).is_dir():
        folder = _choose_run(run) if model is None else Path(model)
        return str(folder), folder.resolve().name
    return model, re.sub(r"[^\w.+-]+", "-", model.partition("=")[0]).strip("-.") or "model"


def _choose_run(run: str | None) -> Path:
    from tvrkit.workspace import runs, runs_folder

    if run is not None:
        for folder in (Path(run), runs_folder() / run):
            if folder.is_dir():
                return folder
        raise ConfigError(f"there is no run {run!r}, neither here nor in {runs_folder()}.")
    there = runs()
    if not there:
        raise ConfigError(f"there is no run in {runs_folder()} to export: train one with `tvrkit train`.")
    return there[-1]

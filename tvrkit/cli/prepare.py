"""`tvrkit prepare`: one command for each origin of a data set."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tvrkit.cli import output
from tvrkit.cli.options import json_option, reader_option, timeout_option, workers_option
from tvrkit.errors import ConfigError, DataError
from tvrkit.workspace import data_folder

if TYPE_CHECKING:
    from tvrkit.prepare.report import PrepareReport

F = TypeVar("F", bound=Callable[..., Any])

LATER = {
    "msvd": "MSVD",
    "msrvtt": "MSR-VTT",
    "didemo": "DiDeMo",
    "activitynet": "ActivityNet",
    "lsmdc": "LSMDC",
    "vatex": "VATEX",
}


class Origins(click.Group):
    """The commands, and an honest word about the benchmarks that have none yet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they are written down here."""
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; for a benchmark whose preparation is not there yet, one that says so."""
        return super().get_command(ctx, cmd_name) or (_later(cmd_name) if cmd_name in LATER else None)


@click.group(cls=Origins)
def command() -> None:
    """Turn videos and captions into a data set.

    Each command writes data/NAME/manifest.jsonl, which train and eval read, and report.json, which names what was left
    out and why. Running it again goes on where it stopped. msvd, msrvtt, didemo and activitynet come later; until then
    `folder` takes their videos with a file of captions.

    \b
    Example:
      tvrkit prepare shapes
    """


def _name_option(default: str) -> Callable[[F], F]:
    return click.option(
        "--name",
        metavar="NAME",
        callback=_checked_name,
        help=f"Name of the data set, and of its folder in data/.  [default: {default}]",
    )


def _checked_name(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    if name is not None and (not name or name.startswith(".") or set(name) & set('/\\:\0*?"<>|')):
        raise ConfigError(f"--name {name!r}: a data set's name is a folder's name, without a slash or a dot in front.")
    return name


@command.command()
@_name_option("shapes")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Decides every clip.")
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Part of the 6,000 clips: 0.05 is enough for a trial.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=min(8, os.cpu_count() or 1),
    show_default="one a CPU, at most 8",
    help="Processes that render.",
)
@json_option
def shapes(name: str | None, seed: int, scale: float, workers: int, as_json: bool) -> None:
    """Render the built-in benchmark: moving shapes, with captions.

    4,800 clips to train on, 300 to choose by, 500 to test, and 400 in families that differ in one word, as real H.264
    files. Nothing is downloaded, and the same seed gives the same files.

    \b
    Example:
      tvrkit prepare shapes --scale 0.05 --name small-shapes
    """
    from tvrkit.prepare.shapes import prepare_shapes

    name = name or "shapes"
    report = prepare_shapes(data_folder() / name, name=name, seed=seed, scale=scale, workers=workers, watcher=output)
    verb = "rendered" if report.new else "nothing to do:"
    output.say(
        f"{report.new:,} clips {verb} {report.kept:,} were there." if report.kept else f"{report.new:,} clips {verb}."
    )
    _show(report, as_json)


@command.command()
@click.argument("clips", type=click.Path(path_type=Path))
@click.option(
    "--captions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="CSV or JSON lines with path and caption, and, if you like, start, end, split, video_id."
    "  [default: a .txt beside each video, one caption a line]",
)
@_name_option("the folder's own")
@click.option("--val-fraction", type=float, default=0.0, metavar="PART", help="Part of the videos for val, as 0.1.")
@click.option("--test-fraction", type=float, default=0.0, metavar="PART", help="Part of the videos for test.")
@click.option("--strict", is_flag=True, help="Fail when anything would be left out.")
@reader_option
@workers_option
@timeout_option
@json_option
def folder(
    clips: Path,
    captions: Path | None,
    name: str | None,
    val_fraction: float,
    test_fraction: float,
    strict: bool,
    reader: str,
    workers: int,
    timeout: float,
    as_json: bool,
) -> None:
    """Take your own videos, with captions from a file.

    Looks into every video, and leaves out, counts and names what cannot be used. Without splits in the captions and
    without --val-fraction or --test-fraction all videos go to the split test. docs/data.md has the formats.

    \b
    Example:
      tvrkit prepare folder ./clips --captions captions.csv --name mine
    """
    from tvrkit.prepare.folder import FolderOptions, prepare_folder
    from tvrkit.prepare.report import many

    if name is None:
        name = _checked_name(click.get_current_context(), click.Option(["--name"]), Path(clips.absolute()).name)
    assert name is not None
    options = FolderOptions(
        captions=captions,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        strict=strict,
        reader=reader,
        workers=workers,
        timeout_seconds=timeout,
    )
    report = prepare_folder(clips, data_folder() / name, name=name, options=options, watcher=output)
    output.say(f"{many(report.new, 'video')} looked into, {report.kept:,} known from before.")
    _show(report, as_json)


def _show(report: PrepareReport, as_json: bool) -> None:
    for note in report.notes:
        output.say(note)
    for kind, number in report.problem_counts().items():
        output.warn(f"{kind}: {number}")
        for problem in report.examples(kind):
            output.say(f"  {problem}")
        if number > 3:
            output.say(f"  … all of them are in {report.manifest.parent / 'report.json'}")
    if as_json:
        output.print_json({**report.to_json(), "manifest": str(report.manifest)})
    else:
        rows = [(split, count.videos, count.captions, count.hours) for split, count in report.splits.items()]
        output.print_table(("split", "videos", "captions", "hours"), rows, title=str(report.manifest))
    output.say("Next:")
    for line in _next(report):
        output.say(f"  {line}")


def _next(report: PrepareReport) -> list[str]:
    """The commands that go on from here."""
    if "train" in report.splits:
        lines = [f"tvrkit train --data {report.name}"]
        return [*lines, f"tvrkit eval --data {report.name}"] if "test" in report.splits else lines
    split = next(iter(report.splits))
    chosen = "" if split == "test" else f" --split {split}"
    return [f"tvrkit eval --data {report.name}{chosen} --model PE-Core-S-16-384/meta"]


def _later(name: str) -> click.Command:
    @click.command(name, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    def later() -> None:
        """Say what can be done today."""
        raise DataError(
            f"`tvrkit prepare {name}` is not there yet: {LATER[name]}'s own annotation files come with a later version;"
            f" today `tvrkit prepare folder VIDEOS --captions FILE --name {name}` takes its videos with a CSV or JSON"
            " lines file of path, caption and split."
        )

    return later

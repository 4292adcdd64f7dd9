"""`tvrkit prepare shapes` and `tvrkit prepare folder`: data sets that come from no benchmark's server."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tvrkit.cli import output
from tvrkit.cli.options import json_option, reader_option, timeout_option, workers_option
from tvrkit.cli.prepare_check import check, check_option
from tvrkit.cli.prepare_options import checked_name, compress_option, name_option, strict_option
from tvrkit.cli.prepare_show import show
from tvrkit.files import absolute
from tvrkit.frames.reading import Reading
from tvrkit.workspace import data_folder


@click.command()
@name_option("shapes")
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
@check_option
@json_option
def shapes(name: str | None, seed: int, scale: float, workers: int, check_it: bool, as_json: bool) -> None:
    """Render the built-in benchmark: moving shapes, with captions.

    4,800 clips to train on, 300 to choose by, 500 to test, and 400 in families that differ in one word, as real H.264
    files. Nothing is downloaded, and the same seed gives the same files.

    \b
    Example:
      tvrkit prepare shapes --scale 0.05 --name small-shapes
    """
    from tvrkit.prepare.shapes import prepare_shapes

    name = name or "shapes"
    if check_it:
        check(name, Reading(workers), as_json)
    report = prepare_shapes(data_folder() / name, name=name, seed=seed, scale=scale, workers=workers, watcher=output)
    verb = "rendered" if report.new else "nothing to do:"
    output.say(
        f"{report.new:,} clips {verb} {report.kept:,} were there." if report.kept else f"{report.new:,} clips {verb}."
    )
    show(report, as_json)


@click.command()
@click.argument("clips", type=click.Path(path_type=Path))
@click.option(
    "--captions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="CSV or JSON lines with path and caption, and, if you like, start, end, split, video_id."
    "  [default: a .txt beside each video, one caption a line]",
)
@name_option("the folder's own")
@click.option("--val-fraction", type=float, default=0.0, metavar="PART", help="Part of the videos for val, as 0.1.")
@click.option("--test-fraction", type=float, default=0.0, metavar="PART", help="Part of the videos for test.")
@compress_option
@strict_option
@check_option
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
    compress: bool,
    strict: bool,
    check_it: bool,
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

    name = checked_name(absolute(clips).name) if name is None else name
    reading = Reading(workers, reader, timeout)
    if check_it:
        check(name, reading, as_json)
    options = FolderOptions(
        captions=captions,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        strict=strict,
        compress=compress,
        reading=reading,
    )
    report = prepare_folder(clips, data_folder() / name, name=name, options=options, watcher=output)
    output.say(f"{many(report.new, 'video')} looked into, {report.kept:,} known from before.")
    show(report, as_json)

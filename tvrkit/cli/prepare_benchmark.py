"""`tvrkit prepare msvd` and the other published benchmarks: one command each, made from what is known of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvrkit.cli import output
from tvrkit.cli.options import json_option, reader_option, timeout_option, workers_option
from tvrkit.cli.prepare_check import check, check_option
from tvrkit.cli.prepare_options import compress_option, name_option, strict_option
from tvrkit.cli.prepare_show import show
from tvrkit.frames.reading import Reading
from tvrkit.workspace import data_folder

if TYPE_CHECKING:
    from tvrkit.prepare.benchmarks.benchmark import Benchmark
    from tvrkit.prepare.material import Material

HELP = """{summary}

{about} Downloads what has a public address, to data/downloads/{name}; --from and --annotations take what was
fetched by hand. docs/benchmarks.md names the files and their terms.

\b
Example:
  tvrkit prepare {name} --from ./videos --annotations ./lists
"""


def benchmark_command(benchmark: Benchmark) -> click.Command:
    """The command of one benchmark."""
    splits = list(benchmark.splits)

    @click.command(benchmark.name, help=_help(benchmark))
    @click.option(
        "--from",
        "videos",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder of videos, archives or lists fetched by hand, or one archive; then no video is downloaded."
        " May be given several times.",
    )
    @click.option(
        "--annotations",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder of the annotation files; then none is downloaded. May be given several times.",
    )
    @click.option("--split", type=click.Choice(splits), default=splits[0], show_default=True, help="Which protocol.")
    @name_option(benchmark.name if len(splits) == 1 else f"{benchmark.name}, or {benchmark.name}-SPLIT")
    @click.option(
        "--val-fraction",
        type=float,
        default=0.0,
        metavar="PART",
        help="Part of train that goes to val, as 0.05, where the protocol has none.",
    )
    @click.option("--mirror", metavar="URL", help="Address or folder that is asked for each file first.")
    @click.option("--dry-run", is_flag=True, help="Say what would be fetched, from where and how much; write nothing.")
    @compress_option
    @strict_option
    @check_option
    @reader_option
    @workers_option
    @timeout_option
    @json_option
    def prepare(**chosen: Any) -> None:
        _prepare(benchmark, **chosen)

    return prepare


def _help(benchmark: Benchmark) -> str:
    return HELP.format(summary=f"Prepare {benchmark.title}.", about=benchmark.about, name=benchmark.name)


def _prepare(
    benchmark: Benchmark,
    *,
    videos: tuple[Path, ...],
    annotations: tuple[Path, ...],
    split: str,
    name: str | None,
    val_fraction: float,
    mirror: str | None,
    dry_run: bool,
    compress: bool,
    strict: bool,
    check_it: bool,
    reader: str,
    workers: int,
    timeout: float,
    as_json: bool,
) -> None:
    from tvrkit.prepare.benchmark import default_name, material_of, prepare_benchmark
    from tvrkit.prepare.material import BenchmarkOptions
    from tvrkit.prepare.report import many

    name = name or default_name(benchmark, split)
    reading = Reading(workers, reader, timeout)
    if check_it:
        check(name, reading, as_json)
    options = BenchmarkOptions(
        split=split,
        videos=videos,
        annotations=annotations,
        mirror=mirror,
        val_fraction=val_fraction,
        strict=strict,
        compress=compress,
        reading=reading,
    )
    folder = data_folder() / name
    material = material_of(benchmark, folder, options)
    output.say(f"{benchmark.title}: {benchmark.homepage}")
    output.say(f"Terms: {benchmark.licence}")
    if dry_run:
        _show_preview(material, as_json)
        return
    _say_files(material)
    report = prepare_benchmark(benchmark, folder, name=name, options=options, watcher=output)
    output.say(f"{many(report.new, 'video')} looked into, {report.kept:,} known from before.")
    show(report, as_json)


def _say_files(material: Material) -> None:
    """What is about to be downloaded, a line a file, before the first byte of it."""
    from tvrkit.prepare.downloads.sizes import in_words
    from tvrkit.prepare.preview import files_of

    for file in files_of(material, ask=False):
        if file.state != "there":
            size = "size not known yet" if file.bytes is None else in_words(file.bytes)
            come = f", {in_words(file.bytes_there)} of it there" if file.bytes_there else ""
            output.say(f"To download: {file.name} ({file.holds}, {size}{come}) from {file.source}")


def _show_preview(material: Material, as_json: bool) -> None:
    from tvrkit.prepare.downloads.sizes import in_words
    from tvrkit.prepare.preview import preview
    from tvrkit.prepare.report import many

    plan = preview(material, ask=True)
    if as_json:
        output.print_json(plan.to_json())
        return
    if plan.files:
        rows = [
            (
                file.name + (" (optional)" if file.optional else ""),
                file.holds,
                "unknown" if file.bytes is None else in_words(file.bytes),
                f"partial, {in_words(file.bytes_there)}" if file.state == "partial" else file.state,
                file.source,
            )
            for file in plan.files
        ]
        output.print_table(("file", "holds", "size", "here", "from"), rows, title="To download")
    for folder in plan.folders:
        output.say(f"Fetched by hand: {folder}")
    for archive in plan.archives:
        output.say(f"To unpack: {archive}")
    if plan.annotated is None:
        output.say("Annotations: not there yet.")
    else:
        output.say(f"Annotations: {many(plan.annotated, 'video')}, of which {plan.located:,} have a file here.")
    if not (material.options.videos or material.video_assets()):
        output.say(f"Videos: by hand. {material.benchmark.by_hand}")
    unknown = f" and {many(plan.unknown, 'file')} of unknown size" if plan.unknown else ""
    output.say(f"Disk: {in_words(plan.needs_bytes)}{unknown} needed, {in_words(plan.free_bytes)} free.")
    output.say("Nothing was written.")

"""`tvrkit shell`."""

from __future__ import annotations

import click

from tvrkit.cli.opening import index_option, open_for_search
from tvrkit.cli.options import (
    device_option,
    json_option,
    model_option,
    reader_option,
    timeout_option,
    workers_option,
)
from tvrkit.cli.updating import update_index
from tvrkit.frames.reading import Reading


@click.command()
@click.option(
    "--videos",
    multiple=True,
    metavar="PLACE",
    help="Bring the index up to date with this folder, file or address first; repeatable.",
)
@index_option
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="Most videos.")
@json_option
@model_option
@device_option
@workers_option
@reader_option
@timeout_option
def command(
    videos: tuple[str, ...],
    index: str | None,
    top: int,
    as_json: bool,
    model: str | None,
    device: str,
    workers: int,
    reader: str,
    timeout: float,
) -> int:
    """Ask one question after another.

    Model and index are loaded once. A line is a question, in words; one that begins with a colon is a command, and
    :help lists them. Lines may come from a pipe: then there is no prompt, and the exit code is 1 when one went wrong.

    \b
    Example:
      tvrkit shell
    """
    reading = Reading(workers, reader, timeout)
    with open_for_search(index, model, device, places=videos) as opened:
        if videos:
            update_index(opened, videos, reading=reading)
        from tvrkit.cli.asking import Session
        from tvrkit.cli.shell_commands import Shell
        from tvrkit.cli.shell_lines import run

        return run(Shell(Session(opened, reading), top=top, as_json=as_json))

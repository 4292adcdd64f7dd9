"""`--check` of `tvrkit prepare`, and `tvrkit prepare NAME --check` for a data set of any name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from tvrkit.cli import output
from tvrkit.cli.options import json_option, reader_option, timeout_option, workers_option
from tvrkit.errors import DataError
from tvrkit.frames.reading import Reading
from tvrkit.workspace import data_folder

F = TypeVar("F", bound=Callable[..., Any])

EXAMPLES = 5


def check_option(function: F) -> F:
    """`--check` (callback: `check_it: bool`)."""
    return click.option(
        "--check", "check_it", is_flag=True, help="Prepare nothing: decode what is prepared again, and name each fault."
    )(function)


def check(name: str, reading: Reading, as_json: bool) -> NoReturn:
    """Verify a prepared data set, show what is wrong, and exit: 0 only if all is well."""
    from tvrkit.cli.prepare_show import show_coverage
    from tvrkit.prepare.assemble import read_settings
    from tvrkit.prepare.check import check_prepared
    from tvrkit.prepare.report import many

    folder = data_folder() / name
    kind = read_settings(folder).get("kind")
    report = check_prepared(
        folder,
        name=name,
        downloads=data_folder() / "downloads" / kind if isinstance(kind, str) else None,
        reading=reading,
        watcher=output,
    )
    if as_json:
        output.print_json(report.to_json())
        sys.exit(0 if report.ok else 1)
    if report.splits:
        title = f"{report.manifest}, protocol {report.protocol}" if report.protocol else str(report.manifest)
        show_coverage(report.splits, title=title, listed="prepared")
    for kind_of_fault, number in report.fault_counts().items():
        output.warn(f"{kind_of_fault}: {number:,}")
        for fault in [fault for fault in report.faults if fault.kind == kind_of_fault][:EXAMPLES]:
            output.say(f"  {fault.where}: {fault.reason}; to mend it, {fault.mend}")
        if number > EXAMPLES:
            output.say("  … --json has all of them")
    number = len(report.faults)
    looked = f"{many(report.checked, 'video')} decoded again, {many(report.downloads, 'downloaded file')} read again"
    output.say(f"{name} is as it should be: {looked}." if report.ok else f"{many(number, 'fault')}: {looked}.")
    sys.exit(0 if report.ok else 1)


def prepared_command(name: str) -> click.Command:
    """The command for a data set whose name is no command: `--check` verifies it, all else is a mistake."""

    @click.command(name, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    @check_option
    @reader_option
    @workers_option
    @timeout_option
    @json_option
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
    def prepared(check_it: bool, reader: str, workers: int, timeout: float, as_json: bool, rest: tuple[str]) -> None:
        """Verify a prepared data set.

        \b
        Example:
          tvrkit prepare mine --check
        """
        if not check_it or rest:
            raise DataError(_what_it_is(name))
        check(name, Reading(workers, reader, timeout), as_json)

    return prepared


def _what_it_is(name: str) -> str:
    from tvrkit.prepare.assemble import read_settings

    command = read_settings(data_folder() / name).get("command")
    again = f"; `{command}` prepares it again" if isinstance(command, str) else ""
    return (
        f"{name!r} is a data set that is prepared in {data_folder() / name}, and no origin of one:"
        f" `tvrkit prepare {name} --check` verifies it{again}."
    )

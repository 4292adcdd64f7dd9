"""Write docs/cli.md: every help page as the program prints it. `make fix` runs this; a test compares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from tvrkit.cli import cli

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# The command line

Every help page, as the program prints it. Written by `make fix`: do not edit.

Words and progress go to stderr, data to stdout. Exit codes: 0 done, 1 failed, 2 used wrongly, 130 interrupted.
A failure is one sentence on stderr; `TVRKIT_TRACEBACK=1` adds the traceback.
"""


def pages(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """(command line, help page) of a command and all that is under it, at 80 columns."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=80, max_content_width=80)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            under = command.get_command(context, sub)
            if under is not None and not under.hidden:
                yield from pages(under, sub, context)


def text() -> str:
    """The whole page as Markdown."""
    parts = [HEAD]
    for path, page in pages(cli, "tvrkit"):
        parts.append(f"## {path}\n\n```text\n{page.rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")

"""Where the shell's lines come from: a keyboard with a history, or a pipe; and that nothing in one ends it."""

from __future__ import annotations

import atexit
import io
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from tvrkit.cli.failures import report
from tvrkit.workspace import cache_folder

if TYPE_CHECKING:
    from tvrkit.cli.shell_commands import Shell

HISTORY = "shell_history"
_HISTORY_LINES = 1000
_PROMPT = "tvrkit> "


def run(shell: Shell) -> int:
    """Do what the lines say until they end or one says :quit.

    Returns:
        The exit code: 1 when a line of a pipe went wrong.
    """
    interactive = sys.stdin.isatty()
    if interactive:
        _remember_lines()
        click.echo("A line is a question; :help lists the commands, Ctrl-D ends.", err=True)
    failed = False
    for line in _typed() if interactive else _piped():
        try:
            if not shell.do(line):
                break
        except KeyboardInterrupt:
            if not interactive:
                raise
            click.echo("Interrupted.", err=True)
        except BrokenPipeError:
            raise
        except Exception as error:
            report(error)
            failed = True
        sys.stdout.flush()
    return int(failed and not interactive)


def _typed() -> Iterator[str]:
    """Lines of a keyboard: Ctrl-C clears one, Ctrl-D ends them."""
    while True:
        try:
            if sys.stdout.isatty():
                yield input(_PROMPT)
            else:  # what is printed goes to a file, where no prompt belongs
                click.echo(_PROMPT, nl=False, err=True)
                yield input()
        except KeyboardInterrupt:
            click.echo(err=True)
        except EOFError:
            click.echo(err=True)
            return


def _piped() -> Iterator[str]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # paths may be any bytes
    for line in sys.stdin:
        yield line.rstrip("\r\n")


def _remember_lines() -> None:
    """Arrow keys, and the lines of earlier shells, where Python has readline."""
    try:
        import readline
    except ImportError:
        return
    path = cache_folder() / HISTORY
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        readline.read_history_file(path)
    readline.set_history_length(_HISTORY_LINES)

    def keep() -> None:
        with suppress(OSError):
            readline.write_history_file(path)
            path.chmod(0o600)

    atexit.register(keep)

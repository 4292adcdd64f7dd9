"""What the user sees: words and progress on stderr, data on stdout.

rich is loaded when it is first needed: it costs as much as the rest of a help page.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    console: Console

SECONDS_BETWEEN_LINES = 10.0
WIDTH_OF_A_FILE = 1000
NUMBER = re.compile(r"[-+]?\d[\d.,:]*( ?%)?( ?(±|\+-) ?[\d.]+)?")


def __getattr__(name: str) -> Any:
    if name == "console":
        from rich.console import Console

        globals()["console"] = made = Console(stderr=True, highlight=False)
        return made
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _console() -> Console:
    made: Console = globals().get("console") or __getattr__("console")
    return made


def printable(text: str) -> str:
    """`text` with what could command a terminal, or cannot be encoded, written as an escape.

    File names and captions come from anywhere: they may hold escape sequences, direction overrides or lone surrogates.
    """
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else _escape(c) for c in text)


def say(text: str) -> None:
    """One line of words for the user, on stderr."""
    _write(printable(text))


def warn(text: str) -> None:
    """A warning on stderr."""
    _write(f"Warning: {printable(text)}", style="yellow")


def forward_log() -> None:
    """Show what the library logs (a file read by the second reader, a damaged cache) as warnings of our own."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warn(record.getMessage())

    log = logging.getLogger("tvrkit")
    if not log.handlers:
        log.addHandler(Handler(logging.WARNING))


def print_json(value: Any) -> None:
    """One JSON object on one line of stdout.

    Raises:
        ValueError: it holds NaN or infinity, which JSON has not.
    """
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if any(0xD800 <= ord(c) <= 0xDFFF for c in line):
        line = json.dumps(value, allow_nan=False)  # file names that are no UTF-8 survive as \udcXX
    click.echo(line)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    title: str | None = None,
    err: bool = False,
    tight: bool = False,
) -> None:
    """A table: results to stdout, or a report to stderr with `err`. Numbers stand to the right, None is a dash.

    `tight` puts two spaces between columns instead of three and none around them, where many have to fit.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0) if tight else (0, 1),
        pad_edge=False,
        show_edge=not tight,
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
    )
    for i, column in enumerate(columns):
        numeric = all(row[i] is None or NUMBER.fullmatch(str(row[i])) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else printable(str(cell))) for cell in row))
    # In a pipe or a file a row stays on its line, however long the names in it are.
    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH_OF_A_FILE
    shown = _console() if err and width is None else Console(stderr=err, highlight=False, width=width)
    shown.print(table, end="\n\n" if tight else "\n")


class Progress:
    """What `progress` hands out."""

    def __init__(self, description: str, total: int | None, bar: RichProgress | None) -> None:
        self._description, self._total, self._bar = description, total, bar
        self._done, self._note = 0, ""
        self._shown: tuple[int, str] | None = None
        self._started = self._printed = time.monotonic()
        self._task = bar.add_task(description, total=total, note="") if bar else None

    def advance(self, n: int = 1) -> None:
        """`n` more are done."""
        self._done += n
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, n)
        elif time.monotonic() - self._printed > SECONDS_BETWEEN_LINES:
            self._line()

    def note(self, text: str) -> None:
        """A few words that stand behind the bar: a loss, a count of failures."""
        self._note = printable(text)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, note=self._note)

    def finish(self) -> None:
        """The last line where there is no live bar."""
        if self._bar is None and (self._done, self._note) != self._shown:
            self._line()

    def _line(self) -> None:
        # A log file or a pipe gets a plain line now and then instead of a live bar.
        self._printed, self._shown = time.monotonic(), (self._done, self._note)
        spent = self._printed - self._started
        of = f"/{self._total}" if self._total is not None else ""
        words = [f"{self._description} {self._done}{of}", clock(spent)]
        if self._total and 0 < self._done < self._total:
            words.append(f"{clock(spent / self._done * (self._total - self._done))} left")
        _write(", ".join(filter(None, [*words, self._note])))


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Progress]:
    """Show how far a job is: a live bar with the time left on a terminal, a line every ten seconds elsewhere.

    Args:
        description: what is being done, a few words.
        total: how many there are; None shows a count without an end.
    """
    if not _console().is_terminal:
        plain = Progress(description, total, None)
        yield plain
        plain.finish()
        return
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=_console(),
    )
    with bar:
        yield Progress(escape(description), total, bar)


def clock(seconds: float) -> str:
    """Minutes and seconds as m:ss, hours before them when there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _write(text: str, style: str | None = None) -> None:
    made = _console()
    # Logs and pipes get whole lines, so that a path in them can be searched for; a terminal gets them wrapped at words.
    made.print(text, style=style, markup=False, highlight=False, soft_wrap=not made.is_terminal)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

"""Who is told how a long job goes: the command line shows it, a caller of the library may look at it or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """A job's progress."""

    def advance(self, n: int = 1) -> None:
        """`n` more are done."""

    def note(self, text: str) -> None:
        """A few words beside the bar."""


class Reporter(Protocol):
    """Somebody who is told how a job goes; the module `tvrkit.cli.output` is one."""

    def progress(self, description: str, total: int | None = None) -> AbstractContextManager[Bar]:
        """Show a job of `total` parts for as long as the context lasts."""

    def say(self, text: str) -> None:
        """One line of words."""

    def warn(self, text: str) -> None:
        """One line that should not be missed."""


class Silent:
    """Nobody watches."""

    @contextmanager
    def progress(self, description: str, total: int | None = None) -> Iterator[Bar]:
        """See `Reporter`."""
        yield self

    def advance(self, n: int = 1) -> None:
        """See `Bar`."""

    def note(self, text: str) -> None:
        """See `Bar`."""

    def say(self, text: str) -> None:
        """See `Reporter`."""

    def warn(self, text: str) -> None:
        """See `Reporter`."""


def counted(bar: Bar, failed_are: str = "unreadable") -> Callable[[int, int], None]:
    """What a job calls with its number done and, of those, failed, so far; `bar` shows both."""
    shown = 0

    def advance(done: int, failed: int) -> None:
        nonlocal shown
        bar.advance(done - shown)
        shown = done
        if failed:
            bar.note(f"{failed} {failed_are}")

    return advance

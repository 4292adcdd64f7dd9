"""Among which videos to look, as options."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from tvrkit.errors import ConfigError
from tvrkit.index.ask import Where, as_absolute
from tvrkit.index.where import parse_date, parse_duration

F = TypeVar("F", bound=Callable[..., Any])


def where_options(function: F) -> F:
    """`--in`, `--longer`, `--shorter`, `--after` and `--before` (callback: `where: Where`)."""

    @functools.wraps(function)
    def wrapped(
        *,
        inside: tuple[str, ...],
        longer: str | None,
        shorter: str | None,
        after: str | None,
        before: str | None,
        **rest: Any,
    ) -> Any:
        return function(where=parse_where(inside, longer, shorter, after, before), **rest)

    for option in reversed(
        (
            click.option(
                "--in",
                "inside",
                multiple=True,
                metavar="PLACE",
                help="Only what lies in this folder or address, or this file; repeatable.",
            ),
            click.option("--longer", metavar="DURATION", help="Only videos of at least 30, 2m or 1:30."),
            click.option("--shorter", metavar="DURATION", help="Only videos of at most that."),
            click.option("--after", metavar="DATE", help="Only files changed since 2024, 2024-05-31 or 7d (days ago)."),
            click.option("--before", metavar="DATE", help="Only files changed before that."),
        )
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def parse_where(
    inside: Sequence[str] = (),
    longer: str | None = None,
    shorter: str | None = None,
    after: str | None = None,
    before: str | None = None,
) -> Where:
    """The filters that the options mean.

    Raises:
        ConfigError: a length or a date that is none, or two that exclude each other.
    """
    return Where(
        inside=tuple(as_absolute(place) for place in inside),
        min_seconds=_parse("--longer", parse_duration, longer),
        max_seconds=_parse("--shorter", parse_duration, shorter),
        after=_parse("--after", parse_date, after),
        before=_parse("--before", parse_date, before),
    )


def _parse(option: str, parse: Callable[[str], float], text: str | None) -> float | None:
    try:
        return None if text is None else parse(text)
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}") from None

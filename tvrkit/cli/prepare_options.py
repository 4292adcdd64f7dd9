"""Options that the commands of `tvrkit prepare` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tvrkit.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

DOWNLOADS = "downloads"  # the folder in data/ that is no data set


def name_option(default: str) -> Callable[[F], F]:
    """`--name` (callback: `name: str | None`)."""
    return click.option(
        "--name",
        metavar="NAME",
        callback=lambda _context, _option, name: None if name is None else checked_name(name),
        help=f"Name of the data set, and of its folder in data/.  [default: {default}]",
    )


def checked_name(name: str) -> str:
    """A name that can be a folder's.

    Raises:
        ConfigError: it cannot.
    """
    if not name or name.startswith(".") or set(name) & set('/\\:\0*?"<>|'):
        raise ConfigError(f"--name {name!r}: a data set's name is a folder's name, without a slash or a dot in front.")
    if name == DOWNLOADS:
        raise ConfigError(f"--name {name}: data/{name} is where downloads lie, so no data set is called so.")
    return name


def compress_option(function: F) -> F:
    """`--compress` (callback: `compress: bool`)."""
    return click.option(
        "--compress",
        is_flag=True,
        help="Make small copies (3 frames a second, short side 224) in data/NAME/compressed and read these.",
    )(function)


def strict_option(function: F) -> F:
    """`--strict` (callback: `strict: bool`)."""
    return click.option("--strict", is_flag=True, help="Fail when anything would be left out.")(function)

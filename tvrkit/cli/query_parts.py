"""What is looked for, as options: words, pictures and videos with their weights, and what is not wanted."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tvrkit.errors import ConfigError, DataError
from tvrkit.index.ask import AVOID_WEIGHT, Part

F = TypeVar("F", bound=Callable[..., Any])

_WEIGHT = re.compile(r"(.+)\^(\d+(?:\.\d*)?|\.\d+)", re.DOTALL)


def parts_options(function: F) -> F:
    """QUERY, `--also`, `--image`, `--like` and `--avoid` (callback: `parts: tuple[Part, ...]`, in this order)."""

    @functools.wraps(function)
    def wrapped(
        *,
        query: str | None,
        also: tuple[str, ...],
        image: tuple[str, ...],
        like: tuple[str, ...],
        avoid: tuple[str, ...],
        **rest: Any,
    ) -> Any:
        return function(parts=parse_parts(query, also, image, like, avoid), **rest)

    for option in reversed(
        (
            click.argument("query", required=False),
            click.option("--also", multiple=True, metavar="TEXT[^WEIGHT]", help="More words; repeatable."),
            click.option("--image", multiple=True, metavar="FILE[^WEIGHT]", help="A picture of it; repeatable."),
            click.option("--like", multiple=True, metavar="FILE[^WEIGHT]", help="A video like it; repeatable."),
            click.option(
                "--avoid", multiple=True, metavar="TEXT[^WEIGHT]", help="Words for what is not wanted; repeatable."
            ),
        )
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def parse_parts(
    query: str | None,
    also: tuple[str, ...] = (),
    image: tuple[str, ...] = (),
    like: tuple[str, ...] = (),
    avoid: tuple[str, ...] = (),
) -> tuple[Part, ...]:
    """The parts of a question, of what its options said; `^2` behind one is its weight.

    Raises:
        ConfigError: an empty text, or a weight out of range.
        DataError: a file is not there.
    """
    parts = [text_part(words) for words in (*([] if query is None else [query]), *also)]
    parts += [file_part("image", file) for file in image]
    parts += [file_part("video", file) for file in like]
    return (*parts, *(text_part(words, against=True) for words in avoid))


def text_part(words: str, *, against: bool = False) -> Part:
    """Words with their weight; `against` for what is not wanted."""
    words, weight = _weighted(words)
    if against:
        return Part("text", words, -(AVOID_WEIGHT if weight is None else weight))
    return Part("text", words, 1.0 if weight is None else weight)


def file_part(kind: str, file: str) -> Part:
    """A picture or a video with its weight; a name that has a ^ in it is known by its file."""
    name, weight = (file, None) if Path(file).exists() else _weighted(file)
    if not name.strip():
        raise ConfigError("the name of a picture or a video is missing.")
    if "://" not in name and not Path(name).is_file():
        raise DataError(f"there is no {'picture' if kind == 'image' else 'video'} {name}: give the path of a file.")
    return Part(kind, name, 1.0 if weight is None else weight)


def _weighted(text: str) -> tuple[str, float | None]:
    match = _WEIGHT.fullmatch(text)
    return (match[1], float(match[2])) if match else (text, None)

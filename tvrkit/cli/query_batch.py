"""Many questions from a file: one a line, in words or as JSON, answered in batches."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvrkit.cli import output
from tvrkit.cli.answers import json_of, print_answer, tell_confidence, title_of
from tvrkit.cli.asking import nothing_allowed
from tvrkit.cli.query_parts import parse_parts
from tvrkit.cli.query_where import parse_where
from tvrkit.errors import ConfigError, DataError, TvrkitError
from tvrkit.index.ask import Ask, Part, Where

if TYPE_CHECKING:
    from tvrkit.cli.asking import Session

AT_ONCE = 64
"""Questions that are encoded together; their answers are printed before the next are looked at."""

_TEXTS = ("longer", "shorter", "after", "before")
_LISTS = ("also", "image", "like", "avoid", "in")
_NUMBERS = ("top", "moments")
_KEYS = ("query", *_LISTS, *_TEXTS, *_NUMBERS)


def read_asks(file: str, make: Callable[..., Ask], avoid: tuple[Part, ...], where: Where) -> list[Ask]:
    """The questions in a file; empty lines are passed over.

    A line that begins with { is a JSON object whose keys are the names of the options: {"query": "a dog", "avoid":
    ["people"], "in": ["./clips"], "longer": "1m", "top": 3}.

    Args:
        file: its name, or - for stdin.
        make: makes a question of parts, where, and what else the line says (top, moments).
        avoid: what none of them wants.
        where: among which videos, where a line does not say.

    Raises:
        DataError: the file cannot be read, has no question, or a line is wrong.
    """
    lines = _lines(file)
    asks = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            asks.append(_ask(line.strip(), make, avoid, where))
        except TvrkitError as error:
            raise DataError(f"--queries {file}, line {number}: {error}") from None
    if not asks:
        raise DataError(f"--queries {file}: there is no question in it, one a line.")
    return asks


def answer_all(session: Session, asks: list[Ask], *, as_json: bool, explain: bool, least: float | None) -> int:
    """Answer questions in order, and print each answer; how many have a hit."""
    found = 0
    for first in range(0, len(asks), AT_ONCE):
        some = asks[first : first + AT_ONCE]
        for number, (ask, answer) in enumerate(zip(some, session.search(some, least), strict=True), start=first + 1):
            found += bool(answer.hits)
            explanations = session.explain_all(ask, answer) if explain else {}
            if as_json:
                output.print_json(
                    {
                        "query": title_of(ask),
                        "number": number,
                        "confident": answer.confident,
                        "threshold": answer.threshold,
                        "hits": [json_of(hit, answer, explanations.get(hit.rank)) for hit in answer.hits],
                    }
                )
                continue
            click.echo(f"{number}. {output.printable(title_of(ask))}")
            if answer.hits:
                tell_confidence(answer)
                print_answer(answer, explanations)
            else:
                output.say("Nothing is that sure." if answer.videos else f"Nothing: {nothing_allowed(ask)}")
                click.echo()
    return found


def _lines(file: str) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"--queries {file}: {error.strerror or error}.") from None
    try:
        return data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"--queries {file}, line {line}: it is no UTF-8; save the file as UTF-8.") from None


def _ask(line: str, make: Callable[..., Ask], avoid: tuple[Part, ...], where: Where) -> Ask:
    if not line.startswith("{"):
        return make((*parse_parts(line), *avoid), where)
    said = _object(line)
    lists = {key: _texts(key, said.get(key, ())) for key in _LISTS}
    texts = {key: _text(key, said.get(key)) for key in _TEXTS}
    numbers = {key: _number(key, said[key]) for key in _NUMBERS if key in said}
    query = _text("query", said.get("query"))
    parts = parse_parts(query, lists["also"], lists["image"], lists["like"], lists["avoid"])
    own = parse_where(lists["in"], texts["longer"], texts["shorter"], texts["after"], texts["before"])
    changed = {name: value for name, value in vars(own).items() if value not in (None, ())}
    return make((*parts, *avoid), replace(where, **changed), **numbers)


def _object(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"it begins with {{ and is no JSON ({error}).") from None
    for key in said:
        if key not in _KEYS:
            raise ConfigError(f"there is no key {key!r}; there are {', '.join(_KEYS)}.")
    return dict(said)


def _texts(key: str, value: Any) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(text, str) for text in values):
        raise ConfigError(f"{key} must be a text, or a list of texts.")
    return tuple(values)


def _text(key: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and key in _TEXTS:
        return str(value)
    raise ConfigError(f"{key} must be a text.")


def _number(key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key} must be a whole number, at least 1.")
    return value

"""From the JSON of a request to a question, strictly: what is not understood is refused, never guessed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvrkit.errors import ConfigError
from tvrkit.index.ask import AVOID_WEIGHT, KINDS, Ask, Part, Where
from tvrkit.index.where import parse_date
from tvrkit.serve.refusal import Refusal

MOST_CHARACTERS = 2000
MOST_PARTS = 16
MOST_PLACES = 64
MOST_VIDEOS = 200
MOST_MOMENTS = 20
MOST_SECONDS = 1e9

_KEYS = ("query", "parts", "avoid", "in", "min_seconds", "max_seconds", "after", "before", "top", "moments")

Resolve = Callable[[str, str], str]
"""Kind (`image` or `video`) and value to what a `Part` of that kind holds; raises Refusal."""


def read_question(body: bytes, resolve: Resolve) -> Ask:
    """The question in the body of `POST /api/search`.

    Args:
        body: JSON.
        resolve: finds pictures and videos.

    Raises:
        Refusal: 422, with one sentence on what is wrong.
    """
    question = _object(_parse(body), _KEYS, "the question")
    parts = [Part("text", _words(question["query"], "query"))] if "query" in question else []
    for entry in _list(question.get("parts", []), "parts", MOST_PARTS):
        parts.append(_part(entry, resolve))
    for words in _list(question.get("avoid", []), "avoid", MOST_PARTS):
        parts.append(Part("text", _words(words, "avoid"), -AVOID_WEIGHT))
    if not parts:
        raise _no('the question is empty: give "query", or "parts".')
    where = Where(
        inside=tuple(_place(place) for place in _list(question.get("in", []), "in", MOST_PLACES)),
        min_seconds=_number(question, "min_seconds", 0, MOST_SECONDS),
        max_seconds=_number(question, "max_seconds", 0, MOST_SECONDS),
        after=_date(question, "after"),
        before=_date(question, "before"),
    )
    top = _count(question, "top", 10, MOST_VIDEOS)
    moments = _count(question, "moments", 3, MOST_MOMENTS)
    try:
        return Ask(tuple(parts), where, top, moments)
    except ConfigError as error:
        raise _no(str(error)) from None


def read_number(parameters: Mapping[str, str], name: str, least: float, most: float, default: float | None) -> float:
    """A number of the address, as `?at=1.5`.

    Raises:
        Refusal: 422, it is missing, no number, or out of range.
    """
    text = parameters.get(name)
    if text is None:
        if default is None:
            raise _no(f"{name} is missing: give it, as in ?{name}=1.")
        return default
    try:
        value = float(text) if len(text) <= 40 and text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not least <= value <= most:  # NaN is not
        raise _no(f"{name} must be a number from {least:g} to {most:g}.")
    return value


def read_words(parameters: Mapping[str, str], name: str) -> str:
    """Words of the address, as `?query=a+dog`.

    Raises:
        Refusal: 422, they are missing or too long.
    """
    if name not in parameters:
        raise _no(f"{name} is missing: give it, as in ?{name}=a+dog.")
    return _words(parameters[name], name)


def only(parameters: Mapping[str, str], names: Sequence[str]) -> None:
    """Refuse parameters of the address that mean nothing.

    Raises:
        Refusal: 422.
    """
    for name in parameters:
        if name not in names:
            raise _no(f"there is no parameter {_shown(name)}; known here: {', '.join(names) or 'none'}.")


def _parse(body: bytes) -> Any:
    def no_constant(word: str) -> Any:
        raise _no(f"{word} is no number that JSON has.")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise _no("a key stands there twice.")
        return made

    try:
        return json.loads(body.decode("utf-8"), parse_constant=no_constant, object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise _no('the body is no JSON: send an object such as {"query": "a dog surfing"}.') from None


def _part(entry: Any, resolve: Resolve) -> Part:
    part = _object(entry, ("kind", "value", "weight"), "a part")
    kind = part.get("kind")
    if kind not in KINDS:
        raise _no(f"the kind of a part must be one of {', '.join(KINDS)}.")
    value = _words(part.get("value"), "the value of a part")
    weight = _number(part, "weight", -1000, 1000)
    try:
        return Part(kind, value if kind == "text" else resolve(kind, value), 1.0 if weight is None else weight)
    except ConfigError as error:
        raise _no(str(error)) from None


def _object(value: Any, keys: Sequence[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _no(f"{what} must be an object.")
    for key in value:
        if key not in keys:
            raise _no(f"{what} has no key {_shown(key)}; known there: {', '.join(keys)}.")
    return value


def _list(value: Any, name: str, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise _no(f"{name} must be a list of at most {most}.")
    return value


def _words(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MOST_CHARACTERS:
        raise _no(f"{name} must be a text of 1 to {MOST_CHARACTERS} characters.")
    if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise _no(f"{name} holds half a character (a lone surrogate).")
    return value


def _place(value: Any) -> str:
    # Names of files may be no text: /api/folders writes such bytes as lone surrogates, and here they come back.
    if not isinstance(value, str) or not 0 < len(value) <= 2 * MOST_CHARACTERS or "\0" in value:
        raise _no("in must be a list of folders, files or addresses.")
    if not value.startswith("/") and "://" not in value and value[1:2] != ":":
        raise _no("a place in `in` must be an absolute path or an address, as /api/folders lists them.")
    return value


def _number(values: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    if name not in values:
        return None
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise _no(f"{name} must be a number from {least:g} to {most:g}.")
    return float(value)


def _count(values: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= most or value % 1:
        raise _no(f"{name} must be a whole number from 1 to {most}.")
    return int(value)


def _date(values: Mapping[str, Any], name: str) -> float | None:
    if name not in values:
        return None
    value = values[name]
    try:
        if isinstance(value, str) and len(value) <= 40:
            return parse_date(value)
    except ConfigError:
        pass
    raise _no(f"{name} must be a date: 2024, 2024-05, 2024-05-31, a time 2024-05-31T18:00, or an age as 7d.")


def _shown(key: str) -> str:
    return ascii(key if len(key) <= 40 else f"{key[:40]}…")


def _no(sentence: str) -> Refusal:
    return Refusal(422, sentence)

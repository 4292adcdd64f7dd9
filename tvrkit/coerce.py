"""Turning mappings that people wrote (YAML, `--set`) into checked dataclasses, with errors that name the way out."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tvrkit.errors import ConfigError


def build_dataclass(cls: Any, tree: Any, prefix: str = "") -> Any:
    """Build `cls` from nested mappings; missing keys take their defaults.

    Raises:
        ConfigError: an unknown key (the nearest known one is named) or a value of the wrong type.
    """
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{prefix.rstrip('.') or 'the config'} must be a section of keys, not {tree!r}.")
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in tree.items():
        if key not in hints:
            raise ConfigError(f"there is no setting {prefix}{key}{nearest(str(key), list(hints), prefix)}")
        if dataclasses.is_dataclass(hints[key]):
            values[key] = build_dataclass(hints[key], value, f"{prefix}{key}.")
        else:
            values[key] = coerce(value, hints[key], f"{prefix}{key}")
    return cls(**values)


def coerce(value: Any, hint: Any, key: str) -> Any:
    """`value` as the type `hint` (a plain type, a Literal, a union, a tuple, a dict).

    Raises:
        ConfigError: it is of another type; the message names `key` and what it takes.
    """
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _first_that_fits(value, options, hint, key)
    if origin is Literal:
        return _one_of(value, options, key)
    if origin in (tuple, dict):
        if (several := _several(value, origin, options, key)) is not None:
            return several
    elif hint is type(None):
        if value is None:
            return None
    elif hint is float:
        number = _number(value)
        if number is not None:
            return number
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{key} must be {_words(hint)}, not {value!r}.")


def nearest(word: str, known: Sequence[Any], prefix: str = "") -> str:
    """End of a sentence about an unknown word: the known one that is most like it, or all of them."""
    match = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.5)
    return f": did you mean {prefix}{match[0]}?" if match else f"; there are {', '.join(map(str, known))}."


def _several(value: Any, origin: Any, options: tuple[Any, ...], key: str) -> Any:
    """A tuple or a mapping of coerced items; None where the value is no such thing, or of another length."""
    if origin is dict:
        if not isinstance(value, Mapping):
            return None
        return {coerce(k, options[0], key): coerce(item, options[1], f"{key}.{k}") for k, item in value.items()}
    if not isinstance(value, (list, tuple)):
        return None
    if options[-1] is Ellipsis:
        options = (options[0],) * len(value)
    if len(value) != len(options):
        return None
    return tuple(coerce(item, option, key) for item, option in zip(value, options, strict=True))


def _first_that_fits(value: Any, options: tuple[Any, ...], hint: Any, key: str) -> Any:
    for option in options:
        try:
            return coerce(value, option, key)
        except ConfigError:
            continue
    raise ConfigError(f"{key} must be {_words(hint)}, not {value!r}.")


def _one_of(value: Any, options: tuple[Any, ...], key: str) -> Any:
    if value in options and not isinstance(value, bool):
        return value
    ending = nearest(str(value), options)
    if ending.startswith(";"):
        ending = "."
    raise ConfigError(f"{key} must be one of {', '.join(map(str, options))}, not {value!r}{ending}")


def _number(value: Any) -> float | None:
    # PyYAML takes 1e-5 (no dot) for text.
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _words(hint: Any) -> str:
    options, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin is Literal:
        return " or ".join(map(str, options))
    if origin is tuple:
        if options[-1] is not Ellipsis:
            return f"a list of {len(options)} numbers"
        words = typing.get_args(options[0])
        return f"a list of {', '.join(map(str, words)) if words else _words(options[0]) + 's'}"
    if origin is dict:
        return f"keys with {_words(options[1])} each"
    if options:
        return " or ".join(_words(option) for option in options)
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}[hint]

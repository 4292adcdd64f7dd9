"""Parameters by name: settings name some of them by patterns, as `temporal.*` or `backbone.clip.visual.conv1.*`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from tvrkit.errors import ConfigError


def named_parameters(model: nn.Module, extra: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    """Full name and parameter of everything that could be trained.

    Args:
        model: its parameters go by their own names.
        extra: modules that only training has, by the prefix of their parameters' names.
    """
    yield from model.named_parameters()
    for prefix, module in extra.items():
        for name, parameter in module.named_parameters():
            yield f"{prefix}.{name}", parameter


def last_match(name: str, patterns: Iterable[str]) -> str | None:
    """The last of the patterns that a parameter's name matches; `*` stands for any characters, dots too."""
    found = None
    for pattern in patterns:
        if fnmatchcase(name, pattern):
            found = pattern
    return found


def check_patterns(setting: str, patterns: Iterable[str], names: Sequence[str]) -> None:
    """Make sure that each pattern matches some name.

    Raises:
        ConfigError: one matches none; the nearest that would match something is named.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"{setting}: no parameter is called {pattern!r}{_nearest(pattern, names)}")


def _nearest(pattern: str, names: Sequence[str]) -> str:
    modules = {".".join(name.split(".")[:i]) + ".*" for name in names for i in range(1, name.count(".") + 1)}
    known = sorted(modules) + sorted(names)
    # A module's name alone is the likeliest slip.
    close = [f"{pattern}.*"] if f"{pattern}.*" in modules else difflib.get_close_matches(pattern, known, n=1)
    if close:
        return f": did you mean {close[0]}?"
    return f"; there are {', '.join(sorted({name.split('.')[0] + '.*' for name in names}))}."

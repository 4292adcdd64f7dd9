"""Options that several commands share, each under one name and with one meaning.

They arrive in the callback as `data`, `model`, `as_json`, `reader`, `workers`, `timeout` and `device`.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, TypeVar

import click

from tvrkit.config import Reader
from tvrkit.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])


def data_option(function: F) -> F:
    """`--data`: a prepared data set (callback: `data: str | None`)."""
    return click.option(
        "--data",
        metavar="NAME|PATH",
        help="A prepared data set, or the path of its manifest.  [default: the only one prepared]",
    )(function)


def model_option(function: F) -> F:
    """`--model`: anything that `load_model` takes (callback: `model: str | None`)."""
    return click.option(
        "--model",
        metavar="MODEL",
        help="An exported folder, a run, an open_clip NAME/TAG (as ViT-B-32/openai), or NAME=FILE.",
    )(function)


def json_option(function: F) -> F:
    """`--json`: machine-readable output on stdout (callback: `as_json: bool`)."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, all else on stderr.")(function)


def reader_option(function: F) -> F:
    """`--reader`: which decoder reads videos (callback: `reader: str`)."""
    return click.option(
        "--reader",
        type=click.Choice(typing.get_args(Reader)),
        default="auto",
        show_default=True,
        help="What reads videos: auto takes PyAV, and decord where PyAV cannot open a file.",
    )(function)


def workers_option(function: F) -> F:
    """`--workers`: processes that decode (callback: `workers: int`)."""
    return click.option(
        "--workers",
        type=click.IntRange(min=0),
        default=2,
        show_default=True,
        help="Processes that read videos; 0 reads in this one.",
    )(function)


def timeout_option(function: F) -> F:
    """`--timeout`: seconds that one video may take (callback: `timeout: float`)."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Longest that reading one video may take.",
    )(function)


def device_option(function: F) -> F:
    """`--device`: where the model runs (callback: `device: str`, to be given to `choose_device`)."""
    return click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, mps …; auto takes a GPU where there is one.",
    )(function)


def choose_device(word: str) -> str:
    """The device that `--device` means, checked to be there. Imports torch.

    Raises:
        ConfigError: torch has no such device here.
    """
    import torch

    mps = torch.backends.mps.is_available()
    if word == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    there = ["cpu", *(["mps"] if mps else []), *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if word in there or (word == "cuda" and torch.cuda.is_available()):
        return word
    raise ConfigError(f"--device {word}: this torch sees no such device; it has {', '.join(there)}.")

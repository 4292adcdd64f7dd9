"""`tvrkit demo`: the whole way on the built-in videos, each step the very command that a user would type."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tvrkit.cli.output import clock, print_table, say
from tvrkit.errors import TvrkitError

# The baseline that the paper starts from: one mean vector a video, one a caption, InfoNCE. Same steps, same data.
BASELINE = ("model.interaction=dot_product", "model.key_words=false", "model.nearest_frame=false", "loss.name=info_nce")
QUESTION = "a small red circle moves left"
STEPS = (
    ("Render the built-in videos and their captions", "prepare shapes"),
    ("Train the baseline: InfoNCE, mean pooling", f"train --preset tiny {' '.join(f'--set {s}' for s in BASELINE)}"),
    ("Evaluate it on the test split", "eval"),
    ("Train the model: words meet frames", "train --preset tiny"),
    ("Evaluate it on the same test split", "eval"),
    ("Export it", "export --out shapes-model"),
    ("Ask for a video", f"query {shlex.quote(QUESTION)} --videos data/shapes --model shapes-model --page found.html"),
)


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="tvrkit-demo",
    show_default=True,
    help="Folder to work in; made if it is not there.",
)
def command(out: Path) -> None:
    """Show the whole way, from nothing to an answered question.

    Renders the built-in videos, trains a small model on them beside its baseline, evaluates both, exports the model
    and asks it for a video. Every step is a plain command, shown before it runs.

    \b
    Example:
      tvrkit demo --out ./tvrkit-demo
    """
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    say(f"$ cd {shlex.quote(str(out))}")
    with _working_in(out):
        times = [_step(number, words, line) for number, (words, line) in enumerate(STEPS, start=1)]
    say("")
    print_table(("step", "time"), [(words, clock(spent)) for (words, _), spent in zip(STEPS, times, strict=True)])
    say(f"All of it took {clock(time.monotonic() - started)}.")


def _step(number: int, words: str, line: str) -> float:
    from tvrkit.cli import cli

    say(f"\n[{number}/{len(STEPS)}] {words}\n$ tvrkit {line}")
    started = time.monotonic()
    code = cli.main(args=shlex.split(line), prog_name="tvrkit", standalone_mode=False)
    if code:
        raise TvrkitError(f"the demo stopped at `tvrkit {line}`, which ended with exit code {code}.")
    return time.monotonic() - started


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """The commands find and leave everything in `folder`, whatever the environment says."""
    before = Path.cwd()
    kept = {name: os.environ.pop(name) for name in ("TVRKIT_DATA", "TVRKIT_RUNS") if name in os.environ}
    if kept:
        say(f"$ unset {' '.join(kept)}")
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.update(kept)

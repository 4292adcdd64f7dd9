"""`tvrkit demo`: the whole way on the built-in videos, each step the very command that a user would type."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tvrkit.cli.output import clock, print_table, say
from tvrkit.errors import TvrkitError

# Words that the test captions do not use, for the clip whose caption is
# "a small purple circle moves up then a big blue circle moves up".
QUESTION, ANSWER = "a little violet ball slides upwards before a huge blue ball goes up", "test-0009.mp4"
MODEL, PAGE = "shapes-model", "found.html"
# What every new idea in this field has to beat: one mean vector a video, one vector a caption, InfoNCE.
BASELINE = "--set model.interaction=dot_product --set model.temporal=mean"
STEPS = (
    ("Render the built-in videos, with captions", "prepare shapes"),
    ("Train the baseline: mean pooling, InfoNCE", f"train --preset tiny {BASELINE}"),
    ("Evaluate the baseline", "eval"),
    ("Train the model: every word meets every frame", "train --preset tiny"),
    ("Evaluate the model", "eval"),
    ("Export it", f"export --out {MODEL}"),
    ("Learn how sure its answers are", f"calibrate --model {MODEL}"),
    ("Ask it", f'query "{QUESTION}" --videos data/shapes/videos/test --model {MODEL} --top 5 --page {PAGE}'),
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

    Renders the built-in videos, trains a small model on them beside its baseline, evaluates both on videos that
    neither has seen, exports the model, learns how sure its answers are and asks it for a video. Every step is a
    plain command, shown before it runs.

    \b
    Example:
      tvrkit demo --out ./tvrkit-demo
    """
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    times, measured = [], []
    with _working_in(out):
        for number, (words, line) in enumerate(STEPS, start=1):
            times.append(_step(number, words, line))
            if line == "eval":
                measured.append(_newest_numbers())
        _summary(times, measured)
    say(f"\nAll of it took {clock(time.monotonic() - started)}; it lies in {out}.")


def _step(number: int, words: str, line: str) -> float:
    from tvrkit.cli import cli

    say(f"\n[{number}/{len(STEPS)}] {words}\n$ tvrkit {line}")
    started = time.monotonic()
    code = cli.main(args=shlex.split(line), prog_name="tvrkit", standalone_mode=False)
    if isinstance(code, int) and code:
        raise TvrkitError(f"the demo stopped at `tvrkit {line}`, which ended with exit code {code}.")
    return time.monotonic() - started


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Let the commands find and leave everything in `folder`, whatever the environment says."""
    before = Path.cwd()
    say(f"$ cd {shlex.quote(str(folder))}")
    kept = {name: os.environ.pop(name) for name in ("TVRKIT_DATA", "TVRKIT_RUNS") if name in os.environ}
    if kept:
        say(f"$ unset {' '.join(kept)}")
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.update(kept)


def _newest_numbers() -> dict[str, Any]:
    """What `tvrkit eval` left in the newest run."""
    from tvrkit.cli.evaluation import EVALUATIONS
    from tvrkit.workspace import runs

    path = runs()[-1] / EVALUATIONS / "shapes-test.json"
    numbers: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return numbers | {"run": runs()[-1].name}


def _summary(times: list[float], measured: list[dict[str, Any]]) -> None:
    say("")
    print_table(("step", "time"), [(words, clock(spent)) for (words, _), spent in zip(STEPS, times, strict=True)])
    queries, gallery = measured[0]["t2v"]["queries"], measured[0]["t2v"]["gallery"]
    rows = []
    for name, numbers in zip(("baseline", "model"), measured, strict=True):
        t2v, hard = numbers["t2v"], numbers["hard"]
        recalls = (f"{t2v[key]:.1f}" for key in ("R@1", "R@5", "R@10"))
        rows.append((name, *recalls, f"{t2v['MdR']:g}", f"{hard['caption_chosen']:.1f}", numbers["run"]))
    print_table(
        ("t2v", "R@1", "R@5", "R@10", "MdR", "edits", "run"),
        rows,
        title=f"{queries} captions, {gallery} unseen videos; edits: % of captions that beat every one-word edit",
    )
    say(f"The clip asked for is {ANSWER}. Open {PAGE} in a browser to see what was found.")
    say("One seed each; docs/evidence.md tells what each part of the method brings, with several.")

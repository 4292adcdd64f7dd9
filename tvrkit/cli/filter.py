"""`tvrkit filter`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvrkit.cli import output
from tvrkit.cli.opening import index_option, open_for_search, update_index
from tvrkit.cli.options import (
    device_option,
    json_option,
    model_option,
    reader_option,
    timeout_option,
    workers_option,
)
from tvrkit.errors import ConfigError, DataError
from tvrkit.frames.reading import Reading

if TYPE_CHECKING:
    from tvrkit.index.filtering import Verdict
    from tvrkit.index.transfer import Transfer

SHOWN = 10


@dataclass(frozen=True)
class Judged:
    """One file of the folder, what is said of it, and where it would go; None where it stays."""

    path: Path
    verdict: Verdict
    target: Path | None


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="DIR")
@click.option("--keep", multiple=True, metavar="WORDS", help="What a video must show; repeatable, one is enough.")
@click.option("--drop", multiple=True, metavar="WORDS", help="What it must not show more than that; repeatable.")
@click.option("--copy-to", type=click.Path(path_type=Path), metavar="DIR", help="Copy what is kept to this folder.")
@click.option("--move-to", type=click.Path(path_type=Path), metavar="DIR", help="Move what is kept to this folder.")
@click.option("--yes", is_flag=True, help="Do it; else only what would be done is shown.")
@click.option(
    "--threshold",
    type=click.FloatRange(min=0, max=1),
    metavar="P",
    help="Confidence that is enough.  [default: the calibrated one]",
)
@click.option("--undo", type=click.Path(path_type=Path), metavar="LOG", help="Move back what a log of moves says.")
@json_option
@index_option
@model_option
@device_option
@workers_option
@reader_option
@timeout_option
def command(folder: Path | None, **options: Any) -> None:
    """Sort a folder of videos by words.

    Lists the videos of which it is likely that they show what is wanted, and more so than what is not. --copy-to and
    --move-to keep the folders within DIR and never overwrite a file. docs/curating.md says more.

    \b
    Examples:
      tvrkit filter ./clips --keep "a dog" --drop "a cartoon"
      tvrkit filter ./clips --keep "a dog" --move-to ./dogs --yes
    """
    if options["undo"] is not None:
        _undo(folder, options)
        return
    root, target = _check(folder, options)
    reading = Reading(options["workers"], options["reader"], options["timeout"])
    with open_for_search(options["index"], options["model"], options["device"], places=[str(root)]) as opened:
        update_index(opened, [str(root)], reading=reading)
        assert opened.index is not None
        from tvrkit.index.confidence import load_judge
        from tvrkit.index.filtering import judge_videos

        judge = load_judge(opened.model, opened.source)
        facts = opened.engine.facts()
        files = [row for row in opened.index.files([str(root)]) if row.identity in facts]
        identities = list(dict.fromkeys(row.identity for row in files))
        with output.progress("Judging moments", sum(facts[one].moments for one in identities)) as bar:
            verdicts = judge_videos(
                opened.model,
                opened.engine,
                judge,
                keep=options["keep"],
                drop=options["drop"],
                identities=identities,
                threshold=options["threshold"],
                on_progress=bar.advance,
            )
    threshold = judge.threshold if options["threshold"] is None else options["threshold"]
    judged = [_judged(Path(row.path), verdicts[row.identity], root, target) for row in files]
    judged.sort(key=lambda one: (not one.verdict.kept, -one.verdict.keep, str(one.path)))
    mode = "move" if options["move_to"] else "copy" if target else None
    calibrated = judge.calibration.learned_on
    _show(judged, mode, threshold, calibrated, options["as_json"])
    if not calibrated and options["threshold"] is None:
        output.warn(
            "this model was not calibrated, so the confidence is a guess: `tvrkit calibrate` learns it from captioned"
            " videos, or set --threshold by looking at the list."
        )
    _carry_out(judged, mode, target, done=options["yes"])


def _check(folder: Path | None, options: dict[str, Any]) -> tuple[Path, Path | None]:
    """The folder, and where what is kept goes, both absolute.

    Raises:
        ConfigError: options are missing or contradict each other.
        DataError: there is no such folder.
    """
    if folder is None:
        raise ConfigError('say which folder to sort, as in `tvrkit filter ./clips --keep "a dog"`.')
    if not options["keep"] or not all(words.strip() for words in (*options["keep"], *options["drop"])):
        raise ConfigError('say what to keep, as in --keep "a dog"; --keep and --drop must not be empty.')
    if options["copy_to"] is not None and options["move_to"] is not None:
        raise ConfigError("--copy-to and --move-to: choose one.")
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}.")
    target: Path | None = options["copy_to"] or options["move_to"]
    if options["yes"] and target is None:
        raise ConfigError("--yes belongs to --copy-to or --move-to.")
    root = Path(os.path.abspath(folder))
    if target is None:
        return root, None
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file: what is kept needs a folder.")
    real, inside = target.resolve(), root.resolve()
    if real == inside or inside in real.parents:
        raise ConfigError(f"{target} lies in {folder} itself: what is kept needs a folder outside.")
    return root, Path(os.path.abspath(target))


def _judged(path: Path, verdict: Verdict, root: Path, target: Path | None) -> Judged:
    goes = target is not None and verdict.kept
    return Judged(path, verdict, target / path.relative_to(root) if goes and target is not None else None)


def _show(judged: Sequence[Judged], mode: str | None, threshold: float, calibrated: str, as_json: bool) -> None:
    kept = [one for one in judged if one.verdict.kept]
    if as_json:
        output.print_json(
            {
                "threshold": threshold,
                "calibrated_on": calibrated or None,
                "mode": mode,
                "kept": len(kept),
                "files": [_plain(one) for one in judged],
            }
        )
        return
    from tvrkit.cli.updating import one_line

    rows = [
        (
            "keep" if one.verdict.kept else "-",
            f"{one.verdict.keep:.2f}",
            f"{one.verdict.margin:+.2f}",
            one_line(str(one.path)),
        )
        for one in judged
    ]
    output.print_table(("", "Confidence", "Margin", "File"), rows)
    source = f"calibrated on {calibrated}" if calibrated else "built in"
    output.say(f"{len(kept)} of {len(judged)} videos are kept: confidence {threshold:g} or more ({source}).")


def _plain(one: Judged) -> dict[str, Any]:
    verdict = one.verdict
    return {
        "path": str(one.path),
        "kept": verdict.kept,
        "keep": verdict.keep,
        "drop": verdict.drop,
        "margin": verdict.margin,
        "target": None if one.target is None else str(one.target),
    }


def _carry_out(judged: Sequence[Judged], mode: str | None, target: Path | None, *, done: bool) -> None:
    """Copy or move what is kept, or say how.

    Raises:
        DataError: some files stay where they are.
    """
    from tvrkit.index.transfer import Transfer, transfer_all

    items = [Transfer(one.path, one.target) for one in judged if one.target is not None]
    if mode is None or target is None or not items:
        return
    if not done:
        output.say(f"Nothing is changed yet: --yes will {mode} {len(items)} files to {target}.")
        return
    log = target / f"tvrkit-moves-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.jsonl" if mode == "move" else None
    _run(items, mode, log, lambda advance: transfer_all(items, mode, log, advance))
    if log is not None and log.exists():
        output.say(f"To move them back: tvrkit filter --undo {log}")


def _undo(folder: Path | None, options: dict[str, Any]) -> None:
    from tvrkit.index.transfer import transfer_all, undoing

    others = ("keep", "drop", "copy_to", "move_to", "threshold")
    if folder is not None or any(options[name] for name in others):
        raise ConfigError("--undo LOG stands alone.")
    items = undoing(options["undo"])
    if not items:
        output.say("Nothing of it is left to move back.")
        return
    _run(items, "move", None, lambda advance: transfer_all(items, "move", None, advance))


def _run(items: Sequence[Transfer], mode: str, log: Path | None, work: Any) -> None:
    words = {"copy": "Copying", "move": "Moving"}[mode]
    with output.progress(words, len(items)) as bar:
        count, stayed = work(bar.advance)
    output.say(f"{count} of {len(items)} files: {mode} done.")
    for path, reason in list(stayed.items())[:SHOWN]:
        output.say(f"  {path}: {reason}")
    if stayed:
        raise DataError(f"{len(stayed)} of {len(items)} files stay where they are: see above.")

"""`tvrkit query`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvrkit.cli import output
from tvrkit.cli.opening import index_option, open_for_search
from tvrkit.cli.options import (
    device_option,
    json_option,
    model_option,
    reader_option,
    timeout_option,
    workers_option,
)
from tvrkit.cli.query_parts import parts_options
from tvrkit.cli.query_where import where_options
from tvrkit.cli.updating import update_index
from tvrkit.errors import ConfigError, DataError
from tvrkit.frames.reading import Reading
from tvrkit.index.ask import Ask, Part, Where, as_absolute

if TYPE_CHECKING:
    from tvrkit.cli.asking import Session


@dataclass(frozen=True)
class _Shape:
    """How answers are given."""

    as_json: bool
    page: Path | None
    explain: bool
    cut: Path | None
    cut_mode: str
    open_best: bool
    min_confidence: float | None


@click.command()
@parts_options
@click.option(
    "--videos",
    multiple=True,
    metavar="PLACE",
    help="Bring the index up to date with this folder, file or address, and search there; repeatable."
    "  [default: search all that is indexed]",
)
@index_option
@where_options
@click.option("--queries", metavar="FILE", help="Many questions, one a line; - reads stdin.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="Most videos.")
@click.option(
    "--moments", type=click.IntRange(min=1), default=3, show_default=True, metavar="N", help="Most moments of each."
)
@click.option(
    "--candidates",
    type=click.IntRange(min=1),
    metavar="N",
    help="Moments that are looked at in full.  [default: at least 400]",
)
@click.option("--exact", is_flag=True, help="Look at all of them in full.")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Leave out what is less sure than this, 0 to 1.",
)
@json_option
@click.option("--page", type=click.Path(path_type=Path), metavar="FILE", help="Write the answer as an HTML page, too.")
@click.option("--explain", is_flag=True, help="Show which word met which frame.")
@click.option("--cut", type=click.Path(path_type=Path), metavar="DIR", help="Write the moments as clips of their own.")
@click.option(
    "--cut-mode",
    type=click.Choice(["auto", "copy", "encode"]),
    default="auto",
    show_default=True,
    help="Copy, which is fast and begins at the keyframe before, or encode anew from the exact start; auto copies where"
    " that begins at most half a second early.",
)
@click.option("--open", "open_best", is_flag=True, help="Play the best video from its best moment.")
@model_option
@device_option
@workers_option
@reader_option
@timeout_option
@click.option("--retry-failed", is_flag=True, help="With --videos: try again what could not be read before.")
@click.option("--rebuild", is_flag=True, help="With --videos: encode all of them anew.")
def command(
    parts: tuple[Part, ...],
    videos: tuple[str, ...],
    index: str | None,
    where: Where,
    queries: str | None,
    top: int,
    moments: int,
    candidates: int | None,
    exact: bool,
    model: str | None,
    device: str,
    workers: int,
    reader: str,
    timeout: float,
    retry_failed: bool,
    rebuild: bool,
    **shape: Any,
) -> int:
    """Find videos by words.

    With --videos, what is new or changed there is encoded first, which takes a while; later questions are answered
    from the index, with or without --videos. ^2 behind a text or a file is its weight. docs/search.md says more.

    \b
    Example:
      tvrkit query "a dog surfing" --videos ./clips
      tvrkit query "a dog^2" --also "at night" --avoid people --in ./clips
    """
    given = _Shape(**shape)
    _check(parts, queries, given, updates=bool(videos), forced=retry_failed or rebuild)
    if videos and not where.inside:
        where = replace(where, inside=tuple(map(as_absolute, videos)))
    make = partial(_ask, top=top, moments=moments, candidates=candidates, exact=exact)
    asks = [make(parts, where)] if queries is None else _read(queries, make, parts, where)
    reading = Reading(workers, reader, timeout)
    with open_for_search(index, model, device, places=videos) as opened:
        if videos:
            update_index(opened, videos, reading=reading, retry_failed=retry_failed, rebuild=rebuild)
        from tvrkit.cli.asking import Session

        session = Session(opened, reading)
        if queries is None:
            return _answer(session, asks[0], given)
        from tvrkit.cli.query_batch import answer_all

        least = given.min_confidence
        return 0 if answer_all(session, asks, as_json=given.as_json, explain=given.explain, least=least) else 1


def _check(parts: tuple[Part, ...], queries: str | None, shape: _Shape, *, updates: bool, forced: bool) -> None:
    """Refuse what cannot lead to an answer before anything slow is begun."""
    wanted = any(part.weight > 0 for part in parts)
    if wanted == (queries is not None):
        raise ConfigError(
            'say what to look for: words, as in `tvrkit query "a dog surfing"`, or --image, --like or --queries FILE.'
        )
    if queries is not None and (shape.page or shape.cut or shape.open_best):
        raise ConfigError("--page, --cut and --open are for one question, not for --queries.")
    if forced and not updates:
        raise ConfigError("--retry-failed and --rebuild need --videos PLACE, or take `tvrkit index`.")
    page = shape.page
    if page is not None and (page.is_dir() or not page.absolute().parent.is_dir()):
        raise DataError(f"--page {page}: it must be a file in a folder that is there.")
    if shape.cut is not None and shape.cut.exists() and not shape.cut.is_dir():
        raise DataError(f"--cut {shape.cut}: it must be a folder.")
    if shape.explain and queries is None and not any(part.kind == "text" and part.weight > 0 for part in parts):
        raise ConfigError("--explain needs words: a picture or a video has none.")


def _read(queries: str, make: Any, parts: tuple[Part, ...], where: Where) -> list[Ask]:
    from tvrkit.cli.query_batch import read_asks

    return read_asks(queries, make, parts, where)


def _ask(parts: tuple[Part, ...], where: Where, **settings: Any) -> Ask:
    return Ask(parts, where, **settings)


def _answer(session: Session, ask: Ask, shape: _Shape) -> int:
    """Search, and give the answer in every form that is wanted."""
    from tvrkit.cli import answers

    answer = session.search_one(ask, shape.min_confidence)
    if not answer.hits:
        output.say("Nothing is that sure: a lower --min-confidence, or none, shows the nearest.")
        return 1
    explanations = session.explain_all(ask, answer) if shape.explain else {}
    answers.tell_confidence(answer)
    (answers.print_hits if shape.as_json else answers.print_answer)(answer, explanations)
    if shape.page is not None:
        from tvrkit.index.page import write_page

        summary = f"{len(answer.hits)} of {answer.videos} videos, best first. Model: {session.opened.source}"
        write_page(
            shape.page,
            answers.title_of(ask),
            answer,
            summary=summary,
            explanations=explanations,
            reading=session.reading,
        )
        output.say(f"Page: {shape.page}")
    if shape.cut is not None:
        from tvrkit.cli.query_cut import cut_moments

        cut_moments(answer.hits, shape.cut, shape.cut_mode, session.reading.timeout_seconds)
    if shape.open_best:
        from tvrkit.cli.player import play

        best = answer.hits[0]
        output.say(f"Opened with {play(best.path, best.moments[0].start_seconds)}.")
    return 0

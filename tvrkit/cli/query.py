"""`tvrkit query`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.cli.options import (
    choose_device,
    device_option,
    json_option,
    model_option,
    reader_option,
    timeout_option,
    workers_option,
)
from tvrkit.errors import ConfigError, DataError
from tvrkit.frames.reading import Reading
from tvrkit.workspace import cache_folder

if TYPE_CHECKING:
    from tvrkit.core import RetrievalModel
    from tvrkit.index.hits import Hit
    from tvrkit.index.scan import Scan, VideoFile
    from tvrkit.index.videos import VideoIndex

FAILURES_SHOWN = 10


@click.command()
@click.argument("query", required=False)
@click.option(
    "--videos",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    metavar="FOLDER",
    help="Where to search, with all folders below; a single file is fine too; repeatable.",
)
@click.option("--like", type=click.Path(path_type=Path), metavar="FILE", help="Search by a video instead of by words.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="How many to show.")
@json_option
@click.option("--page", type=click.Path(path_type=Path), metavar="FILE", help="Write the answer as an HTML page, too.")
@model_option
@device_option
@workers_option
@reader_option
@timeout_option
@click.option("--retry-failed", is_flag=True, help="Try again what could not be read before.")
@click.option("--rebuild", is_flag=True, help="Encode all of these videos anew.")
def command(
    query: str | None,
    videos: tuple[Path, ...],
    like: Path | None,
    top: int,
    as_json: bool,
    page: Path | None,
    model: str | None,
    device: str,
    workers: int,
    reader: str,
    timeout: float,
    retry_failed: bool,
    rebuild: bool,
) -> None:
    """Find videos by words.

    New and changed videos are encoded first, which takes a while; the next answers come from the cache. Ctrl-C keeps
    what is encoded. Without --model the newest run trained on real videos answers, or else a pretrained model that is
    downloaded once. docs/search.md says more.

    \b
    Example:
      tvrkit query "a dog surfing" --videos ./clips
    """
    _check(query, like, page)
    from tvrkit.index.scan import scan

    memory = cache_folder() / "identities.sqlite"
    found = scan(videos, memory)
    example = _example(like, memory)
    files = list(dict.fromkeys([*found.files, *([example] if example else [])]))
    loaded, source = _load(model, videos, device)

    from tvrkit.index.search import search_text, search_video
    from tvrkit.index.videos import VideoIndex

    reading = Reading(workers, reader, timeout)
    with VideoIndex(loaded, cache_folder() / "index", output.warn) as index:
        if rebuild or retry_failed:
            index.forget(files, failures_only=not rebuild)
        _encode(index, files, found, reading)
        if example is not None:
            _require(index, example)
            hits = search_video(index, example, found.files, top)
        else:
            assert query is not None  # by _check
            _note_cut(loaded, query)
            hits = search_text(loaded, index, query, found.files, top)
    if not hits:
        raise DataError(f"none of the {len(found.files) + len(found.unreadable)} videos can answer: see above.")
    _show(hits, as_json)
    if page is not None:
        from tvrkit.index.page import write_page

        title = query if query is not None else f"Like {like}"
        summary = f"{len(hits)} of {len(found.files)} videos, best first. Model: {source}"
        write_page(page, title, hits, summary=summary, reading=reading)
        output.say(f"Page: {page}")


def _check(query: str | None, like: Path | None, page: Path | None) -> None:
    """Refuse what cannot lead to an answer before anything slow is begun."""
    if (query is None) == (like is None):
        raise ConfigError('say what to look for: either words, as in `tvrkit query "a dog surfing"`, or --like FILE.')
    if query is not None and not query.strip():
        raise ConfigError('the query is empty: say what to look for, as in `tvrkit query "a dog surfing"`.')
    if like is not None and not like.is_file():
        raise DataError(f"--like {like}: there is no such file.")
    if page is not None and (page.is_dir() or not page.absolute().parent.is_dir()):
        raise DataError(f"--page {page}: it must be a file in a folder that is there.")


def _example(like: Path | None, memory: Path) -> VideoFile | None:
    if like is None:
        return None
    from tvrkit.errors import VideoError
    from tvrkit.index.scan import scan

    found = scan([like], memory)
    for path, reason in found.unreadable.items():
        raise VideoError(path, reason)
    return found.files[0]


def _load(model: str | None, videos: Sequence[Path], device: str) -> tuple[RetrievalModel, str]:
    """The model that is asked for, else the newest run on real videos, else the default one; and its name."""
    from tvrkit.index.choice import SHAPES, are_shapes, dataset_of, newest_run

    run = newest_run() if model is None else None
    device = choose_device(device)
    from tvrkit.core import load_model
    from tvrkit.core.catalogue import DEFAULT_SEARCH_BACKBONE

    if model is not None:
        source, why = model, ""
    elif run is not None:
        source, why = str(run), ", the newest run on real videos"
    else:
        source, why = DEFAULT_SEARCH_BACKBONE, ", the default as no run here was trained on real videos"
    output.say(f"Model: {source}{why}.")
    loaded = load_model(source, device)
    only_shapes = loaded.config.backbone == SHAPES or dataset_of(Path(source)) == SHAPES
    if only_shapes and not all(are_shapes(place) for place in videos):
        output.warn("this model knows moving shapes only: on other videos its answers mean nothing.")
    return loaded, source


def _encode(index: VideoIndex, files: list[VideoFile], found: Scan, reading: Reading) -> None:
    """Encode what is missing, and say what could not be read."""
    missing = index.missing(files)
    done = failed = 0
    if missing:
        try:
            with output.progress("Encoding videos", len(missing)) as bar:

                def advance(now_done: int, now_failed: int) -> None:
                    nonlocal done, failed
                    bar.advance(now_done - done)
                    done, failed = now_done, now_failed
                    if failed:
                        bar.note(f"{failed} failed")

                index.encode(missing, reading=reading, on_progress=advance)
        except KeyboardInterrupt:
            output.say(f"{done} of {len(missing)} videos are done and kept; the same command goes on from there.")
            raise
    failures = found.unreadable | index.failures(files)
    _tell_failures(failures, len(files) + len(found.unreadable), in_full=bool(failed or found.unreadable))


def _tell_failures(failures: dict[Path, str], total: int, *, in_full: bool) -> None:
    if not failures:
        return
    if not in_full:
        output.say(f"{len(failures)} of {total} videos could not be read before (--retry-failed tries again).")
        return
    output.warn(f"{len(failures)} of {total} videos cannot be read, and have no part in the answer:")
    for path, reason in list(failures.items())[:FAILURES_SHOWN]:
        output.say(f"  {_one_line(path)}: {reason}")
    if len(failures) > FAILURES_SHOWN:
        output.say(f"  and {len(failures) - FAILURES_SHOWN} more")


def _require(index: VideoIndex, example: VideoFile) -> None:
    from tvrkit.errors import VideoError

    for path, reason in index.failures([example]).items():
        raise VideoError(path, reason)


def _note_cut(model: RetrievalModel, query: str) -> None:
    from tvrkit.index.search import is_cut

    if is_cut(model, query):
        words = model.config.max_words
        output.warn(f"the query is longer than the {words} tokens this model takes: only its beginning counts.")


def _show(hits: Sequence[Hit], as_json: bool) -> None:
    from tvrkit.index.hits import moment

    if as_json:
        for hit in hits:
            output.print_json(
                {
                    "rank": hit.rank,
                    "score": hit.score,
                    "path": str(hit.path),
                    "best_seconds": hit.best_seconds,
                    "duration_seconds": hit.duration_seconds,
                }
            )
        return
    rows = [
        (hit.rank, f"{hit.score:.3f}", _one_line(hit.path), moment(hit.best_seconds), moment(hit.duration_seconds))
        for hit in hits
    ]
    output.print_table(("Rank", "Score", "File", "Best at", "Length"), rows)


def _one_line(path: Path) -> str:
    return str(path).replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")

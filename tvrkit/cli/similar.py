"""`tvrkit similar`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvrkit.cli import output
from tvrkit.cli.opening import Opened, index_option, open_for_search, update_index
from tvrkit.cli.options import (
    device_option,
    json_option,
    model_option,
    reader_option,
    timeout_option,
    workers_option,
)
from tvrkit.errors import ConfigError, DataError, VideoError
from tvrkit.frames.reading import Reading

if TYPE_CHECKING:
    from torch import Tensor

    from tvrkit.index.similar import SimilarVideo


@click.command()
@click.argument("clip", required=False, type=click.Path(path_type=Path))
@click.option(
    "--videos",
    multiple=True,
    metavar="PLACE",
    help="Folder, file or address to index first, and to look in alone; repeatable.  [default: the index as it is]",
)
@click.option("--duplicates", is_flag=True, help="List all groups of near-duplicates instead.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="How many to show.")
@click.option(
    "--threshold",
    type=click.FloatRange(min=-1, max=1),
    metavar="S",
    help="Similarity from which on two videos are near-duplicates.  [default: 0.8]",
)
@json_option
@index_option
@model_option
@device_option
@workers_option
@reader_option
@timeout_option
def command(
    clip: Path | None,
    videos: tuple[str, ...],
    duplicates: bool,
    top: int,
    threshold: float | None,
    as_json: bool,
    index: str | None,
    model: str | None,
    device: str,
    workers: int,
    reader: str,
    timeout: float,
) -> None:
    """Find videos like one, and near-duplicates.

    Videos are compared frame by frame, without any words; copies that were encoded, scaled or cut anew are marked. CLIP
    need not be in the index. docs/curating.md says how far the marks can be trusted.

    \b
    Examples:
      tvrkit similar clip.mp4
      tvrkit similar --duplicates --videos ./clips
    """
    if (clip is None) != duplicates:
        raise ConfigError("give a CLIP to find videos like it, or --duplicates for all groups of near-duplicates.")
    if clip is not None and not clip.is_file():
        raise DataError(f"there is no file {clip}.")
    reading = Reading(workers, reader, timeout)
    with open_for_search(index, model, device, places=videos) as opened:
        if videos:
            update_index(opened, videos, reading=reading)
        from tvrkit.index.similar import NEAR_DUPLICATE, common_part

        limit = NEAR_DUPLICATE if threshold is None else threshold
        common = common_part(opened.model, opened.engine)
        if clip is None:
            _show_groups(_groups(opened, videos, common, limit), as_json)
        else:
            _show(_like(opened, clip, videos, common, limit, top, reading), as_json)


def _allowed(opened: Opened, videos: Sequence[str]) -> frozenset[str] | None:
    from tvrkit.index.ask import Where, as_absolute
    from tvrkit.index.where import allowed_videos

    return allowed_videos(Where(inside=tuple(map(as_absolute, videos))), opened.engine.facts())


def _like(
    opened: Opened,
    clip: Path,
    videos: Sequence[str],
    common: Tensor,
    threshold: float,
    top: int,
    reading: Reading,
) -> list[SimilarVideo]:
    """The videos most like a clip.

    Raises:
        VideoError: the clip cannot be read.
        DataError: it shows nothing but blank frames.
    """
    from tvrkit.encode.moments import iter_moments
    from tvrkit.frames.identity import content_hash
    from tvrkit.index.similar import find_similar, frames_of

    identity = content_hash(clip)
    facts = opened.engine.facts()
    if identity in facts:
        frames = next((frames for _, frames in frames_of(opened.engine, [identity])), None)
    else:
        (answer,) = iter_moments(opened.model, [str(clip)], reading=reading)
        if isinstance(answer, VideoError):
            raise answer
        frames = answer.frame_features.float() if len(answer) else None
    if frames is None:
        raise DataError(f"{clip} shows blank frames only: there is nothing to compare.")
    return find_similar(
        opened.engine,
        common,
        frames,
        top=top,
        threshold=threshold,
        leave_out={identity},
        allowed=_allowed(opened, videos),
    )


def _groups(opened: Opened, videos: Sequence[str], common: Tensor, threshold: float) -> list[tuple[SimilarVideo, ...]]:
    from tvrkit.index.similar import near_duplicates

    return near_duplicates(opened.engine, common, threshold=threshold, allowed=_allowed(opened, videos))


def _show(found: Sequence[SimilarVideo], as_json: bool) -> None:
    if as_json:
        for rank, one in enumerate(found, start=1):
            output.print_json({"rank": rank, **_plain(one)})
        return
    from tvrkit.cli.updating import one_line
    from tvrkit.index.hits import moment

    rows = [
        (
            rank,
            f"{one.similarity:.3f}",
            "near-duplicate" if one.near_duplicate else "",
            one_line(one.facts.paths[0]),
            moment(one.facts.duration_seconds),
        )
        for rank, one in enumerate(found, start=1)
    ]
    if rows:
        output.print_table(("Rank", "Similarity", "", "File", "Length"), rows)
    else:
        output.say("There is no other video in the index.")


def _show_groups(groups: Sequence[tuple[SimilarVideo, ...]], as_json: bool) -> None:
    from tvrkit.cli.updating import one_line
    from tvrkit.index.hits import moment

    if as_json:
        for group in groups:
            output.print_json({"videos": [_plain(one) for one in group]})
        return
    for number, group in enumerate(groups, start=1):
        rows = [
            (
                "the same file" if place else f"{one.similarity:.3f}",
                one_line(path),
                moment(one.facts.duration_seconds),
            )
            for one in group
            for place, path in enumerate(one.facts.paths)
        ]
        output.print_table(("Similarity", "File", "Length"), rows, title=f"Group {number}")
    output.say(f"{len(groups)} groups of near-duplicates.")


def _plain(one: SimilarVideo) -> dict[str, Any]:
    return {
        "similarity": one.similarity,
        "near_duplicate": one.near_duplicate,
        "video": one.identity,
        "path": one.facts.paths[0],
        "other_paths": list(one.facts.paths[1:]),
        "duration_seconds": one.facts.duration_seconds,
    }

"""`tvrkit index`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from tvrkit.cli import index_actions
from tvrkit.cli.index_actions import Choices
from tvrkit.cli.opening import index_option
from tvrkit.cli.options import (
    device_option,
    json_option,
    model_option,
    reader_option,
    timeout_option,
    workers_option,
)
from tvrkit.errors import ConfigError
from tvrkit.frames.moment_request import CUTS
from tvrkit.frames.reading import Reading

if TYPE_CHECKING:
    from tvrkit.index.update import Shard

_SECONDS = click.FloatRange(min=0)


@click.command()
@click.argument("folders", nargs=-1, metavar="[DIR]...")
@index_option
@model_option
@click.option("--cut", type=click.Choice(CUTS), help="Where long videos are cut into moments.  [default: shots]")
@click.option("--max-seconds", type=_SECONDS, metavar="S", help="Longest moment.  [default: 20]")
@click.option("--min-seconds", type=_SECONDS, metavar="S", help="Shortest shot.  [default: 2]")
@click.option("--overlap", type=_SECONDS, metavar="S", help="What windows of a long shot share.  [default: 2]")
@click.option(
    "--fps", type=_SECONDS, metavar="N", help="Most frames a second of a moment of a long video.  [default: 2]"
)
@click.option("--retry-failed", is_flag=True, help="Try again what could not be read before.")
@click.option("--rebuild", is_flag=True, help="Encode everything in the folders anew.")
@click.option("--prune", is_flag=True, help="Forget features of deleted files, and folders that are gone.")
@click.option("--status", is_flag=True, help="Show counts, size, model and failures, and change nothing.")
@click.option("--verify", is_flag=True, help="Read every row, and encode anew what is damaged.")
@click.option("--shard", metavar="I/N", help="Do the I-th of N parts, in an index of its own: PLACE/shards/I-of-N.")
@click.option("--merge", multiple=True, metavar="PLACE", help="Take over an index, or a folder of shards; repeatable.")
@click.option("--measure", is_flag=True, help="Measure speed and recall of searching in this index.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="What encodes the videos."
)
@click.option("--to", metavar="SERVER", help="Copy the index to a search server, qdrant:URL/COLLECTION.")
@device_option
@workers_option
@reader_option
@timeout_option
@json_option
def command(
    folders: tuple[str, ...],
    index: str | None,
    model: str | None,
    cut: str | None,
    max_seconds: float | None,
    min_seconds: float | None,
    overlap: float | None,
    fps: float | None,
    retry_failed: bool,
    rebuild: bool,
    prune: bool,
    status: bool,
    verify: bool,
    shard: str | None,
    merge: tuple[str, ...],
    measure: bool,
    engine: str,
    to: str | None,
    device: str,
    workers: int,
    reader: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Keep an index of folders of videos, moment by moment.

    What is new or has changed is encoded; moved and copied files are known again. Ctrl-C, a crash or a full disk cost
    the video in flight, and the same command goes on from there. Without DIR the folders given before are looked at
    again. `tvrkit query` answers from it. docs/indexing.md says more.

    \b
    Example:
      tvrkit index ~/Videos
    """
    cutting = {
        "cut": cut,
        "min_seconds": min_seconds,
        "max_seconds": max_seconds,
        "overlap_seconds": overlap,
        "fps": fps,
    }
    choices = Choices(
        index=index,
        model=model,
        device=device,
        reading=Reading(workers, reader, timeout),
        cutting={name: value for name, value in cutting.items() if value is not None},
        retry_failed=retry_failed,
        rebuild=rebuild,
        prune=prune,
        shard=_shard(shard),
        engine=engine,
        as_json=as_json,
    )
    actions: list[Callable[[Choices], None]] = []
    if merge:
        actions.append(lambda choices: index_actions.merge(choices, merge))
    if folders or not (merge or status or verify or measure or to):
        actions.append(lambda choices: index_actions.update(choices, folders))
    if verify:
        actions.append(index_actions.verify)
    if to is not None:
        actions.append(lambda choices: index_actions.export(choices, to))
    if measure:
        actions.append(index_actions.measure)
    if status:
        actions.append(index_actions.status)
    for action in actions:
        action(choices)


def _shard(word: str | None) -> Shard | None:
    if word is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", word)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--shard {word}: it must be I/N with I from 1 to N, as in --shard 3/8.")
    return int(match[1]), int(match[2])

"""What `tvrkit index` does, an action each."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.cli.opening import INDEXES, index_name, kept_indexes, load, open_with, require_places, update_index
from tvrkit.errors import ConfigError, DataError, TvrkitError
from tvrkit.frames.reading import Reading
from tvrkit.workspace import cache_folder

if TYPE_CHECKING:
    from tvrkit.cli.opening import Opened
    from tvrkit.index.update import Plan, Shard
    from tvrkit.index.video_index import VideoIndex


@dataclasses.dataclass(frozen=True)
class Choices:
    """What was asked for beside the folders."""

    index: str | None
    model: str | None
    device: str
    reading: Reading
    cutting: dict[str, str | float]
    retry_failed: bool
    rebuild: bool
    prune: bool
    shard: Shard | None
    engine: str
    as_json: bool


def update(choices: Choices, folders: tuple[str, ...]) -> None:
    """Bring an index up to date; without folders the ones it knows, of every index in the cache if none is named."""
    if folders or choices.index or choices.model or choices.shard:
        _update_one(choices, folders)
        return
    _update_all(choices, kept_indexes(None, None, choices.device))


def _update_all(choices: Choices, kept: list[str]) -> None:
    """Each index that knows a folder; what stops one does not stop the others."""
    failed: list[TvrkitError] = []
    for place in [place for place in kept if _knows_a_folder(place)] or kept:
        try:
            _update_one(dataclasses.replace(choices, index=place), ())
        except TvrkitError as error:
            failed.append(error)
    for one in failed[:-1]:
        output.warn(str(one))
    if failed:
        raise failed[-1]


def _knows_a_folder(place: str) -> bool:
    """Not so where only `--videos` of another command ever filled it; of one that cannot be opened its update tells."""
    from tvrkit.index.opening import open_index

    try:
        with open_index(place) as index:
            return bool(index.places())
    except TvrkitError:
        return True


def _update_one(choices: Choices, folders: tuple[str, ...]) -> None:
    if choices.index is None and not choices.prune:
        require_places(folders)
    with _opened(choices, create=bool(folders)) as opened, ExitStack() as stack:
        index = opened.index
        assert index is not None
        places = list(folders) or index.places()
        if not places:
            raise DataError(f"the index {index.place} knows no folder yet: `tvrkit index DIR` gives it one.")
        absent = [] if folders or choices.prune else [place for place in places if not _may_be_there(place)]
        here = [place for place in places if place not in absent]
        if not here:
            raise DataError(f"no folder of the index is there: {', '.join(absent)}. Are their drives mounted?")
        whole = _whole(choices, opened, stack)
        planned = update_index(
            opened,
            here,
            reading=choices.reading,
            retry_failed=choices.retry_failed,
            rebuild=choices.rebuild,
            emptied=choices.prune,
            engine=choices.engine,
            only=choices.shard,
            beside=whole,
            planned_as=lambda planned: _note_places(choices, index, planned),
        )
        if choices.prune:
            _prune(index)
        _tell(choices, planned, [index, *([whole] if whole else [])])
    if absent:
        raise DataError(
            f"not there, and left as they were: {', '.join(absent)}. Are their drives mounted? `tvrkit index --prune`"
            " forgets what is gone."
        )


def _note_places(choices: Choices, index: VideoIndex, planned: Plan) -> None:
    """At once: whatever ends the run, `tvrkit index` alone knows where to go on."""
    from tvrkit.index.scan import is_below

    places = list(dict.fromkeys([*index.places(), *planned.places]))
    outermost = [place for place in places if not any(is_below(place, other) for other in places if other != place)]
    index.set_places([place for place in outermost if not choices.prune or _may_be_there(place)])


def _prune(index: VideoIndex) -> None:
    from tvrkit.index.update import prune

    output.say(f"Forgotten: {prune(index)} contents without a file.")


def _tell(choices: Choices, planned: Plan, indexes: list[VideoIndex]) -> None:
    from tvrkit.index.tally import tally

    counts = tally(planned.files.values(), *indexes)
    if choices.as_json:
        output.print_json({"index": indexes[0].place, **dataclasses.asdict(counts), **planned.counts()})
    output.say(f"{planned}. {counts}.")
    output.say(f"Index: {indexes[0].place}")


def _may_be_there(place: str) -> bool:
    return "://" in place or Path(place).exists()


def _opened(choices: Choices, *, create: bool) -> Opened:
    """The model and its index, for writing."""
    from tvrkit.cli.opening import default_place
    from tvrkit.index.opening import is_lance, read_meta

    stored = read_meta(choices.index) if choices.index is not None else None
    named = choices.model is not None
    model, source = load(choices.model or (stored.model if stored else None), choices.device)
    place = choices.index
    if choices.shard is not None and not is_lance(place or ""):  # a LanceDB data set takes many writers
        place = _shard_place(place or default_place(model), choices.shard)
    return open_with(model, source, place, create=create, named=named, cutting=choices.cutting, renew=choices.rebuild)


def _shard_place(whole: str, shard: Shard) -> str:
    return str(Path(whole) / "shards" / f"{shard[0]}-of-{shard[1]}")


def _whole(choices: Choices, opened: Opened, stack: ExitStack) -> VideoIndex | None:
    """Beside a shard's own index the whole one, where there is one: what that has need not be done."""
    from tvrkit.index.opening import is_lance, open_index, read_meta

    assert opened.index is not None
    if choices.shard is None or is_lance(opened.index.place):
        return None
    place = str(Path(opened.index.place).parents[1])
    stored = read_meta(place)
    if stored is None or dataclasses.replace(stored, model=opened.index.meta.model) != opened.index.meta:
        return None
    return stack.enter_context(open_index(place))


def merge(choices: Choices, sources: tuple[str, ...]) -> None:
    """Take over other indexes."""
    from tvrkit.index.merge import find_indexes, merge
    from tvrkit.index.opening import open_index, read_meta
    from tvrkit.index.tally import tally

    found = [place for source in sources for place in find_indexes(source)]
    meta = read_meta(found[0])
    assert meta is not None
    into = choices.index or str(cache_folder() / INDEXES / index_name(meta))
    with open_index(into, read_meta(into) or meta, create=True) as index:
        for place in found:
            with open_index(place) as source:
                output.say(f"Merged {place}: {merge(index, source)}")
        counts = tally(index.files(), index)
        if choices.as_json:
            output.print_json({"index": index.place, **dataclasses.asdict(counts)})
        output.say(f"{counts}.")
        output.say(f"Index: {index.place}")


def verify(choices: Choices) -> None:
    """Read every row; what is damaged is encoded anew."""
    from tvrkit.index.opening import open_index
    from tvrkit.index.verify import verify

    for place in kept_indexes(choices.index, choices.model, choices.device):
        with open_index(place) as index:
            checked = verify(index)
            for problem in checked.problems:
                output.warn(problem)
            output.say(
                f"{place}: {checked.videos} videos, {checked.moments} moments, {checked.frames} frames are whole."
            )
        if checked.problems:
            update(dataclasses.replace(choices, index=place, prune=False, rebuild=False), ())


def export(choices: Choices, server: str) -> None:
    """Copy an index to a search server."""
    from tvrkit.index.opening import is_server, open_index

    if not is_server(server):
        raise ConfigError(
            f"--to {server}: it must be qdrant:URL/COLLECTION, as in qdrant:http://localhost:6333/videos."
        )
    from tvrkit.index.qdrant_export import export_to_qdrant

    (place,) = kept_indexes(choices.index, choices.model, choices.device, one=True)
    with open_index(place) as index, output.progress("Copying videos", len(index.identities())) as bar:
        export_to_qdrant(index, server, lambda done, total: bar.advance())


def measure(choices: Choices) -> None:
    """Say how fast and how true searching in an index is."""
    from tvrkit.cli.opening import open_for_search
    from tvrkit.index.measure import measure
    from tvrkit.index.search import Searcher

    with open_for_search(choices.index, choices.model, choices.device) as opened:
        with output.progress("Scoring every moment", len(opened.engine)) as bar:
            shown = 0

            def advance(done: int, total: int) -> None:
                nonlocal shown
                bar.advance(done - shown)
                shown = done

            measured = measure(Searcher(opened.model, opened.engine), advance)
    if choices.as_json:
        facts = dataclasses.asdict(measured)
        facts["recall"] = {f"{kind} @{k}": share for (kind, k), share in measured.recall.items()}
        output.print_json(facts)
    else:
        click.echo(str(measured))


def status(choices: Choices) -> None:
    """Show what an index holds."""
    from tvrkit.cli.index_status import show
    from tvrkit.index.opening import open_index

    for place in kept_indexes(choices.index, choices.model, choices.device):
        with open_index(place) as index:
            show(index, as_json=choices.as_json)

"""The one way of every command to its model, its index and what it searches in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tvrkit.cli import output
from tvrkit.cli.options import choose_device
from tvrkit.cli.updating import update_index
from tvrkit.errors import ConfigError, DataError, ModelError, StoreError
from tvrkit.files import absolute, whole_folder
from tvrkit.frames.moment_request import Cutting
from tvrkit.workspace import cache_folder

if TYPE_CHECKING:
    from tvrkit.core import RetrievalModel
    from tvrkit.index.engine import Engine
    from tvrkit.index.video_index import IndexMeta, VideoIndex

__all__ = ["Opened", "index_option", "load", "open_for_search", "open_with", "update_index"]

F = TypeVar("F", bound=Callable[..., Any])

INDEXES = "indexes"


def index_option(function: F) -> F:
    """`--index`: where the index is (callback: `index: str | None`)."""
    return click.option(
        "--index",
        metavar="PLACE",
        help="A folder, a LanceDB data set (….lance, s3://…), or qdrant:URL/COLLECTION.  [default: one a model, in the"
        " cache]",
    )(function)


class Opened:
    """A model, and what it searches in; a context manager.

    Attributes:
        model: loaded.
        source: what `--model` would have to say.
        index: None where a search server was opened.
    """

    def __init__(self, model: RetrievalModel, source: str, index: VideoIndex | None, engine: Engine | None) -> None:
        self.model, self.source, self.index = model, source, index
        self._engine = engine
        self._temporary: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.index is not None:
            self.index.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def engine(self) -> Engine:
        """What is searched in, as the index was when this was first asked for; see `reload`.

        Raises:
            DataError: the index is empty.
        """
        if self._engine is None:
            assert self.index is not None
            engine = self.index.engine()
            if not len(engine):
                raise DataError(
                    f"the index {self.index.place} has no video yet: `tvrkit index DIR` fills it, or give"
                    " --videos DIR where the command takes it."
                )
            self._engine = engine
        return self._engine

    def reload(self) -> None:
        """Take the index as it is now when the engine is next asked for."""
        if self.index is not None:
            self._engine = None

    def delete_when_closed(self, folder: TemporaryDirectory[str]) -> None:
        """The index lies in a folder that ends with it."""
        self._temporary = folder


def open_for_search(index: str | None, model: str | None, device: str, *, places: Sequence[str] = ()) -> Opened:
    """The model and what it searches in.

    The model is the one that is named, else that of the index. The index is the named one, else a named model's own in
    the cache, else the one there that was written last. Where videos are about to be indexed and nothing is named, the
    newest run on real videos is taken, or the default model.

    Args:
        index: what `--index` said.
        model: what `--model` said.
        device: what `--device` said.
        places: folders of videos about to be indexed: then an index is made where there is none, and the user is told
            when the model knows nothing but shapes.

    Raises:
        DataError: there is no index.
        ConfigError: the index was made by another model.
        ModelError: the model cannot be had.
    """
    from tvrkit.index.opening import is_server, open_server, read_meta

    if index is not None and is_server(index):
        if places:
            raise ConfigError(f"--index {index} can only be searched: leave out --videos.")
        engine = open_server(index)
        loaded, source = load(model or getattr(engine, "model", None), device)
        if engine.fingerprint != loaded.fingerprint():
            raise ConfigError(f"{index} was filled by another model than {source}: give that one as --model.")
        return Opened(loaded, source, None, engine)
    if index is None:
        require_places(places)
    if index is None and model is None and not places:
        index = latest_index()
    stored = read_meta(index) if index is not None else None
    loaded, source = load(model or (stored.model if stored else None), device, places)
    return open_with(loaded, source, index, create=bool(places), named=model is not None)


def open_with(
    model: RetrievalModel,
    source: str,
    index: str | None,
    *,
    create: bool,
    named: bool = True,
    cutting: Mapping[str, Any] | None = None,
    renew: bool = False,
) -> Opened:
    """A loaded model's index, opened.

    Args:
        model: loaded.
        source: its name.
        index: what `--index` said.
        create: make it where there is none.
        named: whether the user named the model, or the index did.
        cutting: how videos must be cut, fields of `Cutting`; the others are the index's own.
        renew: where the index was made by another model or cut otherwise, begin it anew.
    """
    from tvrkit.index.opening import open_index, read_meta, renew_index

    place = index or default_place(model)
    stored = read_meta(place)
    meta = make_meta(model, source, _recut(stored.cutting if stored else Cutting(), cutting or {}))
    if stored is not None and renew:
        renew_index(place, stored, meta)
    elif stored is not None and not named and stored.fingerprint != meta.fingerprint:
        raise ModelError(
            f"the index {place} was made by {stored.model}, whose weights are others by now: name the right model with"
            " --model, or make the index anew with `tvrkit index --rebuild`."
        )
    try:
        return Opened(model, source, open_index(place, meta, create=create, warn=output.warn), None)
    except StoreError as error:
        if index is not None or not create:
            raise
        # The cache cannot be used: this answer can be had all the same.
        output.warn(f"{error} What is encoded now is used for this answer and not kept.")
        folder = TemporaryDirectory(prefix="tvrkit-index-")
        opened = Opened(model, source, open_index(folder.name, meta, create=True), None)
        opened.delete_when_closed(folder)
        return opened


def _recut(own: Cutting, asked: Mapping[str, Any]) -> Cutting:
    """An index's own cutting with what was asked for; what was not asked for gives way."""
    most = asked.get("max_seconds", own.max_seconds)
    shorter = {"min_seconds": min(own.min_seconds, most), "overlap_seconds": min(own.overlap_seconds, most / 2)}
    return Cutting(**(asdict(own) | shorter | dict(asked)))


def default_place(model: RetrievalModel) -> str:
    """Where a model's index lies when nothing is said; models never share one."""
    return str(cache_folder() / INDEXES / index_name(make_meta(model, "", Cutting())))


def index_name(meta: IndexMeta) -> str:
    """The name of a model's index in the cache."""
    return f"{meta.fingerprint[:16]}-{meta.num_frames}"


def latest_index() -> str | None:
    """The index in the cache that was written last, of those that hold something."""
    found = {path.parents[1] for path in (cache_folder() / INDEXES).glob("*/moments-*/*.safetensors")}
    whole = [index for index in found if (index / "index.json").is_file()]
    return str(max(whole, key=_written)) if whole else None


def _written(index: Path) -> float:
    return max(path.stat().st_mtime for path in (index / "index.json", index / "files.sqlite") if path.exists())


def kept_indexes(index: str | None, model: str | None, device: str, *, one: bool = False) -> list[str]:
    """The named index, else that of a named model, else every one in the cache.

    Raises:
        DataError: there is none, or there are several where one is wanted.
    """
    if index is not None:
        return [index]
    if model is not None:
        return [default_place(load(model, device)[0])]
    folder = cache_folder() / INDEXES
    found = sorted(str(path.parent) for path in folder.glob("*/index.json"))
    if not found:
        raise DataError(f"no index is kept in {folder} yet: `tvrkit index DIR` makes one of a folder of videos.")
    if one and len(found) > 1:
        raise DataError(f"{len(found)} indexes are kept in {folder}: say with --index or --model which one.")
    return found


def make_meta(model: RetrievalModel, source: str, cutting: Cutting) -> IndexMeta:
    """What all rows of a model's index share."""
    from tvrkit.index.video_index import IndexMeta

    return IndexMeta(model.fingerprint(), lasting(source), model.backbone.dim, model.config.num_frames, cutting)


def lasting(source: str) -> str:
    """A model's name that holds in other folders, too."""
    name, equals, file = source.partition("=")
    if equals and Path(file).exists():
        return f"{name}={absolute(file)}"
    return str(absolute(source)) if whole_folder(source).exists() else source


def require_places(places: Sequence[str]) -> None:
    """Refuse folders that are not there before anything slow is begun, and before an index is made for nothing.

    Raises:
        DataError: one is not there.
    """
    for place in places:
        if "://" not in place and not Path(place).exists():
            raise DataError(f"there is no folder or file {place}: give a folder of videos, or one video.")


def load(model: str | None, device: str, places: Sequence[str] = ()) -> tuple[RetrievalModel, str]:
    """The model that is asked for, and its name.

    When none is: the newest run on real videos, else the model of the index in the cache that was written last, else
    the default one.

    Args:
        model: what `--model` said.
        device: what `--device` said.
        places: folders of videos; the user is told when the model knows nothing but shapes and they are none.
    """
    from tvrkit.index.choice import SHAPES, are_shapes, dataset_of, newest_run
    from tvrkit.index.opening import read_meta

    run = newest_run() if model is None else None
    kept = latest_index() if model is None and run is None else None
    meta = read_meta(kept) if kept else None
    device = choose_device(device)
    from tvrkit.core import load_model
    from tvrkit.core.catalogue import DEFAULT_SEARCH_BACKBONE

    if model is not None:
        source, why = model, ""
    elif run is not None:
        source, why = str(run), ", the newest run on real videos"
    elif meta is not None:
        source, why = meta.model, ", of the index that was written last"
    else:
        source, why = DEFAULT_SEARCH_BACKBONE, ", the default as no run here was trained on real videos"
    output.say(f"Model: {source}{why}.")
    loaded = load_model(source, device)
    only_shapes = loaded.config.backbone == SHAPES or dataset_of(Path(source)) == SHAPES
    if only_shapes and not all(are_shapes(Path(place)) for place in places):
        output.warn("this model knows moving shapes only: on other videos its answers mean nothing.")
    return loaded, source

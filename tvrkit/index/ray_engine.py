"""Encoding on a Ray cluster, or on a local Ray: a Ray Data pipeline whose actors run what one process runs.

Files that only the driver's machine has cannot be read by other machines: give a shared folder or addresses (s3://…).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load, save

from tvrkit.encode.moments import VideoMoments
from tvrkit.errors import InstallError, ModelError, StoreError, TvrkitError, VideoError
from tvrkit.frames.reading import Reading
from tvrkit.index.encoding import iter_anywhere
from tvrkit.index.video_index import IndexMeta, VideoIndex

if TYPE_CHECKING:
    import numpy as np

_VIDEOS_A_BLOCK = 16  # what a dead worker has to do again
_KEPT_AT_ONCE = 16

Todo = Sequence[tuple[str, str]]
"""(identity, path or address) of videos to encode."""


@dataclass(frozen=True)
class RayPlace:
    """Where and how wide it runs.

    Attributes:
        address: of a cluster (`ray://head:10001`, `auto`); None finds the one of `RAY_ADDRESS`, or starts a local one.
        encoders: actors, each with a model of its own; None takes one for each GPU, or one for every 4 CPUs.
    """

    address: str | None = None
    encoders: int | None = None


def encode_on_ray(
    index: VideoIndex,
    todo: Todo,
    *,
    reading: Reading = Reading(),
    place: RayPlace = RayPlace(),
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Encode videos, keeping each as it comes; this process alone writes to the index.

    A worker that dies is started again by Ray and does its block of videos again. What Ray gives up on stays missing:
    the same call goes on from there.

    Args:
        index: its `meta` says which model, and how videos are cut.
        todo: what is to be encoded.
        reading: by how many processes of each encoder videos are read.
        place: where it runs.
        on_progress: called with the number of videos done and how many of those failed.

    Raises:
        InstallError: Ray is not installed, or cannot start.
        ModelError: the workers have another model than the index.
    """
    ray = _ray()
    if not todo:
        return
    own = not ray.is_initialized()
    if own:
        _start(ray, place.address)
    try:
        done = failed = 0
        for videos, failures in _answers(ray, index.meta, todo, reading, place):
            index.put(videos)
            index.put_failures(failures)
            done, failed = done + len(videos) + len(failures), failed + len(failures)
            if on_progress:
                on_progress(done, failed)
    finally:
        if own:
            ray.shutdown()


def _ray() -> Any:
    # Both are read when Ray is imported: it calls home and writes a page of words otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InstallError(f"--engine ray needs Ray ({error}): `pip install 'tvrkit[ray]'`.") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # how far it is, this process says itself
    return ray


def _start(ray: Any, address: str | None) -> None:
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    except Exception as error:  # Ray has a dozen kinds, some of them plain ConnectionError
        where = f"reach the Ray cluster {address}" if address else "start Ray"
        raise InstallError(f"cannot {where}: {str(error).splitlines()[0]}.") from None


def _answers(
    ray: Any, meta: IndexMeta, todo: Todo, reading: Reading, place: RayPlace
) -> Iterator[tuple[dict[str, VideoMoments], dict[str, str]]]:
    """What came of some videos at a time: features, and reasons."""
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    encoders = place.encoders or gpus or max(1, int(resources.get("CPU", 1)) // 4)
    encoders = min(encoders, -(-len(todo) // _VIDEOS_A_BLOCK))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    items = [{"identity": identity, "path": os.fsencode(path)} for identity, path in todo]
    answers = ray.data.from_items(items, override_num_blocks=-(-len(items) // _VIDEOS_A_BLOCK)).map_batches(
        Encoder,
        fn_constructor_kwargs={"meta": meta, "reading": reading},
        batch_size=_VIDEOS_A_BLOCK,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=encoders),
        num_gpus=1 if gpus else 0,
        num_cpus=0 if gpus else 1,
    )
    try:
        for batch in answers.iter_batches(batch_size=_KEPT_AT_ONCE, batch_format="numpy"):
            for refusal in batch["refusal"]:
                if refusal:
                    raise ModelError(str(refusal))
            yield _sorted(batch)
    except ray.exceptions.RayError as error:
        words = str(error).strip().splitlines()[-1]
        raise StoreError(
            f"Ray gave up ({words}): what is encoded is kept; the same command goes on from there."
        ) from None


def _sorted(batch: Mapping[str, np.ndarray]) -> tuple[dict[str, VideoMoments], dict[str, str]]:
    videos, failures = {}, {}
    for identity, features, reason in zip(batch["identity"], batch["features"], batch["reason"], strict=True):
        if features:
            videos[str(identity)] = unpacked(features)
        else:
            failures[str(identity)] = str(reason)
    return videos, failures


class Encoder:
    """An actor: a model that stays, and videos that come in batches of `identity` and `path`.

    What keeps it from working travels as an answer, `refusal`: Ray would try an actor that raises again and again.
    """

    def __init__(self, meta: IndexMeta, reading: Reading) -> None:
        from tvrkit.core import load_model

        self._meta, self._reading, self._refusal = meta, reading, ""
        try:
            self._model = load_model(meta.model, "cuda" if torch.cuda.is_available() else "cpu")
        except TvrkitError as error:
            self._refusal = f"a Ray worker has no model: {error}"
            return
        if self._model.fingerprint() != meta.fingerprint:
            self._refusal = (
                f"the model {meta.model} of a Ray worker is not the one of the index: give --model as a path that all"
                " machines share, with the same weights."
            )

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """One row for each video: `features` as bytes, or b"" and a `reason`."""
        answers: list[VideoMoments | VideoError | None] = [None] * len(batch["identity"])
        if not self._refusal:
            paths = [os.fsdecode(path) for path in batch["path"]]
            answers[:] = iter_anywhere(self._model, paths, cutting=self._meta.cutting, reading=self._reading)
        return {
            "identity": list(batch["identity"]),
            "features": [packed(answer) if isinstance(answer, VideoMoments) else b"" for answer in answers],
            "reason": [answer.reason if isinstance(answer, VideoError) else "" for answer in answers],
            "refusal": [self._refusal] * len(answers),
        }


def packed(video: VideoMoments) -> bytes:
    """As safetensors, to travel."""
    tensors = {f.name: getattr(video, f.name) for f in fields(video)}
    duration, note = tensors.pop("duration_seconds"), tensors.pop("note")
    tensors["duration_seconds"] = torch.tensor(duration, dtype=torch.float64)
    tensors["note"] = torch.tensor(list((note or "").encode("utf-8", "backslashreplace")), dtype=torch.uint8)
    return save(tensors)


def unpacked(data: bytes) -> VideoMoments:
    """What `packed` packed."""
    tensors = load(data)
    note = bytes(tensors.pop("note").tolist()).decode()
    return VideoMoments(**tensors | {"duration_seconds": float(tensors["duration_seconds"]), "note": note or None})

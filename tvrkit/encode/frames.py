"""Video files to raw frame features: decoded ahead by worker processes, encoded some at a time, shared by a team.

Letters: V videos, F frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from tvrkit.core.model import RetrievalModel
from tvrkit.data import pad_frames
from tvrkit.distributed import SOLO, Team
from tvrkit.distributed.agree import agreed
from tvrkit.encode.kept import items, look_up
from tvrkit.encode.towers import encode_pixels
from tvrkit.encode.value import EncodedFrames, gathered, joined, padded, renumbered
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reader import FrameRequest
from tvrkit.frames.reading import Reading
from tvrkit.store import FeatureStore

OnProgress = Callable[[int, int], None]

_BATCHES_A_ROUND = 8
"""After that many, the processes of a team tell each other how far they are: nobody waits long for news of a failure,
or so long for the slowest that it looks dead."""


@torch.no_grad()
def iter_encoded(
    model: RetrievalModel,
    requests: Iterable[FrameRequest],
    *,
    reading: Reading = Reading(),
    batch_videos: int = 16,
) -> Iterator[EncodedFrames]:
    """Read and encode videos, a few at a time, in order; memory does not grow with their number.

    Each value covers up to `batch_videos` consecutive requests: `rows` and the keys of `failures` together are
    those requests' positions. A video that cannot be read is a failure, never an exception.

    Args:
        model: its vision tower is used; put into evaluation mode while a batch is computed.
        requests: all with the same `num_frames`.
        reading: by how many processes and with what; see `Reading`.
        batch_videos: requests of one value.
    """
    with DecodePool.of(reading, model.pixel_transform) as pool:
        answers = enumerate(pool.imap(requests))
        while batch := list(itertools.islice(answers, batch_videos)):
            good = [(row, d, d.frames) for row, d in batch if d.frames is not None]
            failures = {row: decoded.error for row, decoded in batch if decoded.error is not None}
            num_frames = batch[0][1].request.num_frames
            features: list[Tensor] = []
            if good:
                pixels, mask = pad_frames([frames for _, _, frames in good], num_frames)
                encoded = encode_pixels(model, pixels, mask)
                features = [row[kept] for row, kept in zip(encoded, mask, strict=True)]
            yield padded(
                [row for row, _, _ in good],
                features,
                [torch.as_tensor(decoded.pts_seconds) for _, decoded, _ in good],
                [decoded.duration_seconds or 0.0 for _, decoded, _ in good],
                failures,
                num_frames,
                model.backbone.image_width,
            )


def encode_frames(
    model: RetrievalModel,
    requests: Sequence[FrameRequest],
    *,
    reading: Reading = Reading(),
    batch_videos: int = 16,
    on_progress: OnProgress | None = None,
    store: FeatureStore | None = None,
    team: Team = SOLO,
) -> EncodedFrames:
    """Raw frame features of all requests at once, in order; what `store` holds is not computed again.

    The store's key is made of the file's identity, the request, and the fingerprint of the vision tower with its
    preprocessing: a changed file or another tower never meets old features. Failures are not stored, so that a
    mended file is read again.

    Each process of `team` reads and encodes a part, and all of them return the whole, which is what one process would
    return. Their stores may be one folder or, on other machines, folders of their own.

    Args:
        model: as in `iter_encoded`.
        requests: as in `iter_encoded`; the same in all processes.
        reading: as in `iter_encoded`, of each process of the team.
        batch_videos: as in `iter_encoded`.
        on_progress: called with the number of requests done and how many of those failed, in the whole team.
        store: where features are looked up and kept.
        team: processes that share the work; this is a collective.

    Raises:
        StoreError: the store of some process cannot be used.
    """
    num_frames = requests[0].num_frames if requests else model.config.num_frames
    share = range(len(requests))[team.split(len(requests))]
    stored, missing = agreed(team, lambda: look_up(store, model, requests, share, num_frames))
    told = team.objects((missing, len(stored.failures)))
    keys = {row: key for part, _ in told for row, key in part.items()}
    block = batch_videos if model.device.type != "cpu" else 1
    todo = _part(list(keys), team, block)
    fresh = (
        iter_encoded(model, [requests[row] for row in todo], reading=reading, batch_videos=batch_videos)
        if todo
        else iter(())
    )
    parts = [stored]
    known, known_failed = len(requests) - len(keys), sum(failed for _, failed in told)
    done = failed = 0
    if on_progress:
        on_progress(known, known_failed)
    at_once = 1 if team.size == 1 else _BATCHES_A_ROUND
    longest = len(_part(list(keys), Team(0, team.size), block))
    for _ in range(0, longest, at_once * batch_videos):
        batches = itertools.islice(fresh, at_once)
        new = agreed(team, lambda: [_kept(renumbered(part, todo), store, keys) for part in batches])  # noqa: B023
        parts += new
        failed += sum(len(part.failures) for part in new)
        done += sum(len(part) + len(part.failures) for part in new)
        all_done, all_failed = team.numbers(done, failed).sum(0).tolist()
        if on_progress:
            on_progress(known + all_done, known_failed + all_failed)
    return gathered(team, joined(parts))


def _part(rows: list[int], team: Team, block: int) -> list[int]:
    """This process's rows, in whole blocks: a batch is then made of the videos that one process would put into it.

    On a GPU the last bits of a feature depend on the shape of its batch; on a CPU they do not (see `encode_pixels`).
    """
    mine = team.split(-(-len(rows) // block))
    return rows[mine.start * block : mine.stop * block]


def _kept(part: EncodedFrames, store: FeatureStore | None, keys: Mapping[int, str]) -> EncodedFrames:
    """The same, and in the store."""
    if store is not None and len(part):
        store.put(items(part, keys))
    return part

from __future__ import annotations

import contextlib
import threading
from functools import partial

import pytest
import torch
from tiny import make_data
from torchvision import transforms

from tvrkit.data import Batch, Pair, Quarantine, decoded_batches, frame_request
from tvrkit.errors import DataError
from tvrkit.frames.pool import DecodePool
from tvrkit.manifest import read_manifest
from tvrkit.train.prefetch import prefetched

_SMALL = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])


def batch(number):
    frames = torch.full((1, 2, 3, 4, 4), number, dtype=torch.uint8)
    return Batch((Pair(number, 0),), frames, torch.ones(1, 2, dtype=torch.bool))


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "tvrkit-prefetch"]


def _numbers(batches):
    return [None if b is None else int(b.frames.flatten()[0]) for b in batches]


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_batches_keep_their_order(depth):
    given = [batch(0), None, batch(1), batch(2), None]
    assert _numbers(prefetched(given, depth=depth)) == [0, None, 1, 2, None]
    assert list(prefetched([], depth=depth)) == [] and not threads()


def test_an_error_is_raised_in_its_place():
    def broken():
        yield batch(0)
        yield batch(1)
        raise DataError("4 of 30 training videos cannot be read")

    ready, seen = prefetched(broken(), depth=2), []
    with pytest.raises(DataError, match="4 of 30"):
        for one in ready:
            seen.append(int(one.frames.flatten()[0]))
    assert seen == [0, 1] and not threads()


def test_as_many_are_read_ahead_as_asked_for():
    drawn = threading.Semaphore(0)
    count = []

    def source():
        for number in range(10):
            count.append(number)
            drawn.release()
            yield batch(number)

    with contextlib.closing(prefetched(source(), depth=3)) as ready:
        next(ready)
        for _ in range(4):  # the one in use and three ahead
            assert drawn.acquire(timeout=30)
        assert not drawn.acquire(timeout=0.2)
        assert len(count) == 4


def test_leaving_early_ends_the_thread_and_closes_the_source():
    closed = threading.Event()

    def source():
        try:
            for number in range(1000):
                yield batch(number)
        finally:
            closed.set()

    with (
        pytest.raises(ZeroDivisionError),
        contextlib.closing(prefetched(source())) as ready,
    ):
        for _ in ready:
            raise ZeroDivisionError
    assert closed.is_set() and not threads()


def test_videos_are_decoded_by_real_processes_meanwhile(tmp_path):
    manifest = read_manifest(make_data(tmp_path, train=8, val=0, test=0, captions=1))
    (tmp_path / "videos" / "train5.mp4").write_bytes(b"")
    records = manifest.split("train")
    order = [(Pair(7, 0), Pair(5, 0)), (Pair(5, 0),), (Pair(0, 0), Pair(3, 0)), (Pair(1, 0),)]
    request_of = partial(_request, manifest, records)
    with DecodePool(1, _SMALL) as pool:
        quarantine = Quarantine(tmp_path / "q.jsonl", records)
        plain = list(decoded_batches(order, request_of, pool, quarantine, 4))
        ahead = list(prefetched(decoded_batches(order, request_of, pool, quarantine, 4)))
        assert [b and b.pairs for b in ahead] == [b and b.pairs for b in plain]
        assert all(torch.equal(a.frames, b.frames) for a, b in zip(ahead, plain, strict=True) if a is not None)
        assert [found.row for found in quarantine.news()] == [5, 5, 5, 5]
        # A pool that is closed while the thread waits for a video of it does not leave the thread behind.
        abandoned = prefetched(decoded_batches(order * 50, request_of, pool, quarantine, 4))
        next(abandoned)
    abandoned.close()
    assert not threads()


def _request(manifest, records, pair):
    return frame_request(manifest, records[pair.video], 4)


@pytest.mark.needs_cuda
def test_a_gpu_gets_whole_batches():
    given = [batch(number) for number in range(20)] + [None]
    busy = torch.zeros(2048, 2048, device="cuda")
    for number, one in enumerate(prefetched(given, "cuda", depth=3)):
        busy = busy @ busy + 1  # what a step keeps the GPU busy with
        if one is None:
            assert number == 20
            continue
        assert one.frames.is_cuda and one.frame_mask.is_cuda
        assert torch.equal(one.frames.cpu(), given[number].frames)
        del one

"""The thread that answers: together what waits together, each its own trouble, an end to what may wait."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tvrkit.errors import DataError, StoreError
from tvrkit.index.ask import text
from tvrkit.index.hits import Answer
from tvrkit.serve.batching import MOST_TOGETHER, MOST_WAITING, Worker
from tvrkit.serve.refusal import Refusal


class Desk:
    """Answers with as many videos as a question has characters, when it is let."""

    def __init__(self):
        self.free, self.busy = threading.Event(), threading.Event()
        self.batches, self.closed_by = [], None
        self.free.set()

    def search_many(self, asks):
        self.busy.set()
        self.free.wait(120)
        self.batches.append(len(asks))
        words = [ask.parts[0].value for ask in asks]
        if "bad" in words:
            raise DataError("that one cannot be answered.")
        if "worse" in words:
            raise RuntimeError("nobody thought of this")
        return [Answer((), None, len(word), 0, True) for word in words]

    def look(self):
        pass

    def close(self):
        self.closed_by = threading.current_thread().name


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def worker(desk):
    worker = Worker(lambda: desk)
    worker.start()
    yield worker
    desk.free.set()
    worker.stop()
    assert desk.closed_by == "tvrkit-model" and not worker.alive


async def hold(worker, desk):
    """A first question that is being answered until `desk.free` is set."""
    desk.free.clear()
    desk.busy.clear()
    first = asyncio.create_task(worker.search(text("first")))
    assert await asyncio.to_thread(desk.busy.wait, 120)
    return first


def test_what_waits_together_is_answered_together(worker, desk):
    async def main():
        first = await hold(worker, desk)
        others = [asyncio.create_task(worker.search(text("x" * n))) for n in range(1, MOST_TOGETHER + 4)]
        await asyncio.sleep(0)
        desk.free.set()
        assert (await first).videos == 5
        assert [answer.videos for answer in await asyncio.gather(*others)] == list(range(1, MOST_TOGETHER + 4))
        assert desk.batches == [1, MOST_TOGETHER, 3]

    asyncio.run(main())


def test_one_question_s_trouble_is_not_the_others(worker, desk):
    async def main():
        first = await hold(worker, desk)
        words = ("good", "bad", "fine")
        others = [asyncio.create_task(worker.search(text(word))) for word in words]
        await asyncio.sleep(0)
        desk.free.set()
        good, bad, fine = await asyncio.gather(*others, return_exceptions=True)
        assert (good.videos, fine.videos) == (4, 4)
        assert isinstance(bad, DataError)
        await first
        with pytest.raises(RuntimeError):
            await worker.search(text("worse"))
        assert (await worker.search(text("after"))).videos == 5

    asyncio.run(main())


def test_there_is_an_end_to_what_waits(worker, desk):
    async def main():
        first = await hold(worker, desk)
        waiting = [asyncio.create_task(worker.search(text("x"))) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await worker.search(text("one more"))
        assert refused.value.status == 503 and refused.value.headers["Retry-After"]
        for task in waiting[:10]:
            task.cancel()  # nothing is done for who waits no more
        await asyncio.gather(*waiting[:10], return_exceptions=True)
        desk.free.set()
        await asyncio.gather(first, *waiting[10:])
        assert sum(desk.batches) == 1 + MOST_WAITING - 10

    asyncio.run(main())


def test_what_is_called_gets_the_desk(worker, desk):
    assert asyncio.run(worker.call(lambda given: given is desk)) is True
    with pytest.raises(ZeroDivisionError):
        asyncio.run(worker.call(lambda given: 1 // 0))


def test_what_waits_at_the_end_is_answered(desk):
    worker = Worker(lambda: desk, batching=False)
    worker.start()

    async def main():
        first = await hold(worker, desk)
        second = asyncio.create_task(worker.search(text("second")))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(asyncio.to_thread(worker.stop))
        await asyncio.sleep(0.05)
        desk.free.set()
        await stopping
        assert ((await first).videos, (await second).videos) == (5, 6)

    asyncio.run(main())
    assert desk.batches == [1, 1]


def test_an_index_that_cannot_be_opened():
    def fail():
        raise StoreError("no index.")

    worker = Worker(fail)
    with pytest.raises(StoreError, match=r"no index\."):
        worker.start()


def test_the_index_is_looked_at_while_nobody_asks(worker, desk, monkeypatch):
    monkeypatch.setattr(desk, "look", lambda: [desk.seen.set(), 1 // 0])
    desk.seen = threading.Event()
    assert desk.seen.wait(120)
    assert asyncio.run(worker.search(text("after trouble"))).videos == 13

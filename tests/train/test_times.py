from __future__ import annotations

import pytest
import torch

from tvrkit.train.times import Clock, StepTimes


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved."""
    now = [100.0]
    monkeypatch.setattr("tvrkit.train.times.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tvrkit.train.times.time.perf_counter", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def test_the_clock_counts_clips_since_it_was_asked(clock):
    watch = Clock(before=7.0)
    clock(4)
    watch.count(8)
    assert watch.seconds() == 11.0 and watch.clips_per_second() == 2.0
    clock(1)
    assert watch.clips_per_second() == 0.0


def test_parts_exclude_each_other_and_add_up(clock):
    times = StepTimes()
    with times("towers"):
        clock(2)
        with times("read"):
            clock(3)
        clock(0.5)
    clock(4.5)
    assert times.take() == {"seconds": {"towers": 2.5, "read": 3.0, "other": 4.5}, "waiting_for_data": 0.3}
    clock(1)
    with times("towers"):
        clock(1)
    assert times.take() == {"seconds": {"other": 1.0, "towers": 1.0}, "waiting_for_data": 0.0}
    with times("save"):
        clock(6)
    assert times.totals() == {"towers": 3.5, "read": 3.0, "other": 5.5, "save": 6.0}


def test_waiting_for_items_is_counted_and_using_them_is_not(clock):
    def items():
        for i in range(3):
            clock(10)
            yield i

    times, seen = StepTimes(), []
    for item in times.waiting(items()):
        clock(1)
        seen.append(item)
    assert seen == [0, 1, 2]
    assert times.take() == {"seconds": {"other": 3.0, "read": 30.0}, "waiting_for_data": round(30 / 33, 3)}


def test_an_error_ends_the_part(clock):
    times = StepTimes()
    with pytest.raises(ValueError), times("towers"):
        clock(1)
        raise ValueError
    clock(2)
    assert times.totals() == {"towers": 1.0, "other": 2.0}


@pytest.mark.needs_cuda
def test_a_gpu_is_not_waited_for_and_its_time_is_counted_all_the_same():
    matrix = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    times = StepTimes("cuda")
    with times("towers"):
        for _ in range(50):
            matrix @ matrix
    began = torch.cuda.Event(enable_timing=True)
    began.record()
    assert not began.query()  # the process is here before the GPU
    with times("save"):
        torch.cuda.synchronize()
    seconds = times.take()["seconds"]
    assert seconds["towers"] > 0 and set(seconds) == {"towers", "save", "other"}

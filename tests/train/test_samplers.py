from __future__ import annotations

from collections import Counter

import pytest

from tvrkit.config import config_from_dict
from tvrkit.data import pairs_of
from tvrkit.errors import DataError
from tvrkit.manifest import Record
from tvrkit.train.samplers import NEIGHBOURS, Plan, epoch_batches


def records(videos, captions, family=0):
    return [
        Record(
            str(v),
            f"{v}.mp4",
            tuple(f"video {v} caption {c}" for c in range(captions if isinstance(captions, int) else captions[v])),
            tags={"family": str(v // family)} if family else {},
        )
        for v in range(videos)
    ]


def epoch(data, batch_size, sampler="random", captions="all", seed=0, epoch=0):
    return epoch_batches(data, batch_size, sampler=sampler, captions=captions, seed=seed, epoch=epoch)


def repeats(batches):
    return sum(n - 1 for batch in batches for n in Counter(pair.video for pair in batch).values())


@pytest.mark.parametrize("sampler", ["random", "family", "neighbours"])
@pytest.mark.parametrize(("videos", "captions", "size"), [(40, 4, 12), (37, 1, 16), (9, 3, 16), (200, 20, 128)])
def test_an_epoch_has_every_pair_once_in_batches_of_nearly_equal_size(sampler, videos, captions, size):
    data = records(videos, captions, family=4)
    batches = epoch(data, size, sampler)
    flat = [pair for batch in batches for pair in batch]
    assert sorted(flat, key=str) == sorted(pairs_of(data), key=str)
    assert max(map(len, batches)) <= size
    assert min(map(len, batches)) >= 2


@pytest.mark.parametrize("sampler", ["random", "family", "neighbours"])
def test_a_batch_never_holds_a_video_twice_where_that_can_be_avoided(sampler):
    # Two captions' neighbours may be the same videos, and these captions are all alike.
    most = 0.1 if sampler == "neighbours" else 0.0
    assert repeats(epoch(records(200, 20, family=4), 128, sampler)) <= most * 4000
    uneven = records(60, [1 + 7 * (v % 6) for v in range(60)], family=4)
    assert repeats(epoch(uneven, 32, sampler)) <= (most or 0.02) * len(pairs_of(uneven))
    # Five videos cannot fill a batch of 16 without repeats: it is filled all the same.
    assert all(len(batch) >= 10 for batch in epoch(records(5, 20, family=4), 16, "random"))


@pytest.mark.parametrize("sampler", ["random", "family", "neighbours"])
def test_the_order_depends_on_seed_and_epoch_alone(sampler):
    data = records(40, 4, family=4)
    assert epoch(data, 12, sampler) == epoch(data, 12, sampler)
    assert epoch(data, 12, sampler) != epoch(data, 12, sampler, epoch=1)
    assert epoch(data, 12, sampler) != epoch(data, 12, sampler, seed=1)


def test_one_caption_a_video_is_drawn_anew_each_epoch():
    data = records(40, 4)
    first, second = ([pair for batch in epoch(data, 8, captions="one", epoch=e) for pair in batch] for e in range(2))
    assert sorted(pair.video for pair in first) == list(range(40))
    assert {pair.caption for pair in first} == {0, 1, 2, 3}
    assert set(first) != set(second)


def test_families_stay_together():
    data = records(48, 3, family=4)
    for batch in epoch(data, 12, "family"):
        members = Counter(pair.video // 4 for pair in batch)
        assert set(members.values()) == {4}
    with pytest.raises(DataError, match="needs records with the tag 'family'"):
        epoch(records(8, 1), 4, "family")


def test_a_family_larger_than_a_batch_is_cut():
    batches = epoch(records(20, 1, family=20), 8, "family")
    assert max(map(len, batches)) <= 8 and sum(map(len, batches)) == 20


def test_neighbours_share_rare_words():
    topics = ["guitar stage", "pasta kitchen", "football stadium", "puppy garden"]
    data = [
        Record(str(v), f"{v}.mp4", (f"a person and the {topics[v % 4]} number {v}",)) for v in range(4 * NEIGHBOURS)
    ]
    for batch in epoch(data, NEIGHBOURS, "neighbours"):
        assert len({pair.video % 4 for pair in batch}) == 1
    mixed = [len({pair.video % 4 for pair in batch}) for batch in epoch(data, NEIGHBOURS, "random")]
    assert min(mixed) > 1


def plan(data, **train):
    return Plan(data, config_from_dict({"train": {"batch_size": 4, **train}}))


def test_a_plan_counts_epochs_or_steps():
    assert plan(records(10, 2), epochs=3).total == 3 * 5
    assert plan(records(10, 2), epochs=3, max_steps=7).total == 7
    assert plan(records(10, 2), epochs=1, max_steps=70).total == 70


@pytest.mark.parametrize("done", range(13))
def test_the_rest_of_a_plan_is_what_was_not_done(done):
    whole = plan(records(10, 2), epochs=3, max_steps=12)  # 5 + 5 + 2
    every = [(epoch, batch) for epoch, batches in whole.rest(0, at_end=False) for batch in batches]
    rest = [(epoch, batch) for epoch, batches in whole.rest(done, at_end=False) for batch in batches]
    assert len(every) == 12 and rest == every[done:]


def test_the_end_of_an_epoch_can_be_asked_for_again():
    whole = plan(records(10, 2), epochs=2)
    assert [(e, len(b)) for e, b in whole.rest(5, at_end=False)] == [(1, 5)]
    assert [(e, len(b)) for e, b in whole.rest(5, at_end=True)] == [(0, 0), (1, 5)]
    assert [(e, len(b)) for e, b in whole.rest(10, at_end=True)] == [(1, 0)]
    assert list(whole.rest(10, at_end=False)) == []

"""The plan of the built-in benchmark: what it promises about meanings, captions and splits."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest

from tvrkit.prepare.shapes_events import (
    EDITS,
    VALUES,
    Event,
    all_events,
    caption_of,
    difference,
    edit_meaning,
    plan_clips,
)


@pytest.fixture(scope="module")
def clips():
    return plan_clips()


def of_split(clips, split):
    return [clip for clip in clips if clip.split == split]


def families(clips, split):
    members = defaultdict(list)
    for clip in of_split(clips, split):
        members[clip.family].append(clip)
    return members


def test_sizes(clips):
    assert len(all_events()) == 2 * 2 * 6 * 4 * 5 == len(set(all_events()))
    assert Counter(clip.split for clip in clips) == {"train": 4800, "val": 300, "test": 500, "hard": 400}
    assert len({clip.video_id for clip in clips}) == 6000
    singles = {split: sum(len(c.meaning) == 1 for c in of_split(clips, split)) for split in ("train", "val", "test")}
    assert singles == {"train": 0.3 * 4800, "val": 0.3 * 300, "test": 0.3 * 500}


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_that_is_measured_was_trained_on(seed):
    clips = plan_clips(seed)
    trained = {clip.meaning for clip in of_split(clips, "train")}
    held_out = {split: {clip.meaning for clip in of_split(clips, split)} for split in ("val", "test", "hard")}
    for meanings in held_out.values():
        assert not meanings & trained
    assert not held_out["val"] & held_out["test"]
    trained_words = {caption for clip in of_split(clips, "train") for caption in clip.captions}
    for split in ("val", "test", "hard"):
        assert not trained_words & {clip.captions[0] for clip in of_split(clips, split)}


def test_captions_of_val_and_test_are_unique(clips):
    for split, number in (("val", 300), ("test", 500)):
        captions = [clip.captions for clip in of_split(clips, split)]
        assert all(len(c) == 1 for c in captions) and len(set(captions)) == number


def test_training_captions(clips):
    for clip in of_split(clips, "train"):
        assert len(set(clip.captions)) == 4
        assert clip.captions[0] == caption_of(clip.meaning)
    words = Counter(word for clip in of_split(clips, "train") for c in clip.captions for word in c.split())
    assert {"tiny", "large", "slides", "violet", "boxes", "upwards", "before"} <= words.keys()


@pytest.mark.parametrize("split", ["train", "hard"])
def test_families_are_a_base_and_three_edits_of_one_thing(clips, split):
    found = families(clips, split)
    assert len(found) == {"train": 1200, "hard": 100}[split]
    kinds = Counter()
    for base, *others in found.values():
        assert base.edit == "base" and len(others) == 3
        assert len({clip.meaning for clip in (base, *others)}) == 4
        for other in others:
            kinds[other.edit] += 1
            if other.edit == "order":
                assert other.meaning == base.meaning[::-1] and len(base.meaning) == 2
            else:
                assert difference(base.meaning, other.meaning) == [other.edit]
    assert kinds.keys() == set(EDITS) and min(kinds.values()) >= 0.08 * kinds.total()


def test_the_plan_follows_from_the_seed():
    assert plan_clips(3, 0.05) == plan_clips(3, 0.05)
    assert plan_clips(3, 0.05) != plan_clips(4, 0.05)
    sizes = Counter(clip.split for clip in plan_clips(0, 0.001))
    assert sizes == {"train": 8, "val": 8, "test": 8, "hard": 8}


def test_plain_captions():
    one = Event("a", "small", "red", "circle", "left")
    two = Event("two", "big", "blue", "square", "still")
    assert caption_of((one,)) == "a small red circle moves left"
    assert caption_of((two, one)) == "two big blue squares stay still then a small red circle moves left"


def test_synonyms_never_leave_the_grammar():
    rng = random.Random(0)
    verbs = {"moves", "slides", "goes", "drifts", "stays", "stands", "rests"}
    for event in all_events():
        words = caption_of((event,), rng).split()
        assert words[0] == event.count and words[2] in (event.colour, "violet")
        many = event.count == "two"
        assert words[3].endswith("s") == many
        assert words[4] in ({"go"} | {v.removesuffix("s") for v in verbs} - {"goe"} if many else verbs)


@pytest.mark.parametrize("kind", VALUES)
def test_an_edit_changes_what_it_says(kind):
    rng = random.Random(0)
    for _ in range(50):
        meaning = tuple(rng.sample(all_events(), 2))
        assert difference(meaning, edit_meaning(meaning, kind, rng)) == [kind]

"""The built-in benchmark `shapes`: what can happen in a clip, how it is said, and which clips there are.

An event is one appearance (count, size, colour, shape) and one motion; a clip means one event, or one event and
`then` another. Splits are made of meanings, not of files: no meaning of `val`, `test` or `hard` is ever trained on.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

EVENTS_VERSION = 1  # of the plan: raise it when the same seed gives other clips or captions

COUNTS = ("a", "two")
SIZES = ("small", "big")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "star")
MOTIONS = ("left", "right", "up", "down", "still")
VALUES = {"count": COUNTS, "size": SIZES, "colour": COLOURS, "shape": SHAPES, "motion": MOTIONS}
EDITS = (*VALUES, "order")

SYNONYMS = {
    "small": ("small", "tiny", "little"),
    "big": ("big", "large", "huge"),
    "purple": ("purple", "violet"),
    "circle": ("circle", "disc", "ball"),
    "square": ("square", "box"),
    "moves": ("moves", "slides", "goes", "drifts"),
    "left": ("left", "to the left"),
    "right": ("right", "to the right"),
    "up": ("up", "upwards"),
    "down": ("down", "downwards"),
    "stays": ("stays", "stands", "rests"),
    "then": ("then", "and then", "before"),
}
PLURALS = {"box": "boxes"}

# Clips at scale 1: val and test count clips, train and hard count families of four.
TRAIN_FAMILIES, VAL_CLIPS, TEST_CLIPS, HARD_FAMILIES = 1200, 300, 500, 100
FAMILY_SIZE = 4
TRAIN_CAPTIONS = 4
SINGLE_PART = 0.3  # of the clips show one event only


@dataclass(frozen=True, order=True)
class Event:
    """One appearance and one motion."""

    count: str
    size: str
    colour: str
    shape: str
    motion: str


Meaning = tuple[Event, ...]  # one event, or two different ones in their order


@dataclass(frozen=True)
class Clip:
    """One video of the benchmark; `edit` is `base` or what of the base was changed, one of `EDITS`."""

    video_id: str
    split: str
    meaning: Meaning
    captions: tuple[str, ...]
    family: str | None = None
    edit: str | None = None


def all_events() -> list[Event]:
    """All 480 events, in a fixed order."""
    return [Event(*values) for values in product(*VALUES.values())]


def caption_of(meaning: Meaning, rng: random.Random | None = None) -> str:
    """Say a meaning: in the plain words that evaluation uses, or with synonyms drawn from `rng`."""

    def word(plain: str) -> str:
        return plain if rng is None else rng.choice(SYNONYMS.get(plain, (plain,)))

    parts = []
    for event in meaning:
        many = event.count == "two"
        shape = word(event.shape)
        verb = word("stays" if event.motion == "still" else "moves")
        if many:
            shape = PLURALS.get(shape, shape + "s")
            verb = {"goes": "go"}.get(verb, verb.removesuffix("s"))
        parts.append(" ".join((event.count, word(event.size), word(event.colour), shape, verb, word(event.motion))))
    return f" {word('then')} ".join(parts)


def edit_meaning(meaning: Meaning, kind: str, rng: random.Random) -> Meaning:
    """Change one thing: a value of one of the events, or (`order`, two events only) which comes first."""
    if kind == "order":
        return meaning[::-1]
    place = rng.randrange(len(meaning))
    old = getattr(meaning[place], kind)
    changed = replace(meaning[place], **{kind: rng.choice([v for v in VALUES[kind] if v != old])})
    return (*meaning[:place], changed, *meaning[place + 1 :])


def difference(first: Meaning, second: Meaning) -> list[str]:
    """Names of the values in which two meanings of equal length differ, event by event."""
    return [
        field.name
        for one, other in zip(first, second, strict=True)
        for field in fields(one)
        if getattr(one, field.name) != getattr(other, field.name)
    ]


def plan_clips(seed: int = 0, scale: float = 1.0) -> list[Clip]:
    """Every clip of the data set: the same list for the same seed and scale.

    `scale` multiplies the size of each split (at least two families or eight clips stay). Half of the 480
    single-event meanings are kept for evaluation, and all two-event meanings that `val`, `test` and `hard` use;
    `val` and `test` share no meaning, and each of their meanings comes once, so their captions are unique.
    """
    rng = random.Random(f"shapes/{seed}")
    singles = [(event,) for event in all_events()]
    rng.shuffle(singles)
    kept, trained = singles[: len(singles) // 2], singles[len(singles) // 2 :]
    pairs = _Pairs(rng)

    clips: list[Clip] = []
    unused = list(kept)
    for split, size in (("test", TEST_CLIPS), ("val", VAL_CLIPS)):
        number = max(8, round(size * scale))
        ones = round(number * SINGLE_PART)
        meanings = [unused.pop() for _ in range(ones)] + [pairs.fresh() for _ in range(number - ones)]
        rng.shuffle(meanings)
        clips += [
            Clip(f"{split}-{i:04d}", split, meaning, (caption_of(meaning),)) for i, meaning in enumerate(meanings)
        ]
    clips += _families("hard", HARD_FAMILIES, scale, kept, pairs, rng)
    clips += _families("train", TRAIN_FAMILIES, scale, trained, pairs, rng)
    order = ("train", "val", "test", "hard")
    return sorted(clips, key=lambda clip: order.index(clip.split))


class _Pairs:
    """Hands out two-event meanings, each once."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.events = all_events()
        self.used: set[Meaning] = set()

    def fresh(self) -> Meaning:
        while True:
            first, second = self.rng.sample(self.events, 2)
            if self.take((first, second)):
                return first, second

    def take(self, meaning: Meaning) -> bool:
        if meaning in self.used or meaning[0] == meaning[1]:
            return False
        self.used.add(meaning)
        return True


def _families(
    split: str, size: int, scale: float, singles: Sequence[Meaning], pairs: _Pairs, rng: random.Random
) -> list[Clip]:
    """A base and three one-word edits of it, `size` times; single-event meanings come from `singles` and may repeat."""
    number = max(2, round(size * scale))
    ones = round(number * SINGLE_PART)
    allowed = set(singles)
    clips = []
    for i in range(number):
        while True:
            family = _family_of_one(singles, allowed, rng) if i < ones else _family_of_two(pairs, rng)
            if len(family) == FAMILY_SIZE:
                break
        for member, (edit, meaning) in enumerate(family.items()):
            captions = [caption_of(meaning)]
            while split == "train" and len(captions) < TRAIN_CAPTIONS:
                other = caption_of(meaning, rng)
                if other not in captions:
                    captions.append(other)
            name = f"{split}-{i:04d}"
            clips.append(Clip(f"{name}-{member}", split, meaning, tuple(captions), name, edit))
    return clips


def _family_of_one(singles: Sequence[Meaning], allowed: set[Meaning], rng: random.Random) -> dict[str, Meaning]:
    base = rng.choice(singles)
    family = {"base": base}
    for kind in rng.sample(list(VALUES), len(VALUES)):
        edited = edit_meaning(base, kind, rng)
        if edited in allowed and len(family) < FAMILY_SIZE:
            family[kind] = edited
    return family


def _family_of_two(pairs: _Pairs, rng: random.Random) -> dict[str, Meaning]:
    base = pairs.fresh()
    family = {"base": base}
    for kind in rng.sample(EDITS, len(EDITS)):
        if len(family) < FAMILY_SIZE:
            edited = edit_meaning(base, kind, rng)
            if pairs.take(edited):
                family[kind] = edited
    return family

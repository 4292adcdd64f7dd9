"""Which pairs share a batch: the order of an epoch, decided by the seed and the epoch alone.

An epoch is made of units that must stay together (a single pair; the one-word edits of a family; a caption and those
most like it). The units of one video are spread over the epoch, and a unit that would bring a video into a batch twice
waits for the next one, so that a batch holds a video twice only where nothing else is left.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tvrkit.config import Config
from tvrkit.data import Pair, pairs_of
from tvrkit.errors import DataError
from tvrkit.manifest import Record

Unit = tuple[Pair, ...]

NEIGHBOURS = 8
"""Captions in a unit of similar ones."""
CANDIDATES = 128
"""Captions looked at for a unit, those that share its rarest words first."""


class Plan:
    """All batches of a run, epoch by epoch, and where in them a step is."""

    def __init__(self, records: Sequence[Record], config: Config) -> None:
        self._records, self._config = records, config
        self._kept: tuple[int, list[tuple[Pair, ...]]] | None = None
        train = config.train
        self.total = train.max_steps or sum(len(self.batches(epoch)) for epoch in range(train.epochs))
        """Optimiser steps of the whole run."""

    def batches(self, epoch: int) -> list[tuple[Pair, ...]]:
        """The batches of an epoch, counted from 0; the same at every call."""
        if self._kept is None or self._kept[0] != epoch:
            train, data = self._config.train, self._config.data
            made = epoch_batches(
                self._records,
                train.batch_size,
                sampler=train.sampler,
                captions=data.captions,
                seed=train.seed,
                epoch=epoch,
            )
            self._kept = (epoch, made)
        return self._kept[1]

    def rest(self, step: int, at_end: bool) -> Iterator[tuple[int, list[tuple[Pair, ...]]]]:
        """Epoch by epoch, the batches that are left after `step` steps.

        Args:
            step: optimiser steps done.
            at_end: if `step` ends an epoch, begin with the empty rest of that one, not with the next.
        """
        first = 0  # step at which the epoch begins
        for epoch in itertools.count():
            batches = self.batches(epoch)[: self.total - first]
            end = first + len(batches)
            if step < end or (at_end and step == end):
                yield epoch, batches[max(0, step - first) :]
            first = end
            if first >= self.total:
                return


def epoch_batches(
    records: Sequence[Record], batch_size: int, *, sampler: str, captions: str, seed: int, epoch: int
) -> list[tuple[Pair, ...]]:
    """The batches of one epoch.

    Args:
        records: the training split.
        batch_size: most pairs of a batch. All pairs are used; batches are of nearly equal size.
        sampler: `random`, `family` or `neighbours`.
        captions: `all` pairs, or `one` caption a video, drawn for this epoch.
        seed: of the run.
        epoch: counts from 0.

    Raises:
        DataError: there are no captions, or `family` is asked for and no record has the tag `family`.
    """
    random = np.random.default_rng([seed, epoch])
    pairs = pairs_of(records)
    if captions == "one":
        pairs = [Pair(v, int(random.integers(len(r.captions)))) for v, r in enumerate(records) if r.captions]
    units = _SAMPLERS[sampler](records, pairs, batch_size, random)
    return _pack(units, batch_size, random)


def _single(records: Sequence[Record], pairs: list[Pair], batch_size: int, random: np.random.Generator) -> list[Unit]:
    """`random`: every pair by itself."""
    return _spread([(pair,) for pair in pairs], random)


def _families(records: Sequence[Record], pairs: list[Pair], batch_size: int, random: np.random.Generator) -> list[Unit]:
    """`family`: one caption of each member of a family, so that a caption meets its one-word edits."""
    if not any("family" in record.tags for record in records):
        raise DataError(
            "train.sampler=family needs records with the tag 'family', and this data set has none:"
            " set train.sampler=random or train.sampler=neighbours."
        )
    rounds: dict[tuple[str, int], list[Pair]] = defaultdict(list)
    seen: Counter[int] = Counter()
    for index in random.permutation(len(pairs)):
        pair = pairs[index]
        record = records[pair.video]
        family = record.tags.get("family", f"\0{record.video_id}")
        rounds[family, seen[pair.video]].append(pair)
        seen[pair.video] += 1
    units = [
        tuple(unit[start : start + batch_size]) for unit in rounds.values() for start in range(0, len(unit), batch_size)
    ]
    return _spread(units, random)


def _neighbours(
    records: Sequence[Record], pairs: list[Pair], batch_size: int, random: np.random.Generator
) -> list[Unit]:
    """`neighbours`: a caption and those of other videos that share most of its words, rare words counting more.

    The likeness is the cosine of the captions' idf vectors (a word counts log(N / captions that have it), once).
    A caption enters one unit only.
    """
    words = [set(re.findall(r"\w+", records[p.video].captions[p.caption].lower())) for p in pairs]
    holders: dict[str, list[int]] = defaultdict(list)
    for index in random.permutation(len(pairs)):
        for word in words[index]:
            holders[word].append(int(index))
    weight = {word: math.log(len(pairs) / len(indices)) ** 2 for word, indices in holders.items()}
    norm = [math.sqrt(sum(weight[word] for word in row)) or 1.0 for row in words]
    free = [True] * len(pairs)
    units = []
    for index in random.permutation(len(pairs)):
        anchor = int(index)
        if not free[anchor]:
            continue
        free[anchor] = False
        candidates: dict[int, None] = {}
        for word in sorted(words[anchor], key=lambda word: (-weight[word], word)):
            if len(candidates) < CANDIDATES:
                candidates.update(dict.fromkeys(_some_free(holders[word], free)))
        likeness = {i: sum(weight[word] for word in words[i] & words[anchor]) / norm[i] for i in candidates}
        unit, videos = [anchor], {pairs[anchor].video}
        for other in sorted(candidates, key=lambda i: (-likeness[i], i)):
            if len(unit) == min(NEIGHBOURS, batch_size):
                break
            if likeness[other] > 0 and pairs[other].video not in videos:
                free[other] = False
                videos.add(pairs[other].video)
                unit.append(other)
        units.append(tuple(pairs[i] for i in unit))
    return _spread(units, random)


def _some_free(holders: list[int], free: list[bool]) -> list[int]:
    """Up to `CANDIDATES` free ones from the end of a list; those that are not free leave it for good."""
    found: list[int] = []
    while holders and len(found) < CANDIDATES:
        index = holders.pop()
        if free[index]:
            found.append(index)
    holders.extend(reversed(found))
    return found


_SAMPLERS: dict[str, Callable[[Sequence[Record], list[Pair], int, np.random.Generator], list[Unit]]] = {
    "random": _single,
    "family": _families,
    "neighbours": _neighbours,
}


def _spread(units: list[Unit], random: np.random.Generator) -> list[Unit]:
    """Shuffle, but with the n units that show one video lying in n equal parts of the epoch."""
    of_video: dict[int, list[int]] = defaultdict(list)
    for index in random.permutation(len(units)):
        of_video[units[index][0].video].append(int(index))
    places = np.empty(len(units))
    for indices in of_video.values():
        places[indices] = (np.arange(len(indices)) + random.random(len(indices))) / len(indices)
    return [units[index] for index in np.argsort(places, kind="stable")]


def _pack(units: list[Unit], batch_size: int, random: np.random.Generator) -> list[tuple[Pair, ...]]:
    """Cut the units into batches of nearly equal size, none above `batch_size`, in random order."""
    total, largest = sum(map(len, units)), max(map(len, units))
    even = total / math.ceil(total / batch_size)
    limit = min(batch_size, math.ceil(even / largest - 1e-9) * largest)
    waiting: deque[Unit] = deque()
    batches: list[list[Pair]] = []
    source = deque(units)
    while source or waiting:
        batch: list[Pair] = []
        videos: set[int] = set()
        put_off: deque[Unit] = deque()
        while waiting or source:
            unit = waiting.popleft() if waiting else source.popleft()
            if len(batch) + len(unit) > limit:
                put_off.append(unit)
                break
            if videos.isdisjoint(pair.video for pair in unit):
                batch.extend(unit)
                videos.update(pair.video for pair in unit)
            else:
                put_off.append(unit)
        # Nothing else is left: rather the same video twice (losses.py knows) than a batch of a few pairs.
        while not (source or waiting) and put_off and len(batch) + len(put_off[0]) <= limit:
            batch.extend(put_off.popleft())
        waiting = put_off + waiting
        batches.append(batch)
    return [tuple(batches[index]) for index in random.permutation(len(batches))]

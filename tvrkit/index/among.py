"""What one question is asked of: the moments that its filters allow, scored all, or the likely ones only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from tvrkit.index.ask import Where
from tvrkit.index.engine import Engine, MomentRef
from tvrkit.index.grouping import Scored, best_of, best_videos
from tvrkit.index.scoring import Sample, Scorer, take_sample
from tvrkit.index.where import allowed_videos, paths_inside

CHUNK = 1024
"""Moments read at once: 25 MB of 12 frames of 512."""

_FILTERS = 16  # that are remembered
_MOST_BEST = 2**17  # videos whose best score is remembered while all are looked at, beyond those that are wanted
_GROWTH = 4


class Allowed(NamedTuple):
    """What some filters allow: identities (None: all), how many, how many of those have a moment, and all moments."""

    identities: frozenset[str] | None
    videos: int
    with_moments: int
    moments: int


class World:
    """An engine, and what questions to it have in common."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.facts = engine.facts()
        self._allowed: OrderedDict[Where, Allowed] = OrderedDict()
        self._sample: Sample | None = None
        self._lock = threading.Lock()

    @property
    def sample(self) -> Sample:
        """Taken once."""
        if self._sample is None:
            self._sample = take_sample(self.engine)
        return self._sample

    def allowed(self, where: Where) -> Allowed:
        """What filters allow, remembered: to look through 100,000 videos takes longer than to search them."""
        with self._lock:
            if where in self._allowed:
                self._allowed.move_to_end(where)
                return self._allowed[where]
        identities = allowed_videos(where, self.facts)
        moments = [self.facts[identity].moments for identity in (self.facts if identities is None else identities)]
        allowed = Allowed(identities, len(moments), sum(map(bool, moments)), sum(moments))
        with self._lock:
            self._allowed[where] = allowed
            while len(self._allowed) > _FILTERS:
                self._allowed.popitem(last=False)
        return allowed


class Among:
    """The moments that one question is asked of.

    Args:
        world: the engine.
        where: the filters.
        without: identities that are no answer.

    Attributes:
        videos: how many are allowed.
        moments: how many those have.
    """

    def __init__(self, world: World, where: Where, without: Collection[str] = ()) -> None:
        self._world, self._where = world, where
        allowed = world.allowed(where)
        self._identities = allowed.identities
        self._without = {i for i in without if i in world.facts and (self._identities is None or i in self._identities)}
        left_out = [world.facts[identity].moments for identity in self._without]
        self._left_out = sum(left_out)
        self.videos = allowed.videos - len(left_out)
        self.moments = allowed.moments - sum(left_out)
        self._with_moments = allowed.with_moments - sum(map(bool, left_out))

    def paths(self, identity: str) -> tuple[str, ...]:
        """Where a video lies, the path to show first."""
        return paths_inside(self._where, self._world.facts[identity].paths)

    def likely(
        self, scorer: Scorer, top: int, moments: int, candidates: int, *, enough: bool = True
    ) -> list[tuple[Scored, ...]]:
        """The best videos among those of the candidates, as `best_videos` gives them.

        Args:
            scorer: the question.
            top: most videos.
            moments: most moments of each.
            candidates: moments to be scored.
            enough: take more candidates as long as they are of fewer than `top` videos: a long one can fill them all.
        """
        seen: dict[MomentRef, Scored] = {}
        while True:
            refs = self._world.engine.candidates(scorer.vectors, candidates + self._left_out, self._identities)
            refs = [ref for ref in refs if ref.identity not in self._without][:candidates]
            new = [ref for ref in refs if ref not in seen]
            seen.update(zip(new, self._scored(scorer, new), strict=True))
            found = len({ref.identity for ref in seen})
            if not enough or found >= min(top, self._with_moments) or candidates >= self.moments or not new:
                return best_videos(seen.values(), top, moments, self._path)
            candidates *= _GROWTH

    def all(self, scorer: Scorer, top: int, moments: int) -> list[tuple[Scored, ...]]:
        """The best videos of all, as `best_videos` gives them; every moment is scored."""
        if self.moments <= CHUNK:
            refs = [ref for chunk in self._refs(self._identities) for ref in chunk]
            return best_videos(self._scored(scorer, refs), top, moments, self._path)
        best: dict[str, float] = {}
        for chunk in self._refs(self._identities):
            for scored in self._scored(scorer, chunk):
                best[scored.identity] = max(scored.score, best.get(scored.identity, scored.score))
            if len(best) > _MOST_BEST + 2 * top:
                best = {identity: best[identity] for identity in best_of(best, top, self._path)}
        # Their moments once more, for their second and third ones: no other video's need be kept.
        chosen = frozenset(best_of(best, top, self._path))
        again = [scored for chunk in self._refs(chosen) for scored in self._scored(scorer, chunk)]
        return best_videos(again, top, moments, self._path)

    def _path(self, identity: str) -> str:
        return self.paths(identity)[0]

    def _refs(self, identities: frozenset[str] | None) -> Iterator[list[MomentRef]]:
        for chunk in self._world.engine.refs(identities, CHUNK):
            if kept := [ref for ref in chunk if ref.identity not in self._without]:
                yield kept

    def _scored(self, scorer: Scorer, refs: Sequence[MomentRef]) -> list[Scored]:
        found = []
        for first in range(0, len(refs), CHUNK):
            moments = self._world.engine.read(refs[first : first + CHUNK])
            rows = zip(moments.refs, scorer(moments).tolist(), moments.spans.tolist(), strict=True)
            found += [Scored(*ref, score, *span) for ref, score, span in rows]
        return found

"""Search in two stages: pooled vectors choose candidates, the model's own similarity scores them frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from tvrkit.core import RetrievalModel
from tvrkit.frames.reading import Reading
from tvrkit.index.among import CHUNK, Among, World
from tvrkit.index.ask import Ask
from tvrkit.index.engine import Engine, MomentFeatures, MomentRef
from tvrkit.index.grouping import Scored
from tvrkit.index.hits import Answer, FoundMoment, Hit
from tvrkit.index.parts import Query, encode_parts, is_cut
from tvrkit.index.scoring import Scorer, similarity

if TYPE_CHECKING:
    from tvrkit.index.confidence import Judge

CANDIDATES = 400
"""Moments that the second stage looks at, when nothing is said."""

_CANDIDATES_A_VIDEO = 10  # at least, where many videos are asked for


def candidates_for(ask: Ask) -> int:
    """How many moments the second stage looks at."""
    return ask.candidates or max(CANDIDATES, _CANDIDATES_A_VIDEO * ask.top)


class Searcher:
    """Answers questions about one engine with one model; any number of threads may ask at once.

    Args:
        model: the engine's.
        engine: where the moments are.
        judge: says how likely it is that a moment fits; None leaves confidence out.
        reading: how videos that are asked for, and are not in the index, are read.
    """

    def __init__(
        self, model: RetrievalModel, engine: Engine, *, judge: Judge | None = None, reading: Reading = Reading()
    ) -> None:
        self._model, self._judge, self._reading = model, judge, reading
        self._world = World(engine)

    @property
    def engine(self) -> Engine:
        """What is searched in."""
        return self._world.engine

    @property
    def model(self) -> RetrievalModel:
        """What answers."""
        return self._model

    def refresh(self, engine: Engine) -> None:
        """Search in this one from now on; what is being answered is answered from the one before."""
        self._world = World(engine)

    def search(self, ask: Ask) -> Answer:
        """What fits best; see `search_many`."""
        return self.search_many([ask])[0]

    @torch.no_grad()
    def search_many(self, asks: Sequence[Ask]) -> list[Answer]:
        """An answer for each question; all their words are encoded in one call.

        Raises:
            DataError: a picture cannot be read, or a video that is asked for is blank.
            VideoError: a video that is asked for cannot be read.
            ModelError: the model gives something that is no number.
            StoreError: the index cannot be read.
        """
        world = self._world
        encoded = encode_parts(self._model, world.engine, [part for ask in asks for part in ask.parts], self._reading)
        return [self._answer(world, ask, [encoded[part] for part in ask.parts]) for ask in asks]

    @torch.no_grad()
    def answer(self, ask: Ask, queries: Sequence[Query]) -> Answer:
        """The answer to a question whose parts are encoded already."""
        return self._answer(self._world, ask, queries)

    def _answer(self, world: World, ask: Ask, queries: Sequence[Query]) -> Answer:
        among = Among(world, ask.where, {query.identity for query in queries if query.identity is not None})
        notes = tuple(self._notes(ask))
        if not among.moments:
            return Answer((), None, among.videos, 0, exact=True, notes=notes)
        scorer = Scorer(queries, lambda: world.sample)
        candidates = candidates_for(ask)
        exact = ask.exact or candidates >= among.moments
        if exact:
            best = among.all(scorer, ask.top, ask.moments)
        else:
            best = among.likely(scorer, ask.top, ask.moments, candidates, enough=ask.candidates is None)
        judge = self._judge if scorer.words is not None else None
        hits = self._hits(world, among, scorer, best, judge)
        return Answer(hits, judge.threshold if judge else None, among.videos, among.moments, exact, notes)

    def _notes(self, ask: Ask) -> Iterator[str]:
        if any(part.kind == "text" and is_cut(self._model, part.value) for part in ask.parts):
            words = self._model.config.max_words
            yield f"the query is longer than the {words} tokens this model takes: only its beginning counts."

    def _hits(
        self, world: World, among: Among, scorer: Scorer, best: Sequence[Sequence[Scored]], judge: Judge | None
    ) -> tuple[Hit, ...]:
        shown = [moment for video in best for moment in video]
        moments: Iterator[FoundMoment] = (
            found
            for first in range(0, len(shown), CHUNK)
            for found in _found(world.engine, scorer, shown[first : first + CHUNK], judge, among.moments)
        )
        hits = []
        for rank, video in enumerate(best, start=1):
            found = tuple(next(moments) for _ in video)
            path, *others = among.paths(video[0].identity)
            hits.append(
                Hit(
                    rank,
                    found[0].score,
                    found[0].confidence,
                    video[0].identity,
                    path,
                    tuple(others),
                    world.facts[video[0].identity].duration_seconds,
                    found,
                )
            )
        return tuple(hits)


def _found(
    engine: Engine, scorer: Scorer, shown: Sequence[Scored], judge: Judge | None, searched: int
) -> list[FoundMoment]:
    """What is only needed of the moments that are shown: their best frames, and how likely they fit."""
    read = engine.read([MomentRef(moment.identity, moment.number) for moment in shown])
    seconds = read.pts_seconds.gather(1, scorer.best_frame(read)[:, None])[:, 0].tolist()
    confidence = _confidence(scorer, read, judge, searched)
    return [
        FoundMoment(moment.number, moment.start_seconds, moment.end_seconds, at, moment.score, sure)
        for moment, at, sure in zip(shown, seconds, confidence, strict=True)
    ]


def _confidence(scorer: Scorer, moments: MomentFeatures, judge: Judge | None, searched: int) -> Sequence[float | None]:
    if judge is None or scorer.words is None:
        return [None] * len(moments.refs)
    text = scorer.words
    return judge.confidence(text.features, similarity(text, moments), moments, searched).tolist()

"""One model and one index, asked again and again: what `query` and `shell` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tvrkit.cli import output
from tvrkit.cli.answers import at_least, explain_hits, words_of
from tvrkit.cli.opening import Opened
from tvrkit.errors import ConfigError, DataError
from tvrkit.frames.reading import Reading
from tvrkit.index.ask import Ask

if TYPE_CHECKING:
    from tvrkit.index.explain import Explanation
    from tvrkit.index.hits import Answer, Hit


class Session:
    """What is open, ready to be asked.

    Attributes:
        opened: model and index.
        reading: how videos and pictures that are asked for, or shown, are read.
    """

    def __init__(self, opened: Opened, reading: Reading) -> None:
        """Prepare to search what is open.

        Raises:
            DataError: the index is empty.
        """
        from tvrkit.index.confidence import load_judge
        from tvrkit.index.search import Searcher

        self.opened, self.reading = opened, reading
        judge = load_judge(opened.model, opened.source)
        self._searcher = Searcher(opened.model, opened.engine, judge=judge, reading=reading)
        self._generation = self._now()

    def refresh(self) -> bool:
        """Search in the index as it is now; whether that made a difference."""
        now = self._now()
        if now == self._generation:
            return False
        self.opened.reload()
        self._searcher.refresh(self.opened.engine)
        self._generation = now
        return True

    def search(self, asks: Sequence[Ask], min_confidence: float | None = None) -> list[Answer]:
        """Answers in order; what a user should know of them is told.

        Raises:
            TvrkitError: as `Searcher.search_many`.
        """
        answers = []
        for answer in self._searcher.search_many(asks):
            for note in answer.notes:
                output.warn(note)
            answers.append(at_least(answer, min_confidence))
        return answers

    def search_one(self, ask: Ask, min_confidence: float | None = None) -> Answer:
        """The answer to one question.

        Raises:
            DataError: the filters allow no video.
            TvrkitError: as `Searcher.search_many`.
        """
        (answer,) = self.search([ask], min_confidence)
        if not answer.videos:
            raise DataError(nothing_allowed(ask))
        return answer

    def explain(self, ask: Ask, hit: Hit) -> Explanation:
        """The first words of a question against the frames of a hit's best moment.

        Raises:
            ConfigError: there are no words.
        """
        from tvrkit.index.engine import MomentRef
        from tvrkit.index.explain import explain

        words = words_of(ask)
        if words is None:
            raise ConfigError("only words can be explained: say in words what to look for.")
        return explain(self.opened.model, self.opened.engine, words, MomentRef(hit.identity, hit.moments[0].number))

    def explain_all(self, ask: Ask, answer: Answer) -> dict[int, Explanation]:
        """Every hit's, by rank."""
        return explain_hits(answer, lambda hit: self.explain(ask, hit))

    def _now(self) -> str:
        return "" if self.opened.index is None else self.opened.index.generation()


def nothing_allowed(ask: Ask) -> str:
    """Why no video was searched, and what to do."""
    where = ask.where
    if where.inside and where == type(where)(inside=where.inside):
        places = ", ".join(where.inside)
        return f"nothing in the index lies in {places}: `tvrkit index DIR` or --videos DIR puts it there."
    return "no video in the index fits --in, --longer, --shorter, --after and --before together: leave one out."

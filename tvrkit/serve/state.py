"""What the worker's thread holds: model, index and searcher; and the picture of them that everybody else may read."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

from tvrkit.errors import TvrkitError
from tvrkit.index.answer_json import explanation_json
from tvrkit.index.ask import Ask, text
from tvrkit.index.engine import MomentRef, VideoFacts
from tvrkit.index.hits import Answer
from tvrkit.serve.refusal import Refusal

if TYPE_CHECKING:
    from tvrkit.core import RetrievalModel
    from tvrkit.index.engine import Engine
    from tvrkit.index.video_index import VideoIndex

MOST_FOLDERS = 2000
_MOMENTS_AT_ONCE = 64

log = logging.getLogger("tvrkit.serve")


class Opened(Protocol):
    """A model and what it searches in, as `tvrkit.cli.opening` gives them."""

    model: RetrievalModel
    source: str
    index: VideoIndex | None

    @property
    def engine(self) -> Engine:
        """What is searched in."""
        ...

    def __exit__(self, *exception: object) -> None: ...


@dataclass(frozen=True)
class Snapshot:
    """An index as it was when last looked at; never changed, so that every thread may read it.

    Attributes:
        facts: indexed contents that have a file, by identity.
        stamps: path -> what told the file's state when it was indexed; empty where a server keeps the index.
        moments: how many there are.
        exact: whether every moment is looked at.
        folders: places to look in, as the filter `in` takes them.
        status: for `GET /api/status`.
    """

    facts: Mapping[str, VideoFacts]
    stamps: Mapping[str, str]
    moments: int
    exact: bool
    folders: tuple[str, ...]
    status: Mapping[str, Any]


class State:
    """The desk of `batching.Worker`: everything but `snapshot` belongs to its thread."""

    def __init__(self, opened: Opened) -> None:
        from tvrkit.index.confidence import load_judge
        from tvrkit.index.search import Searcher

        self._opened = opened
        self._generation = self._generation_now()
        self._trouble = ""
        self._engine = opened.engine
        self._searcher = Searcher(opened.model, self._engine, judge=load_judge(opened.model, opened.source))
        self.snapshot = self._picture()
        self.search_many([text("a dog", top=1)])  # nobody's first question is to wait for what is made once

    def search_many(self, asks: Sequence[Ask]) -> list[Answer]:
        """An answer for each question; raises TvrkitError."""
        return self._searcher.search_many(asks)

    def look(self) -> None:
        """Take the index as it is now; where it cannot be read just then, the one before stays."""
        index = self._opened.index
        if index is None:
            return
        try:
            generation = self._generation_now()
            if generation == self._generation:
                return
            engine = index.engine()
            self._searcher.refresh(engine)
            self._engine, self._generation = engine, generation
            self.snapshot = self._picture()
            self._trouble = ""
        except TvrkitError as error:
            if str(error) != self._trouble:  # it is tried again every second
                log.warning(f"the index has changed and cannot be read, the one before is still served: {error}")
            self._trouble = str(error)

    def close(self) -> None:
        """Let go of the index."""
        self._opened.__exit__(None, None, None)

    def moments(self, video: str) -> list[dict[str, float]]:
        """Spans of a video's moments, for `GET /api/videos/{video}`; raises Refusal and StoreError."""
        refs = [MomentRef(video, number) for number in range(self._facts(video).moments)]
        spans: list[list[float]] = []
        for at in range(0, len(refs), _MOMENTS_AT_ONCE):
            spans += self._engine.read(refs[at : at + _MOMENTS_AT_ONCE]).spans.tolist()
        return [
            {"number": number, "start_seconds": start, "end_seconds": end} for number, (start, end) in enumerate(spans)
        ]

    def explain(self, video: str, moment: int, words: str) -> dict[str, Any]:
        """Words against the frames of a moment; raises Refusal and TvrkitError."""
        from tvrkit.index.explain import explain

        if moment >= self._facts(video).moments:
            raise Refusal(404, f"that video has no moment {moment}: its last one is {self._facts(video).moments - 1}.")
        return explanation_json(explain(self._opened.model, self._engine, words, MomentRef(video, moment)))

    def _facts(self, video: str) -> VideoFacts:
        return known(self.snapshot, video)

    def _generation_now(self) -> str:
        return "" if self._opened.index is None else self._opened.index.generation()

    def _picture(self) -> Snapshot:
        facts, index = self._engine.facts(), self._opened.index
        status = None if index is None else index.status()
        return Snapshot(
            facts=facts,
            stamps={} if index is None else {row.path: row.stamp for row in index.files()},
            moments=len(self._engine),
            exact=self._engine.exact,
            folders=folders_of(facts),
            status={
                "model": self._opened.source,
                "fingerprint": self._engine.fingerprint,
                "device": str(self._opened.model.device),
                "videos": len(facts),
                "moments": len(self._engine),
                "exact": self._engine.exact,
                "pending": status.pending if status else 0,
                "failures": len(status.failures) if status else 0,
            },
        )


def known(snapshot: Snapshot, video: str) -> VideoFacts:
    """What is known of a video.

    Raises:
        Refusal: 404, nothing.
    """
    try:
        return snapshot.facts[video]
    except KeyError:
        raise Refusal(404, "there is no such video in the index (any more).") from None


def folders_of(facts: Mapping[str, VideoFacts]) -> tuple[str, ...]:
    """Folders and addresses that hold videos, sorted; where there are too many for a list, the deepest are left out."""
    found = {_above(path) for video in facts.values() for path in video.paths}
    shallow = sorted(found, key=lambda folder: (folder.count("/") + folder.count(os.sep), folder))
    return tuple(sorted(shallow[:MOST_FOLDERS]))


def _above(path: str) -> str:
    return path.rpartition("/")[0] if "://" in path else str(PurePath(path).parent)

"""How much the two stages of search miss on one's own index, against scoring every moment in full; and how fast it is.

Letters: T queries, V videos.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tvrkit.core.features import TextFeatures
from tvrkit.index.among import CHUNK
from tvrkit.index.ask import Ask, Part
from tvrkit.index.confidence import everyday_sentences
from tvrkit.index.engine import Engine, MomentFeatures
from tvrkit.index.hits import Answer
from tvrkit.index.parts import Query, query_of_frames, query_of_picture, query_of_words
from tvrkit.index.scoring import take_sample
from tvrkit.index.search import Searcher, candidates_for

OnProgress = Callable[[int, int], None]

RANKS = (1, 10, 100)
"""How many videos are asked for."""

_SENTENCES, _OF_THE_INDEX = 64, 32  # queries of a kind
_MOST_SCORES = 2**26  # of queries and videos, 256 MB: fewer queries where there are more videos
_SAME = 1e-5  # scores that differ by less are equal but for rounding
_EXACT_TIMES = 3


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        videos: in the index.
        moments: of those.
        queries: how many were asked, by kind: everyday sentences, single frames of the index's own videos, and whole
            moments of them (each among the other videos).
        recall: (kind, k) -> share of the k best videos of an exact search that are among the first k of the two stages.
        candidates: k -> moments that the second stage looks at.
        encode_seconds: to encode one sentence, median.
        seconds: of one search for ten videos beside that, median.
        slow_seconds: the 95th of a hundred.
        exact_seconds: of one exact search, median.
    """

    videos: int
    moments: int
    queries: Mapping[str, int]
    recall: Mapping[tuple[str, int], float]
    candidates: Mapping[int, int]
    encode_seconds: float
    seconds: float
    slow_seconds: float
    exact_seconds: float

    def rows(self) -> list[list[str]]:
        """A table: a header, and a line for each kind of query."""
        rows = [["asked for", "queries", *(f"recall@{k}" for k in RANKS)]]
        for kind, count in self.queries.items():
            rows.append([kind, str(count), *(f"{self.recall[kind, k]:.3f}" for k in RANKS)])
        return rows

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows(), strict=True)]
        table = "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in self.rows())
        looked = ", ".join(f"{count:,} for {k}" for k, count in self.candidates.items())
        return (
            f"{self.videos:,} videos, {self.moments:,} moments; scored in full for so many videos: {looked}.\n{table}\n"
            f"One search takes {_ms(self.seconds)} (95 of 100 at most {_ms(self.slow_seconds)}), and its words"
            f" {_ms(self.encode_seconds)}; with every moment scored in full it takes {_ms(self.exact_seconds)}."
        )


def measure(searcher: Searcher, on_progress: OnProgress | None = None) -> Measured:
    """Ask one's own index the same questions in two stages and exactly.

    Args:
        searcher: what is measured.
        on_progress: told how many moments of how many are scored.

    Raises:
        StoreError: the index cannot be read.
        ModelError: the model gives something that is no number.
    """
    engine = searcher.engine
    queries = _queries(searcher)
    best = exact_scores(engine, queries, on_progress)
    recall: dict[tuple[str, int], float] = {}
    seconds: list[float] = []
    for k in RANKS:
        for kind, asked in queries.items():
            shares = []
            for query, scores in zip(asked, best[kind], strict=True):
                start = time.perf_counter()
                answer = searcher.answer(_ask(k), [query])
                if k == Ask.top:
                    seconds.append(time.perf_counter() - start)
                shares.append(_share(answer, scores, sorted(engine.facts()), k))
            recall[kind, k] = statistics.mean(shares)
    sentence = [next(iter(queries.values()))[0]]
    return Measured(
        videos=len(engine.facts()),
        moments=len(engine),
        queries={kind: len(asked) for kind, asked in queries.items()},
        recall=recall,
        candidates={k: min(candidates_for(_ask(k)), len(engine)) for k in RANKS},
        encode_seconds=_median(lambda: query_of_words(searcher.model, everyday_sentences()[:1]), 2 * _EXACT_TIMES),
        seconds=statistics.median(seconds),
        slow_seconds=sorted(seconds)[int(0.95 * (len(seconds) - 1))],
        exact_seconds=_median(lambda: searcher.answer(_ask(Ask.top, exact=True), sentence), _EXACT_TIMES),
    )


def _queries(searcher: Searcher) -> dict[str, list[Query]]:
    model, most = searcher.model, max(1, _MOST_SCORES // max(1, len(searcher.engine.facts())))
    bank = everyday_sentences()
    sentences = bank[:: max(1, len(bank) // _SENTENCES)][: min(_SENTENCES, most)]
    sample = take_sample(searcher.engine).moments
    frames, moments = [], []
    for row, (ref, mask) in enumerate(zip(sample.refs, sample.features.frame_mask, strict=True)):
        real = sample.features.frame_features[row, mask]
        if row % 2:
            frames.append(query_of_picture(model, real[len(real) // 2, None], identity=ref.identity))
        else:
            moments.append(query_of_frames(model, real, identity=ref.identity))
    few = min(_OF_THE_INDEX, most)
    kinds = {"sentences": query_of_words(model, sentences), "frames": frames[:few], "moments": moments[:few]}
    return {kind: asked for kind, asked in kinds.items() if asked}


@torch.no_grad()
def exact_scores(
    engine: Engine, queries: Mapping[str, Sequence[Query]], on_progress: OnProgress | None = None
) -> dict[str, Tensor]:
    """Every moment read once, for all queries; those of a kind have the same interaction.

    Returns:
        Kind -> (T, V) each video's best score, videos by identity; -inf for the video that is asked for itself.
    """
    column = {identity: i for i, identity in enumerate(sorted(engine.facts()))}
    best = {kind: torch.full((len(asked), len(column)), -torch.inf) for kind, asked in queries.items()}
    together = {kind: _together([query.features for query in asked]) for kind, asked in queries.items()}
    done = 0
    for refs in engine.refs(None, CHUNK):
        moments = engine.read(refs)
        at = torch.tensor([column[ref.identity] for ref in refs])
        for kind, asked in queries.items():
            scores = _similarity(asked[0], together[kind], moments)
            best[kind].scatter_reduce_(1, at.expand(len(asked), -1), scores, "amax")
        done += len(refs)
        if on_progress:
            on_progress(done, len(engine))
    for kind, asked in queries.items():
        for row, query in zip(best[kind], asked, strict=True):
            if query.identity is not None:
                row[column[query.identity]] = -torch.inf
    return best


def _similarity(query: Query, texts: TextFeatures, moments: MomentFeatures) -> Tensor:
    device = texts.text_features.device
    nearest = (moments.nearest[0].to(device), moments.nearest[1].to(device))
    scores: Tensor = query.interaction(texts, moments.features.to(device), nearest).cpu()
    return scores


def _together(queries: Sequence[TextFeatures]) -> TextFeatures:
    """Queries of different lengths as one value, padded."""
    longest = max(query.word_mask.shape[1] for query in queries)

    def padded(tensors: Sequence[Tensor]) -> Tensor:
        wide = tensors[0].new_zeros(len(tensors), longest, *tensors[0].shape[2:])
        for into, tensor in zip(wide, tensors, strict=True):
            into[: tensor.shape[1]] = tensor[0]
        return wide

    return TextFeatures(
        torch.cat([query.text_features for query in queries]),
        padded([query.word_features for query in queries]),
        padded([query.word_mask for query in queries]),
        padded([query.word_weights for query in queries]),
    )


def _share(answer: Answer, scores: Tensor, identities: Sequence[str], k: int) -> float:
    """How many of the k best videos by exact scores (V,) an answer has; those that tie with the last are as good."""
    possible = min(k, int(scores.isfinite().sum()))
    if possible == 0:
        return 1.0
    least = float(scores.topk(possible).values[-1]) - _SAME
    good = {identities[i] for i in (scores >= least).nonzero()[:, 0].tolist()}
    return min(1.0, sum(hit.identity in good for hit in answer.hits[:k]) / possible)


def _ask(top: int, *, exact: bool = False) -> Ask:
    return Ask((Part("text", "as encoded"),), top=top, exact=exact)


def _median(function: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"

"""Which queries a reader should look at: those that went worst, and those that two models answer most differently."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvrkit.evaluate import Evaluation
from tvrkit.metrics import Ranks
from tvrkit.report.names import Names
from tvrkit.report.parts import count, rank


@dataclass(frozen=True)
class Side:
    """One video beside a question.

    Attributes:
        label: why it is there.
        video: column.
        caption: what stands below it; None where there is nothing to say.
        scores: who gave it which score.
    """

    label: str
    video: int
    caption: str | None
    scores: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Question:
    """A query, how it went, and the videos to be looked at."""

    asked: str
    places: tuple[str, ...]
    sides: tuple[Side, ...]


def worst(ranks: Ranks, number: int) -> list[int]:
    """Queries whose right answer ranks lowest, the worst first; those with the right one first are none of them."""
    order = np.argsort(-ranks.place, kind="stable")[:number]
    return [int(query) for query in order if ranks.place[query] > 1]


def differing(a: Ranks, b: Ranks, number: int) -> tuple[list[int], list[int]]:
    """Queries that a answers better than b, and those that b answers better, the largest ratio of places first."""
    ratio = np.log(b.place) - np.log(a.place)
    order = np.argsort(-ratio, kind="stable")
    better = [int(query) for query in order[:number] if ratio[query] > 0]
    worse = [int(query) for query in order[::-1][:number] if ratio[query] < 0]
    return better, worse


def worst_captions(evaluation: Evaluation, names: Names, number: int) -> list[Question]:
    """Captions, with the right video and the one chosen in its place."""
    questions = []
    for text in worst(evaluation.t2v_ranks, number):
        scores = evaluation.similarity[text].cpu().numpy()
        right = int(names.video_of_text[text])
        chosen = _best_but(np.arange(len(scores)) == right, scores)
        sides = (
            Side("right video", right, None, (("score", float(scores[right])),)),
            Side("chosen instead", chosen, names.first_caption(chosen), (("score", float(scores[chosen])),)),
        )
        questions.append(Question(names.caption(text), (_place(evaluation.t2v_ranks, text),), sides))
    return questions


def worst_videos(evaluation: Evaluation, names: Names, number: int) -> list[Question]:
    """Videos, with the best of their own captions and the caption chosen in its place."""
    questions = []
    for query in worst(evaluation.v2t_ranks, number):
        video = int(names.asking_videos[query])
        scores = evaluation.similarity[:, video].cpu().numpy()
        own = names.video_of_text == video
        best, chosen = _best_but(~own, scores), _best_but(own, scores)
        sides = (
            Side("asking video, its best own caption", video, names.caption(best), (("score", float(scores[best])),)),
            Side(
                "caption chosen instead, and its video",
                int(names.video_of_text[chosen]),
                names.caption(chosen),
                (("score", float(scores[chosen])),),
            ),
        )
        questions.append(Question(names.video(video), (_place(evaluation.v2t_ranks, query),), sides))
    return questions


def differing_captions(both: dict[str, Evaluation], names: Names, number: int) -> tuple[list[Question], list[Question]]:
    """Captions that the first of two models answers better than the second, and the other way round."""
    a, b = both.values()
    better, worse = differing(a.t2v_ranks, b.t2v_ranks, number)
    return [_compared(both, names, text) for text in better], [_compared(both, names, text) for text in worse]


def _compared(both: dict[str, Evaluation], names: Names, text: int) -> Question:
    right = int(names.video_of_text[text])
    chosen: dict[int, list[str]] = {right: []}
    for name, evaluation in both.items():
        chosen.setdefault(int(evaluation.similarity[text].argmax()), []).append(name)
    sides = []
    for video, by in chosen.items():
        label = ["right video"] if video == right else []
        label += [f"chosen by {' and '.join(by)}"] if by else []
        scores = tuple((name, float(evaluation.similarity[text, video])) for name, evaluation in both.items())
        sides.append(Side(", ".join(label), video, None if video == right else names.first_caption(video), scores))
    places = tuple(f"{name}: {_place(evaluation.t2v_ranks, text)}" for name, evaluation in both.items())
    return Question(names.caption(text), places, tuple(sides))


def _best_but(passed_over: np.ndarray, scores: np.ndarray) -> int:
    """The highest score of the others: where scores tie, the first of all could be the right one itself."""
    return int(np.where(passed_over, -np.inf, scores).argmax())


def _place(ranks: Ranks, query: int) -> str:
    tied = int(ranks.equal[query])
    words = f"place {rank(float(ranks.place[query]))} of {ranks.num_items:,}"
    return words + (f", tied with {count(tied, 'other')}" if tied else "")

"""Both directions of retrieval as one value, made from any matrix of scores, and two of them compared.

Letters: T captions, V videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tvrkit.errors import DataError
from tvrkit.manifest import Record
from tvrkit.metrics import (
    Difference,
    Ranks,
    RetrievalMetrics,
    average_precision,
    compare_ranks,
    summarise,
    text_to_video_ranks,
    video_to_text_ranks,
)
from tvrkit.metrics.matrix import checked
from tvrkit.protocols import Coverage, coverage_of


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Both directions of retrieval on one split.

    Attributes:
        dataset, split, protocol: of the manifest.
        t2v: every caption is a query, every video of the split is in the gallery.
        v2t: every video is a query; it is found when its best caption is.
        t2v_ranks: of every caption, what `t2v` sums up.
        v2t_ranks: of every video with a caption, what `v2t` sums up.
        coverage: what of the protocol's set this is.
        similarity: (T, V), rows in the order of the captions, columns in that of the videos: the model's own scores,
            in a normalised row too, where each direction has scores of its own.
        video_of_text: (T,) int64, the column of each caption's video.
        records: of the videos, in the order of the columns; empty where only scores are known.
        missing: ids of unreadable videos, which with their captions were left out because the caller allowed it.
        normalisation: what was done to the scores and with which settings; None in a plain row.
        changed: direction -> queries whose rank is not the plain row's; None in a plain row.
    """

    dataset: str
    split: str
    protocol: str | None
    t2v: RetrievalMetrics
    v2t: RetrievalMetrics
    t2v_ranks: Ranks = field(repr=False)
    v2t_ranks: Ranks = field(repr=False)
    coverage: Coverage
    similarity: Tensor = field(repr=False)
    video_of_text: Tensor = field(repr=False)
    records: tuple[Record, ...] = field(default=(), repr=False)
    missing: tuple[str, ...] = ()
    normalisation: str | None = None
    changed: Mapping[str, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `missing`, `normalisation` and `changed` only where there is something to tell."""
        result: dict[str, Any] = {
            "dataset": self.dataset,
            "split": self.split,
            "protocol": self.protocol,
            "coverage": self.coverage.to_dict(),
            "t2v": self.t2v.to_dict(),
            "v2t": self.v2t.to_dict(),
        }
        if self.missing:
            result["missing"] = list(self.missing)
        if self.normalisation is not None:
            result["normalisation"] = self.normalisation
            result["changed"] = dict(self.changed or {})
        return result

    def words(self) -> str:
        """The main numbers in a few words."""
        t2v, v2t = self.t2v.to_dict(), self.v2t.to_dict()
        return (
            f"t2v R@1 {t2v['R@1']:.1f}, R@5 {t2v['R@5']:.1f}, R@10 {t2v['R@10']:.1f}, MdR {t2v['MdR']:g};"
            f" v2t R@1 {v2t['R@1']:.1f}"
        )


def evaluate_scores(
    similarity: ArrayLike | Tensor,
    video_of_text: ArrayLike | Tensor | None = None,
    *,
    dataset: str,
    split: str,
    protocol: str | None = None,
    records: Sequence[Record] = (),
    missing: Sequence[str] = (),
    allow_missing: bool = False,
) -> Evaluation:
    """Rank a matrix of scores, whoever made it.

    Args:
        similarity: (T, V), higher is better.
        video_of_text: (T,) the column of each text's video; None: text i, video i.
        dataset: name, for the result.
        split: name, for the result and the protocol.
        protocol: one of `PROTOCOLS`, whose sizes are then asked for; any other word or None expects nothing.
        records: of the V videos, for reports.
        missing: ids of videos of the split that are not in the matrix.
        allow_missing: measure a set that is not the protocol's; the result says what it is.

    Raises:
        DataError: a score is no number, a text's video is not there, or the set is not the protocol's.
    """
    scores, owner = checked(similarity, video_of_text)
    coverage = coverage_of(protocol, split, scores.shape[1], len(scores))
    if not allow_missing:
        require_complete(dataset, coverage, len(missing))
    t2v_ranks, v2t_ranks = text_to_video_ranks(scores, owner), video_to_text_ranks(scores, owner)
    return Evaluation(
        dataset=dataset,
        split=split,
        protocol=protocol,
        t2v=summarise(t2v_ranks),
        v2t=summarise(v2t_ranks, average_precision(scores, owner)),
        t2v_ranks=t2v_ranks,
        v2t_ranks=v2t_ranks,
        coverage=coverage,
        similarity=scores,
        video_of_text=owner,
        records=tuple(records),
        missing=tuple(missing),
    )


def require_complete(dataset: str, coverage: Coverage, missing: int = 0) -> None:
    """Refuse a set that is not the protocol's own, or of which `missing` videos could not be used.

    Raises:
        DataError: it is not whole.
    """
    if missing:
        raise DataError(
            f"{missing} videos of {dataset}/{coverage.split} are missing from the scores: add them, or measure the"
            " rest, labelled, by --allow-missing."
        )
    if not coverage.complete:
        raise DataError(
            f"{dataset}/{coverage.split} is not the set that its protocol measures, it has {coverage.words()}: prepare"
            " the data set whole, or measure what is there, labelled, by --allow-missing."
        )


def compare_evaluations(a: Evaluation, b: Evaluation) -> dict[str, dict[str, Difference]]:
    """Differences b - a of two models on one test set, with intervals and p-values; see `compare_ranks`.

    Returns:
        `t2v` and `v2t` -> R@1, R@5, R@10, MnR -> difference.

    Raises:
        DataError: they have other queries or another gallery.
    """
    if a.similarity.shape != b.similarity.shape:
        raise DataError(
            f"two models can be compared on one test set only: one has {_size(a)}, the other {_size(b)}; leave out the"
            " same videos, or none."
        )
    if not same_questions(a, b):
        raise DataError(
            f"two models can be compared on one test set only, and those of {a.dataset}/{a.split} and"
            f" {b.dataset}/{b.split} are of one size but differ in their videos, captions or order."
        )
    return {
        "t2v": compare_ranks(a.t2v_ranks, b.t2v_ranks),
        "v2t": compare_ranks(a.v2t_ranks, b.v2t_ranks),
    }


def same_questions(a: Evaluation, b: Evaluation) -> bool:
    """Whether both asked the same captions of the same videos, as far as that is known."""
    contents = [[(record.video_id, record.captions) for record in one.records] for one in (a, b)]
    return (
        a.similarity.shape == b.similarity.shape
        and torch.equal(a.video_of_text.cpu(), b.video_of_text.cpu())
        and (not all(contents) or contents[0] == contents[1])
    )


def _size(evaluation: Evaluation) -> str:
    texts, videos = evaluation.similarity.shape
    return f"{texts} captions and {videos} videos ({evaluation.dataset}/{evaluation.split})"

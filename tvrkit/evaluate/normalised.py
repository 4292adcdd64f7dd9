"""Extra rows with dual softmax or query bank norm, always labelled, and what they changed.

Letters: T captions, V videos of the test set; N captions and M videos of the bank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from tvrkit.core.model import RetrievalModel
from tvrkit.data import frame_request, pairs_of
from tvrkit.distributed import SOLO, Team
from tvrkit.encode import EncodedFrames, OnProgress, encode_frames
from tvrkit.errors import DataError
from tvrkit.evaluate.evaluation import Evaluation
from tvrkit.evaluate.scoring import compare
from tvrkit.frames.reading import Reading
from tvrkit.manifest import Manifest, Record
from tvrkit.metrics import (
    Ranks,
    average_precision,
    dual_softmax,
    query_bank_norm,
    summarise,
    text_to_video_ranks,
    video_to_text_ranks,
)
from tvrkit.store import FeatureStore


@dataclass(frozen=True, eq=False)
class QueryBank:
    """What training queries of both kinds score with a test set.

    Attributes:
        texts: (N, V), captions of the bank by the test set's videos.
        videos: (M, T), the videos that those captions belong to by the test set's captions.
        split: where they come from.
    """

    texts: Tensor = field(repr=False)
    videos: Tensor = field(repr=False)
    split: str = "train"


def with_dual_softmax(evaluation: Evaluation, temperature: float = 100.0) -> Evaluation:
    """The same scores with dual softmax, each direction with its own query axis; see `dual_softmax`.

    Raises:
        DataError: the evaluation is normalised already.
    """
    _require_plain(evaluation)
    scores = evaluation.similarity
    return _normalised(
        evaluation,
        dual_softmax(scores, temperature),
        dual_softmax(scores.T, temperature).T,
        f"dual softmax, temperature {temperature:g}",
    )


def with_query_bank(evaluation: Evaluation, bank: QueryBank, beta: float = 20.0) -> Evaluation:
    """The same scores with query bank norm, each direction with its own bank; see `query_bank_norm`.

    Raises:
        DataError: the evaluation is normalised already, or the bank was made for another test set.
    """
    _require_plain(evaluation)
    scores = evaluation.similarity
    return _normalised(
        evaluation,
        query_bank_norm(scores, bank.texts, beta),
        query_bank_norm(scores.T, bank.videos, beta).T,
        f"query bank norm, beta {beta:g}, {len(bank.texts):,} captions and {len(bank.videos):,} videos of {bank.split}",
    )


def query_bank(
    model: RetrievalModel,
    manifest: Manifest,
    evaluation: Evaluation,
    *,
    split: str = "train",
    size: int = 10_000,
    seed: int = 0,
    encoded: EncodedFrames | None = None,
    reading: Reading = Reading(),
    store: FeatureStore | None = None,
    on_progress: OnProgress | None = None,
    team: Team = SOLO,
) -> QueryBank:
    """Compare captions drawn from a training split, and the videos they belong to, with a test set.

    Training videos that cannot be read are no part of the bank; their captions are.

    Args:
        model: the one that was evaluated.
        manifest: the data set.
        evaluation: of the model, with its records.
        split: where the bank comes from; not the split that was measured.
        size: captions to draw, without putting back; all of the split where it has fewer.
        seed: of the draw.
        encoded: frames of the evaluation's videos where they are at hand, else they are read here.
        reading: as in `encode_frames`.
        store: as in `encode_frames`.
        on_progress: as in `encode_frames`, of the bank's videos.
        team: as in `evaluate`.

    Raises:
        DataError: there is no such split, it is the one that was measured, or its videos cannot be read.
    """
    if split == evaluation.split:
        raise DataError(f"a query bank comes from other data than is measured, not from {split!r} too.")
    if size < 1:
        raise DataError(f"a query bank needs at least one caption, not {size}.")
    bank = _draw(manifest.split(split), size, seed)

    def frames_of(records: Sequence[Record], tell: OnProgress | None) -> EncodedFrames:
        return encode_frames(
            model,
            [frame_request(manifest, record, model.config.num_frames) for record in records],
            reading=reading,
            store=store,
            on_progress=tell,
            team=team,
        )

    gallery = frames_of(evaluation.records, None) if encoded is None else encoded
    if len(gallery) != len(evaluation.records) or not len(gallery):
        raise DataError(
            f"a query bank needs the frames of all {evaluation.similarity.shape[1]} videos that were measured, and"
            f" {len(gallery)} could be read."
        )
    videos = frames_of(bank, on_progress)
    if not len(videos):
        error = next(iter(videos.failures.values()))
        raise DataError(f"no video of the query bank from {manifest.name}/{split} can be read ({error}).")
    texts, _ = compare(model, manifest, bank, gallery, team=team)
    others, _ = compare(model, manifest, evaluation.records, videos, team=team)
    return QueryBank(texts, others.T, split)


def _draw(records: Sequence[Record], size: int, seed: int) -> list[Record]:
    """The records with the drawn captions alone, in the order of the split."""
    pairs = pairs_of(records)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pairs))[:size])
    captions: dict[int, list[int]] = {}
    for pair in (pairs[i] for i in chosen):
        captions.setdefault(pair.video, []).append(pair.caption)
    return [_with_captions(records[video], kept) for video, kept in captions.items()]


def _with_captions(record: Record, kept: Sequence[int]) -> Record:
    spans = None if record.key_words is None else tuple(record.key_words[i] for i in kept)
    return replace(record, captions=tuple(record.captions[i] for i in kept), key_words=spans)


def _require_plain(evaluation: Evaluation) -> None:
    if evaluation.normalisation is not None:
        raise DataError(f"these scores are normalised already ({evaluation.normalisation}).")


def _normalised(plain: Evaluation, t2v_scores: Tensor, v2t_scores: Tensor, words: str) -> Evaluation:
    """Rank both directions by scores (T, V) of their own, and count whose rank changed."""
    t2v = text_to_video_ranks(t2v_scores, plain.video_of_text)
    v2t = video_to_text_ranks(v2t_scores, plain.video_of_text)
    return replace(
        plain,
        t2v=summarise(t2v),
        v2t=summarise(v2t, average_precision(v2t_scores, plain.video_of_text)),
        t2v_ranks=t2v,
        v2t_ranks=v2t,
        normalisation=words,
        changed={"t2v": _changed(plain.t2v_ranks, t2v), "v2t": _changed(plain.v2t_ranks, v2t)},
    )


def _changed(plain: Ranks, other: Ranks) -> int:
    return int(((plain.above != other.above) | (plain.equal != other.equal)).sum())

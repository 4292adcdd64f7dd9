"""A model on a split of a data set: read, encode, compare, rank.

Frames are always sampled uniformly. Whatever the pieces that things are computed in, the result is the same.
"""

from __future__ import annotations

from dataclasses import replace

from tvrkit.config import ModelConfig
from tvrkit.core.model import RetrievalModel
from tvrkit.data import frame_request
from tvrkit.distributed import SOLO, Team
from tvrkit.encode import EncodedFrames, OnProgress, encode_frames
from tvrkit.errors import DataError
from tvrkit.evaluate.evaluation import Evaluation, evaluate_scores, require_complete
from tvrkit.evaluate.scoring import CHUNK, compare
from tvrkit.frames.reading import Reading
from tvrkit.manifest import Manifest
from tvrkit.protocols import coverage_of
from tvrkit.store import FeatureStore


def evaluate(
    model: RetrievalModel,
    manifest: Manifest,
    split: str,
    *,
    reading: Reading = Reading(),
    store: FeatureStore | None = None,
    on_progress: OnProgress | None = None,
    allow_missing: bool = False,
    team: Team = SOLO,
) -> Evaluation:
    """Read, encode and rank a split.

    With a team, each process reads and encodes a part of the videos and compares a part of the captions, and all of
    them return what one process would.

    Args:
        model: any; put into evaluation mode while this runs.
        manifest: the data set.
        split: name of one of its splits.
        reading: as in `encode_frames`.
        store: as in `encode_frames`.
        on_progress: as in `encode_frames`.
        allow_missing: measure a split that is not the protocol's, leave unreadable videos out, and say so in the
            result, instead of raising.
        team: processes that share the work; this is a collective.

    Raises:
        DataError: there is no such split, it is not whole, a video cannot be read, or a score is no number.
    """
    if not allow_missing:
        require_whole(manifest, split)
    encoded = encode_split(model, manifest, split, reading=reading, store=store, on_progress=on_progress, team=team)
    return evaluate_encoded(model, manifest, split, encoded, allow_missing=allow_missing, team=team)


def encode_split(
    model: RetrievalModel,
    manifest: Manifest,
    split: str,
    *,
    reading: Reading = Reading(),
    store: FeatureStore | None = None,
    on_progress: OnProgress | None = None,
    team: Team = SOLO,
) -> EncodedFrames:
    """Raw frame features of a split's videos; `rows` are positions in the split; see `encode_frames`."""
    requests = [frame_request(manifest, record, model.config.num_frames) for record in manifest.split(split)]
    return encode_frames(model, requests, reading=reading, store=store, on_progress=on_progress, team=team)


def evaluate_encoded(
    model: RetrievalModel,
    manifest: Manifest,
    split: str,
    encoded: EncodedFrames,
    *,
    allow_missing: bool = False,
    chunk: int = CHUNK,
    team: Team = SOLO,
) -> Evaluation:
    """Rank a split whose frames are encoded already.

    Args:
        model: its text tower, temporal encoder and interaction are used.
        manifest: the data set.
        split: name of one of its splits.
        encoded: of `encode_split`.
        allow_missing: as in `evaluate`.
        chunk: videos compared at a time; it changes speed and memory, not the result.
        team: processes that share the work, all with the same `encoded`; this is a collective.

    Raises:
        DataError: a video could not be read or the split is not whole, and that is not allowed; or a score is no
            number.
    """
    everything = manifest.split(split)
    missing = tuple(everything[row].video_id for row in encoded.failures)
    if not allow_missing:
        if missing:
            row, error = next(iter(encoded.failures.items()))
            raise DataError(
                f"{len(missing)} of {len(everything)} videos of {manifest.name}/{split} cannot be read"
                f" ({everything[row].video_id}: {error}): mend them, or leave them out, labelled, by --allow-missing."
            )
        require_whole(manifest, split)
    records = [everything[int(row)] for row in encoded.rows]
    similarity, video_of_text = compare(model, manifest, records, encoded, chunk, team)
    return evaluate_scores(
        similarity,
        video_of_text,
        dataset=manifest.name,
        split=split,
        protocol=manifest.protocol,
        records=records,
        missing=missing,
        allow_missing=allow_missing,
    )


def require_whole(manifest: Manifest, split: str) -> None:
    """Refuse a split that is not its protocol's own, before anything costs time.

    Raises:
        DataError: there is no such split, or it has other numbers of videos or captions than the protocol's.
    """
    records = manifest.split(split)
    captions = sum(len(record.captions) for record in records)
    require_complete(manifest.name, coverage_of(manifest.protocol, split, len(records), captions))


def baseline_config(config: ModelConfig) -> ModelConfig:
    """The baseline of the same backbone as it was pretrained: mean of the frames, cosine with the sentence."""
    return replace(
        config, temporal="mean", interaction="dot_product", text_side="sentence", key_words=False, nearest_frame=False
    )

"""How well a model finds videos by captions and captions by videos, and the hard gallery of one-word edits.

Letters: T captions, V videos. Frames are always sampled uniformly. Whatever the pieces that things are computed in, the
result is the same.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tvrkit.config import ModelConfig
from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.model import RetrievalModel
from tvrkit.data import frame_request, pairs_of, with_key_words
from tvrkit.encode import EncodedFrames, OnProgress, encode_frames, encode_texts
from tvrkit.errors import DataError
from tvrkit.manifest import Manifest, Record
from tvrkit.metrics import RetrievalMetrics, text_to_video_metrics, video_to_text_metrics
from tvrkit.store import FeatureStore

HARD_SPLIT = "hard"
BASE = "base"


@dataclass(frozen=True)
class HardGallery:
    """Families of clips whose captions differ in one word; all in percent, and a tie is a failure.

    Attributes:
        families: how many.
        clips: in all of them.
        caption_chosen: clips whose own caption scores above every other of the family.
        clip_found: captions whose own clip scores above every other of the family.
        by_edit: kind of edit -> (percent, questions): base and edit, two clips and two captions; each clip is asked
            which of the two captions is its own (chance 50).
    """

    families: int
    clips: int
    caption_chosen: float
    clip_found: float
    by_edit: dict[str, tuple[float, int]]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "families": self.families,
            "clips": self.clips,
            "caption_chosen": self.caption_chosen,
            "clip_found": self.clip_found,
            "by_edit": {kind: {"accuracy": value, "questions": n} for kind, (value, n) in self.by_edit.items()},
        }


@dataclass(frozen=True)
class Evaluation:
    """Both directions of retrieval on one split.

    Attributes:
        dataset, split, protocol: of the manifest.
        t2v: every caption is a query, every video of the split is in the gallery.
        v2t: every video is a query; it is found when its best caption is.
        missing: ids of unreadable videos, which with their captions were left out because the caller allowed it.
        similarity: (T, V) float32, rows in the order of the captions, columns in that of the videos.
    """

    dataset: str
    split: str
    protocol: str | None
    t2v: RetrievalMetrics
    v2t: RetrievalMetrics
    missing: tuple[str, ...] = ()
    similarity: Tensor = field(default_factory=lambda: torch.zeros(0, 0), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `missing` only where videos are."""
        result = {
            "dataset": self.dataset,
            "split": self.split,
            "protocol": self.protocol,
            "t2v": self.t2v.to_dict(),
            "v2t": self.v2t.to_dict(),
        }
        return result | ({"missing": list(self.missing)} if self.missing else {})

    def words(self) -> str:
        """The main numbers in a few words."""
        t2v, v2t = self.t2v.to_dict(), self.v2t.to_dict()
        return (
            f"t2v R@1 {t2v['R@1']:.1f}, R@5 {t2v['R@5']:.1f}, R@10 {t2v['R@10']:.1f}, MdR {t2v['MdR']:g};"
            f" v2t R@1 {v2t['R@1']:.1f}"
        )


def evaluate(
    model: RetrievalModel,
    manifest: Manifest,
    split: str,
    *,
    workers: int = 2,
    reader: str = "auto",
    timeout_seconds: float = 60.0,
    store: FeatureStore | None = None,
    on_progress: OnProgress | None = None,
    allow_missing: bool = False,
) -> Evaluation:
    """Read, encode and rank a split.

    Args:
        model: any; put into evaluation mode while this runs.
        manifest: the data set.
        split: name of one of its splits.
        workers: as in `encode_frames`.
        reader: as in `encode_frames`.
        timeout_seconds: as in `encode_frames`.
        store: as in `encode_frames`.
        on_progress: as in `encode_frames`.
        allow_missing: leave unreadable videos out, and name them in the result, instead of raising.

    Raises:
        DataError: there is no such split, a video cannot be read, or a score is no number.
    """
    encoded = encode_split(
        model,
        manifest,
        split,
        workers=workers,
        reader=reader,
        timeout_seconds=timeout_seconds,
        store=store,
        on_progress=on_progress,
    )
    return evaluate_encoded(model, manifest, split, encoded, allow_missing=allow_missing)


def encode_split(
    model: RetrievalModel,
    manifest: Manifest,
    split: str,
    *,
    workers: int = 2,
    reader: str = "auto",
    timeout_seconds: float = 60.0,
    store: FeatureStore | None = None,
    on_progress: OnProgress | None = None,
) -> EncodedFrames:
    """Raw frame features of a split's videos; `rows` are positions in the split."""
    requests = [frame_request(manifest, record, model.config.num_frames) for record in manifest.split(split)]
    return encode_frames(
        model,
        requests,
        workers=workers,
        reader=reader,
        timeout_seconds=timeout_seconds,
        store=store,
        on_progress=on_progress,
    )


def evaluate_encoded(
    model: RetrievalModel,
    manifest: Manifest,
    split: str,
    encoded: EncodedFrames,
    *,
    allow_missing: bool = False,
    chunk: int = 256,
) -> Evaluation:
    """Rank a split whose frames are encoded already.

    Args:
        model: its text tower, temporal encoder and interaction are used.
        manifest: the data set.
        split: name of one of its splits.
        encoded: of `encode_split`.
        allow_missing: as in `evaluate`.
        chunk: captions and videos compared at a time; it changes speed and memory, not the result.

    Raises:
        DataError: a video could not be read and that is not allowed, or a score is no number.
    """
    everything = manifest.split(split)
    missing = tuple(everything[row].video_id for row in encoded.failures)
    if missing and not allow_missing:
        row, error = next(iter(encoded.failures.items()))
        raise DataError(
            f"{len(missing)} of {len(everything)} videos of {manifest.name}/{split} cannot be read"
            f" ({everything[row].video_id}: {error}): mend them, or leave them out, labelled, by --allow-missing."
        )
    records = [everything[int(row)] for row in encoded.rows]
    similarity, video_of_text = _compare(model, manifest, records, encoded, chunk)
    return Evaluation(
        dataset=manifest.name,
        split=split,
        protocol=manifest.protocol,
        t2v=text_to_video_metrics(similarity, video_of_text),
        v2t=video_to_text_metrics(similarity, video_of_text),
        missing=missing,
        similarity=similarity,
    )


def evaluate_hard(
    model: RetrievalModel, manifest: Manifest, encoded: EncodedFrames, split: str = HARD_SPLIT
) -> HardGallery:
    """Ask the hard gallery: records with the tags `family` and `edit` (`base`, or which word was changed).

    Args:
        model: any.
        manifest: the data set.
        encoded: of `encode_split` on that split.
        split: name of the gallery.

    Raises:
        DataError: a clip cannot be read, or the tags are not there.
    """
    everything = manifest.split(split)
    for error in encoded.failures.values():
        raise DataError(f"a clip of the hard gallery cannot be read: {error}.")
    families: dict[str, list[int]] = defaultdict(list)
    for row, record in enumerate(everything):
        if not {"family", "edit"} <= set(record.tags):
            raise DataError(f"record {record.video_id!r} of {split!r} lacks the tags 'family' and 'edit'.")
        families[record.tags["family"]].append(row)
    # One caption a clip: the first; the gallery's captions differ in one word by design.
    firsts = [replace(r, captions=r.captions[:1], key_words=r.key_words and r.key_words[:1]) for r in everything]
    similarity, _ = _compare(model, manifest, firsts, encoded, chunk=256)
    chosen = found = clips = 0
    asked: dict[str, list[bool]] = defaultdict(list)
    for rows in families.values():
        scores = similarity[rows][:, rows]
        own = scores.diagonal()
        others = scores.masked_fill(torch.eye(len(rows), dtype=torch.bool), -torch.inf)
        chosen += int((own > others.amax(0)).sum())
        found += int((own > others.amax(1)).sum())
        clips += len(rows)
        bases = [i for i, row in enumerate(rows) if everything[row].tags["edit"] == BASE]
        for base in bases:
            for i, row in enumerate(rows):
                if i != base:
                    kind = everything[row].tags["edit"]
                    asked[kind] += [bool(own[base] > scores[i, base]), bool(own[i] > scores[base, i])]
    return HardGallery(
        families=len(families),
        clips=clips,
        caption_chosen=100 * chosen / clips,
        clip_found=100 * found / clips,
        by_edit={kind: (100 * sum(right) / len(right), len(right)) for kind, right in sorted(asked.items())},
    )


def zero_shot_config(config: ModelConfig) -> ModelConfig:
    """The baseline of the same backbone as it was pretrained: mean of the frames, cosine with the sentence."""
    return replace(
        config, temporal="mean", interaction="dot_product", text_side="sentence", key_words=False, nearest_frame=False
    )


@torch.no_grad()
def similarity_matrix(
    model: RetrievalModel, text: TextFeatures, frames: Tensor, frame_mask: Tensor, chunk: int = 256
) -> Tensor:
    """Similarity (T, V) float32 of all captions and all videos, on the CPU.

    Everything behind the towers is computed in float64 and rounded once, at the end. In float32 the last bits depend on
    how many captions and videos are computed together, and with them who wins a close race, and whether two copies of
    one video tie.

    Args:
        model: its temporal encoder and interaction are used, as copies in float64.
        text: of T captions.
        frames: (V, F, D) raw frame features.
        frame_mask: (V, F) bool.
        chunk: captions and videos at a time.
    """
    # The towers stay shared: they are large, and not used here.
    exact = copy.deepcopy(model, {id(model.backbone): model.backbone})
    device = model.device if model.device.type != "mps" else torch.device("cpu")  # which has no float64
    for part in (exact.temporal, exact.interaction):
        if part is not None:
            part.eval().double().to(device)
    columns = []
    for first in range(0, len(frames), chunk):
        some = slice(first, first + chunk)
        mask = frame_mask[some].to(device)
        encoded = exact.encode_video(frames[some].to(device).double(), mask)
        video = VideoFeatures(encoded.frame_features.double(), mask)
        rows = [
            exact.similarity(_double(text[start : start + chunk].to(device)), video).float().cpu()
            for start in range(0, len(text), chunk)
        ]
        columns.append(torch.cat(rows))
    return torch.cat(columns, dim=1)


def _double(text: TextFeatures) -> TextFeatures:
    return replace(text, text_features=text.text_features.double(), word_features=text.word_features.double())


def _compare(
    model: RetrievalModel, manifest: Manifest, records: Sequence[Record], encoded: EncodedFrames, chunk: int
) -> tuple[Tensor, Tensor]:
    """Similarity (T, V) of the records' captions and videos, and each caption's video (T,)."""
    if model.config.key_words:
        records = with_key_words(manifest, records)
    pairs = pairs_of(records)
    captions = [records[pair.video].captions[pair.caption] for pair in pairs]
    # A caption that several videos share is encoded once, so that it scores the same for each.
    place_of = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
    key_words = None
    if model.config.key_words:
        spans = {c: (records[p.video].key_words or ())[p.caption] for c, p in zip(captions, pairs, strict=True)}
        key_words = [spans[caption] for caption in place_of]
    unique = similarity_matrix(
        model, encode_texts(model, list(place_of), key_words), encoded.frame_features, encoded.frame_mask, chunk
    )
    similarity = unique[torch.tensor([place_of[caption] for caption in captions])]
    return similarity, torch.tensor([pair.video for pair in pairs], dtype=torch.int64)

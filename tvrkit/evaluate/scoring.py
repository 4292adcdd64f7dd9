"""Similarities of captions and videos, in pieces: the result is the same to the last bit whatever their size.

Letters: T captions, V videos, W words, F frames, R width of raw frame features (`EncodedFrames`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.model import RetrievalModel
from tvrkit.data import pairs_of, with_key_words
from tvrkit.distributed import SOLO, Team
from tvrkit.encode import EncodedFrames, encode_texts
from tvrkit.manifest import Manifest, Record, Span

CHUNK = 256
"""Videos compared at a time."""

TEXT_BATCH = 256
"""Captions that go through the text tower together: the one size that may show in a score's last bits."""

HELD_BATCHES = 16
"""Such batches whose word features are held at once: 4,096 captions of 32 words and 512 dimensions are 268 MB."""


class ExactSimilarity:
    """The model behind its towers as copies in float64, whose scores are rounded once, at the end.

    In float32 the last bits depend on how many captions and videos are computed together, and with them who wins a
    close race, and whether two copies of one video tie.
    """

    def __init__(self, model: RetrievalModel) -> None:
        # The towers stay shared: they are large, and not used here.
        self._model = copy.deepcopy(model, {id(model.backbone): model.backbone})
        # MPS has no float64.
        self._device = model.device if model.device.type != "mps" else torch.device("cpu")
        for part in (self._model.temporal, self._model.interaction):
            if part is not None:
                part.eval().double().to(self._device)

    @torch.no_grad()
    def __call__(self, text: TextFeatures, frames: Tensor, frame_mask: Tensor, chunk: int = CHUNK) -> Tensor:
        """(T, V) float32 on the CPU, of captions and of raw frame features (V, F, R) with their mask (V, F)."""
        scores = torch.empty(len(text), len(frames))
        text = text.to(self._device)  # the interaction widens them, some at a time
        for first in range(0, len(frames), chunk):
            some = slice(first, first + chunk)
            mask = frame_mask[some].to(self._device)
            encoded = self._model.encode_video(frames[some].to(self._device).double(), mask)
            video = VideoFeatures(encoded.frame_features.double(), mask)
            scores[:, some] = self._model.similarity(text, video).float().cpu()
        return scores


def similarity_matrix(
    model: RetrievalModel, text: TextFeatures, frames: Tensor, frame_mask: Tensor, chunk: int = CHUNK
) -> Tensor:
    """Similarity (T, V) float32 of all captions and all videos, on the CPU.

    Everything behind the towers is computed in float64 and rounded once, at the end.

    Args:
        model: its temporal encoder and interaction are used, as copies in float64.
        text: of T captions.
        frames: (V, F, R) raw frame features.
        frame_mask: (V, F) bool.
        chunk: videos at a time.
    """
    return ExactSimilarity(model)(text, frames, frame_mask, chunk)


def caption_similarity(
    model: RetrievalModel,
    captions: Sequence[str],
    key_words: Sequence[Sequence[Span]] | None,
    frames: Tensor,
    frame_mask: Tensor,
    chunk: int = CHUNK,
    held_batches: int = HELD_BATCHES,
    team: Team = SOLO,
) -> Tensor:
    """Similarity (T, V) float32 of captions and videos; word features of a part of the captions exist at a time.

    Each process of `team` compares a part of the captions with all videos, and all of them return the whole.

    Args:
        model: its text tower, temporal encoder and interaction are used.
        captions: T of them; one that stands there again is computed once, so that it scores the same.
        key_words: the character spans of each caption's key words, or None.
        frames: (V, F, R) raw frame features.
        frame_mask: (V, F) bool.
        chunk: videos compared at a time; it changes speed and memory, not the result.
        held_batches: batches of the text tower held at once; likewise.
        team: processes that share the work; this is a collective.
    """
    exact = ExactSimilarity(model)
    place_of = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
    unique = list(place_of)
    spans = None if key_words is None else list(dict(zip(captions, key_words, strict=True)).values())
    parts = _parts(len(unique), team.size)
    mine = parts[team.rank]
    scores = torch.empty(len(mine), len(frames))
    step = held_batches * TEXT_BATCH
    for first in range(0, len(mine), step):
        some = slice(mine.start + first, min(mine.start + first + step, mine.stop))
        text = encode_texts(model, unique[some], None if spans is None else spans[some], batch_size=TEXT_BATCH)
        scores[first : first + step] = exact(text, frames, frame_mask, chunk)
    scores = team.rows(scores, [len(part) for part in parts])
    if len(unique) == len(captions):
        return scores
    return scores[torch.tensor([place_of[caption] for caption in captions])]


def _parts(texts: int, size: int) -> list[range]:
    """Texts of each process, in whole batches: a text then goes through the text tower in the company it always has."""
    batches = -(-texts // TEXT_BATCH)
    parts = [Team(rank, size).split(batches) for rank in range(size)]
    return [range(part.start * TEXT_BATCH, min(part.stop * TEXT_BATCH, texts)) for part in parts]


def compare(
    model: RetrievalModel,
    manifest: Manifest,
    records: Sequence[Record],
    encoded: EncodedFrames,
    chunk: int = CHUNK,
    team: Team = SOLO,
) -> tuple[Tensor, Tensor]:
    """Similarity (T, V) of the records' captions and the encoded videos, and each caption's record (T,) int64."""
    if model.config.key_words:
        records = with_key_words(manifest, records)
    pairs = pairs_of(records)
    captions = [records[pair.video].captions[pair.caption] for pair in pairs]
    key_words = None
    if model.config.key_words:
        key_words = [(records[pair.video].key_words or ())[pair.caption] for pair in pairs]
    scores = caption_similarity(
        model, captions, key_words, encoded.frame_features, encoded.frame_mask, chunk, team=team
    )
    return scores, torch.tensor([pair.video for pair in pairs], dtype=torch.int64)

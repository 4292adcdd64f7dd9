"""Exact search: every encoded video is scored, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tvrkit.core import RetrievalModel, TextFeatures
from tvrkit.core.interaction import Interaction
from tvrkit.errors import ConfigError, ModelError
from tvrkit.index.hits import Hit
from tvrkit.index.scan import VideoFile
from tvrkit.index.videos import VideoIndex


@torch.no_grad()
def search_text(
    model: RetrievalModel, index: VideoIndex, query: str, files: Sequence[VideoFile], top: int
) -> list[Hit]:
    """The `top` videos that fit a text best, by the model's own similarity.

    Args:
        model: the index's.
        index: where the features of `files` are; those that are not in it have no part in the answer.
        query: not empty; what is longer than the model takes is cut off, see `is_cut`.
        files: the videos to search among.
        top: at most so many hits; equal scores stand in the order of their paths.

    Raises:
        ConfigError: the query is empty.
        ModelError: the model gives something that is no number.
    """
    if not query.strip():
        raise ConfigError('the query is empty: say what to look for, as in `tvrkit query "a dog surfing"`.')
    text = model.encode_text(model.tokenize([query]).to(model.device))
    return _search(model.interaction, text, model.device, index, files, top)


@torch.no_grad()
def search_video(index: VideoIndex, example: VideoFile, files: Sequence[VideoFile], top: int) -> list[Hit]:
    """The `top` videos that are most like another one, which must be in the index and is itself left out.

    Two videos are compared frame by frame: the mean, both ways, of what each frame's best partner in the other
    scores. That needs no text, so it is the same for every kind of interaction.

    Args:
        index: where their features are.
        example: the video to start from; every file with the same content is left out.
        files: the videos to search among.
        top: at most so many hits.
    """
    (found,) = index.read([example])
    frames, mask = found.features.frame_features, found.features.frame_mask
    # The example's frames stand where words stand; nothing is learned in this interaction.
    as_text = TextFeatures(frames.mean(dim=1), frames, mask, mask.float())
    others = [file for file in files if file.identity != example.identity]
    interaction = Interaction(frames.shape[2], interaction="token_wise", text_side="words")
    return _search(interaction, as_text, torch.device("cpu"), index, others, top)


def is_cut(model: RetrievalModel, query: str) -> bool:
    """Whether the model takes only the beginning of a query."""
    query = query.strip()
    whole, shorter = model.tokenize([query]), model.tokenize([query[:-1]])
    return bool(whole.word_mask.all()) and torch.equal(whole.ids, shorter.ids)


def _search(
    interaction: Interaction,
    text: TextFeatures,
    device: torch.device,
    index: VideoIndex,
    files: Sequence[VideoFile],
    top: int,
) -> list[Hit]:
    text = text.to(device)
    scores: dict[str, float] = {}
    for part in index.read(files):
        similarity = interaction(text, part.features.to(device), _to(part.nearest, device))[0]
        scores.update(zip(part.keys, similarity.tolist(), strict=True))
    if not all(-torch.inf < score < torch.inf for score in scores.values()):
        raise ModelError("the model scores videos with something that is no number: its weights may be damaged.")
    scored = [(scores[index.key(file)], file) for file in files if index.key(file) in scores]
    best = sorted(scored, key=lambda pair: (-pair[0], pair[1].path))[:top]
    moments = _moments(interaction, text, index, [file for _, file in best])
    return [Hit(rank, score, file.path, *moments[index.key(file)]) for rank, (score, file) in enumerate(best, start=1)]


def _moments(
    interaction: Interaction, text: TextFeatures, index: VideoIndex, files: Sequence[VideoFile]
) -> dict[str, tuple[float, float]]:
    """Key -> time of the best frame, and duration, in seconds."""
    moments: dict[str, tuple[float, float]] = {}
    for part in index.read(files):
        frame = interaction.best_frame(text, part.features.to(text.text_features.device))[0].cpu()
        seconds = part.pts_seconds.gather(1, frame[:, None])[:, 0]
        moments.update(zip(part.keys, zip(seconds.tolist(), part.duration_seconds.tolist(), strict=True), strict=True))
    return moments


def _to(tensors: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    return tensors[0].to(device), tensors[1].to(device)

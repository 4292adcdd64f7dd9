"""The parts of a question as the model sees them: words, pictures and videos, each to be compared with moments.

Letters: T texts, W words, F frames, Q vectors of the first stage, D feature dimension.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from tvrkit.core import RetrievalModel, TextFeatures, VideoFeatures
from tvrkit.core.interaction import Interaction, pooling_weights
from tvrkit.errors import DataError, ModelError, VideoError
from tvrkit.frames.reading import Reading
from tvrkit.index.ask import Part
from tvrkit.index.engine import Engine, MomentRef

_MOST_FRAMES = 64
"""Of a video that is asked for, spread evenly: an hour has thousands, and they repeat each other."""

_FRAMES_A_VECTOR = 4  # of such a video, in the first stage
_MOST_VECTORS = 8  # of a text's words, in the first stage: each costs time


@dataclass(frozen=True)
class Query:
    """One part of a question, encoded.

    Attributes:
        weight: of the part.
        is_text: whether it is words.
        features: one text, or frames that stand where words stand; on the model's device.
        interaction: what compares it with moments.
        vectors: (Q, D) on the CPU, for `Engine.candidates`.
        identity: of the video that is asked for, which is no answer to itself; None for words and pictures.
    """

    weight: float
    is_text: bool
    features: TextFeatures
    interaction: Interaction
    vectors: Tensor
    identity: str | None = None


@torch.no_grad()
def encode_parts(
    model: RetrievalModel, engine: Engine, parts: Sequence[Part], reading: Reading = Reading()
) -> dict[Part, Query]:
    """Encode parts, each once, all words in one call.

    A video that is in the index is read from there; another one is read and encoded now.

    Args:
        model: the engine's.
        engine: where videos are looked up, by identity or by the content of the file.
        parts: of one question or of many.
        reading: how videos are read.

    Raises:
        DataError: a picture cannot be read.
        VideoError: a video cannot be read.
        ModelError: the model gives something that is no number.
    """
    wanted = list(dict.fromkeys(parts))
    texts = [part for part in wanted if part.kind == "text"]
    words = query_of_words(model, [part.value for part in texts], [part.weight for part in texts]) if texts else []
    found = dict(zip(texts, words, strict=True))
    for part in wanted:
        if part.kind == "image":
            found[part] = query_of_picture(model, _picture(model, part.value), part.weight)
        elif part.kind == "video":
            frames, identity = _video(model, engine, part.value, reading)
            found[part] = query_of_frames(model, frames, part.weight, identity)
    for part, query in found.items():
        if not bool(query.vectors.isfinite().all()):
            raise ModelError(f"the model makes no number of {part.value!r}: its weights may be damaged.")
    return found


def first_stage(model: RetrievalModel, text: TextFeatures) -> list[Tensor]:
    """For each text vectors (Q, D) whose products with a moment's pooled vectors stand for the model's similarity.

    A similarity is a sum over words of products with the best frame, so each word, times its weight, is a vector, and
    the sentence one more. More words than `_MOST_VECTORS` share some with their neighbours, which costs no recall. One
    vector for all words would: its best frame is no word's. `tvrkit index --measure` tells how many of the best
    moments the first stage finds.
    """
    sentence = text.text_features.unsqueeze(1)
    if model.interaction.kind == "dot_product" or model.interaction.text_side == "sentence":
        return list(sentence)
    weighted = text.word_features * pooling_weights(text.word_mask, text.word_weights).unsqueeze(2)
    words = [_few(rows[real]) for rows, real in zip(weighted, text.word_mask, strict=True)]
    if model.interaction.text_side == "words":
        return words
    return [torch.cat([one, some]) / 2 for one, some in zip(sentence, words, strict=True)]


def _few(words: Tensor) -> Tensor:
    """At most `_MOST_VECTORS` sums (Q, D) of neighbouring words (W, D)."""
    return torch.stack([some.sum(dim=0) for some in words.tensor_split(min(_MOST_VECTORS, len(words)))])


def is_cut(model: RetrievalModel, words: str) -> bool:
    """Whether the model takes only the beginning of a text."""
    words = words.strip()
    whole = model.tokenize([words])
    return bool(whole.word_mask.all()) and torch.equal(whole.ids, model.tokenize([words[:-1]]).ids)


def frames_as_words(frames: Tensor) -> tuple[TextFeatures, Interaction]:
    """Frames (F, D) standing where words stand, and an interaction in which nothing is learned.

    Two videos are so compared frame by frame: the mean, both ways, of what each frame's best partner in the other
    scores. That needs no text, so it is the same for every kind of model.
    """
    rows = frames.unsqueeze(0)
    mask = torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
    features = TextFeatures(rows.mean(dim=1), rows, mask, mask.float())
    return features, Interaction(frames.shape[1], interaction="token_wise", text_side="words")


def query_of_words(model: RetrievalModel, texts: Sequence[str], weights: Sequence[float] | None = None) -> list[Query]:
    """One part for each text, encoded in one call."""
    from tvrkit.encode import encode_texts

    text = encode_texts(model, texts)
    vectors = first_stage(model, text)
    text = text.to(model.device)
    return [
        Query(weight, True, text[i : i + 1], model.interaction, vectors[i])
        for i, weight in enumerate(weights or [1.0] * len(texts))
    ]


def query_of_frames(model: RetrievalModel, frames: Tensor, weight: float = 1.0, identity: str | None = None) -> Query:
    """A part of frames (F, D), on the CPU, of a video."""
    if len(frames) > _MOST_FRAMES:
        frames = frames[torch.linspace(0, len(frames) - 1, _MOST_FRAMES).round().long()]
    groups = frames.tensor_split(min(len(frames), max(3, -(-len(frames) // _FRAMES_A_VECTOR))))
    vectors = torch.stack([functional.normalize(group.mean(dim=0), dim=0) * len(group) for group in groups])
    features, interaction = frames_as_words(frames.to(model.device))
    return Query(weight, False, features, interaction, vectors / len(frames), identity)


def query_of_picture(model: RetrievalModel, frame: Tensor, weight: float = 1.0, identity: str | None = None) -> Query:
    """A part of one frame (1, D), on the CPU: a moment is as like it as its likest frame."""
    features, _ = frames_as_words(frame.to(model.device))
    return Query(weight, False, features, NearestFrame(frame.shape[1]), frame, identity)


class NearestFrame(Interaction):
    """Similarity of a picture with the frame that is most like it: what else a moment shows does not count."""

    def forward(self, text: TextFeatures, video: VideoFeatures, nearest: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Similarity (T, V) of T pictures, standing where sentences stand, with V videos."""
        between = torch.einsum("td,vfd->tvf", text.text_features, video.frame_features)
        return between.masked_fill(~video.frame_mask, -torch.inf).amax(dim=2)


def _picture(model: RetrievalModel, path: str) -> Tensor:
    """A picture as the one frame (1, D) of a video."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    from tvrkit.encode import encode_pixels, encode_videos

    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            pixels = model.transform(ImageOps.exif_transpose(image).convert("RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path}: has too many pixels to be looked at.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: is no picture that can be read here: give a JPEG, PNG, WebP, GIF or BMP.") from None
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's words for what is damaged
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be read as a picture ({reason}).") from None
    one = torch.ones(1, 1, dtype=torch.bool)
    raw = encode_pixels(model, torch.as_tensor(pixels)[None, None], one)
    return encode_videos(model, raw, one).frame_features[0]


def _video(model: RetrievalModel, engine: Engine, value: str, reading: Reading) -> tuple[Tensor, str]:
    """Frames (F, D) of all of a video's moments, and its identity."""
    facts = engine.facts()
    if value in facts:
        return _indexed(engine, value, facts[value].moments), value
    from tvrkit.frames.identity import content_hash
    from tvrkit.index.remote import fetched, is_address

    with ExitStack() as stack:
        path = stack.enter_context(fetched(value)) if is_address(value) else Path(value)
        identity = content_hash(path)
        if identity in facts:
            return _indexed(engine, identity, facts[identity].moments), identity
        return _encoded(model, str(path), reading), identity


def _indexed(engine: Engine, identity: str, moments: int) -> Tensor:
    if moments == 0:
        raise DataError(f"the video {engine.facts()[identity].paths[0]} is black or blank: nothing is like it.")
    found = engine.read([MomentRef(identity, number) for number in _spread(moments)]).features
    return found.frame_features[found.frame_mask]


def _encoded(model: RetrievalModel, path: str, reading: Reading) -> Tensor:
    from tvrkit.encode.moments import iter_moments

    (video,) = iter_moments(model, [path], reading=reading)
    if isinstance(video, VideoError):
        raise video
    if len(video) == 0:
        raise DataError(f"the video {path} is black or blank: nothing is like it.")
    return video.frame_features.float()


def _spread(moments: int) -> list[int]:
    """So many moments of a long video that each can give a frame."""
    return torch.linspace(0, moments - 1, min(moments, _MOST_FRAMES)).round().long().tolist()

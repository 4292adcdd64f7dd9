"""Which word of a question met which frame of a moment: textual attention as a picture (arXiv 2309.11082, section 3).

Letters: W words of the question, F frames, D feature dimension.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import torch
from torch import Tensor

from tvrkit.core import RetrievalModel
from tvrkit.errors import ConfigError, ModelError
from tvrkit.index.engine import Engine, MomentRef
from tvrkit.manifest import Span

# Scripts without spaces between words have no shorter unit that can be had without a dictionary than the character.
_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\s぀-ヿ㐀-鿿]+")


@dataclass(frozen=True)
class Explanation:
    """How well each word of a question fits each frame of a moment.

    Attributes:
        words: W as they were typed; one, the whole question, where the model compares no single words.
        weights: (W,) float32, m of the paper: 2 on key words where the model weighs them, else 1.
        pts_seconds: (F,) float64, where in the file the frames lie.
        similarity: (W, F) float32, C of the paper: cosines, of a word's best token.
        best_frame: (W,) int64, position of the frame that fits best.
    """

    words: tuple[str, ...]
    weights: Tensor
    pts_seconds: Tensor
    similarity: Tensor
    best_frame: Tensor


@torch.no_grad()
def explain(model: RetrievalModel, engine: Engine, words: str, ref: MomentRef) -> Explanation:
    """Compare the words of a question with the frames of a moment.

    What a model takes no more (the end of a long question) and signs that belong to no word are left out.

    Args:
        model: the engine's.
        engine: where the moment is.
        words: the question.
        ref: the moment.

    Raises:
        ConfigError: the question is empty.
        ModelError: the model gives something that is no number.
    """
    if not words.strip():
        raise ConfigError("only words can be explained: say what to look for.")
    found = engine.read([ref])
    real = found.features.frame_mask[0]
    frames = found.features.frame_features[0, real].cpu()  # (F, D)
    tokens = model.tokenize([words])
    text = model.encode_text(tokens.to(model.device)).to("cpu")
    spans = _spans(words)
    parts = model.backbone.tokenizer.tokens_of(words, spans) if _by_words(model) else []
    rows, names, weights = [], [], []
    for (start, end), positions in zip(spans, parts, strict=False):
        if positions:
            rows.append((text.word_features[0, positions] @ frames.T).amax(dim=0))
            weights.append(text.word_weights[0, positions].amax())
            names.append(words[start:end])
    if not rows:
        rows, names, weights = [text.text_features[0] @ frames.T], [" ".join(words.split())], [torch.tensor(1.0)]
    similarity = torch.stack(rows)
    if not bool(similarity.isfinite().all()):
        raise ModelError("the model compares words and frames with no number: its weights may be damaged.")
    return Explanation(
        words=tuple(names),
        weights=torch.stack(weights),
        pts_seconds=found.pts_seconds[0, real.to(found.pts_seconds.device)].cpu(),
        similarity=similarity,
        best_frame=similarity.argmax(dim=1),
    )


def _by_words(model: RetrievalModel) -> bool:
    interaction = model.interaction
    return interaction.kind != "dot_product" and interaction.text_side != "sentence"


def _spans(text: str) -> list[Span]:
    """Characters of each word, without the signs around it; with them, where there is nothing else."""
    spans = [match.span() for match in _WORD.finditer(text)]
    bare = [_strip(text, *span) for span in spans]
    return [span for span in bare if span[0] < span[1]] or spans


def _strip(text: str, start: int, end: int) -> Span:
    while start < end and _is_sign(text[start]):
        start += 1
    while start < end and _is_sign(text[end - 1]):
        end -= 1
    return start, end


def _is_sign(character: str) -> bool:
    return unicodedata.category(character)[0] == "P"

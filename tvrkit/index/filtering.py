"""A folder of videos sorted by words: which fit, by how much, and nothing moved yet; see `transfer.py` for that.

Letters: n moments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from tvrkit.core import RetrievalModel
from tvrkit.encode import encode_texts
from tvrkit.errors import ModelError
from tvrkit.index.confidence import Judge
from tvrkit.index.engine import Engine, MomentRef

_CHUNK = 256


@dataclass(frozen=True)
class Verdict:
    """What a filter says of one content.

    Attributes:
        keep: confidence of the best moment for the best of the wanted texts, 0 to 1.
        drop: the same of the unwanted texts; 0 where there are none.
        kept: whether it goes through.
    """

    keep: float
    drop: float
    kept: bool

    @property
    def margin(self) -> float:
        """How far what is wanted leads, -1 to 1."""
        return self.keep - self.drop


def judge_videos(
    model: RetrievalModel,
    engine: Engine,
    judge: Judge,
    *,
    keep: Sequence[str],
    drop: Sequence[str],
    identities: Sequence[str],
    threshold: float | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Mapping[str, Verdict]:
    """Judge each content by itself: it goes through where a wanted text is confident and leads every unwanted one.

    A video's confidence is that of its best moment, as the best among its own moments: how many other videos there
    are has no part in it.

    Args:
        model: the engine's.
        engine: where the moments are.
        judge: the model's.
        keep: at least one text.
        drop: texts of what is not wanted.
        identities: contents of the engine.
        threshold: confidence to go through; None takes the judge's own.
        on_progress: called with the number of moments that were judged.

    Raises:
        ModelError: the model gives something that is no number.
        StoreError: the index cannot be read.
    """
    facts = engine.facts()
    texts = encode_texts(model, [*keep, *drop])
    least = judge.threshold if threshold is None else threshold
    best = {identity: [0.0, 0.0] for identity in identities}
    refs = (MomentRef(one, moment) for one in best for moment in range(facts[one].moments))
    while part := list(islice(refs, _CHUNK)):
        found = engine.read(part)
        with torch.no_grad():
            nearest = (found.nearest[0].to(model.device), found.nearest[1].to(model.device))
            scores = model.interaction(texts.to(model.device), found.features.to(model.device), nearest).cpu()
        if not bool(scores.isfinite().all()):
            raise ModelError("the model scores videos with something that is no number: its weights may be damaged.")
        level = judge.level(found)
        searched = torch.tensor([float(facts[ref.identity].moments) for ref in part], dtype=torch.float64)
        for row in range(len(texts)):
            confidence = judge.confidence(texts[row : row + 1], scores[row], found, searched, level)
            side = 0 if row < len(keep) else 1
            for ref, value in zip(part, confidence.tolist(), strict=True):
                best[ref.identity][side] = max(best[ref.identity][side], value)
        if on_progress is not None:
            on_progress(len(part))
    return {one: Verdict(wanted, unwanted, least <= wanted > unwanted) for one, (wanted, unwanted) in best.items()}

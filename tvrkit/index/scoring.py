"""What a question of one part or several makes of moments: scores, and which frame speaks most for a moment.

Similarities of words with frames and of frames with frames do not live on one scale (about 0.2 to 0.35, and 0.4 to 1).
So where a question has several parts, each counts by how many standard deviations a moment stands above what that part
gives to a sample of the index. Letters: n moments, F frames, P pooled vectors, Q query vectors, D feature dimension.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tvrkit.core.features import VideoFeatures
from tvrkit.errors import ModelError
from tvrkit.index.engine import Engine, MomentFeatures, MomentRef
from tvrkit.index.parts import Query
from tvrkit.index.pooled import exact_scores

_SAMPLE = 512  # moments: the mean of a part is then known to a twentieth of its deviation
_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class Sample:
    """Some moments of an index, the same ones whatever engine holds it.

    Attributes:
        moments: n of them.
        pooled: (n, P, D).
    """

    moments: MomentFeatures
    pooled: Tensor


def take_sample(engine: Engine) -> Sample:
    """One moment each of videos that share nothing but how their identities begin, which are digests."""
    from tvrkit.encode.moments import pooled_vectors

    facts = engine.facts()
    chosen = [identity for identity in sorted(facts) if facts[identity].moments][:_SAMPLE]
    refs = [MomentRef(identity, zlib.crc32(identity.encode()) % facts[identity].moments) for identity in chosen]
    moments = engine.read(refs)
    return Sample(moments, pooled_vectors(moments.features.frame_features, moments.features.frame_mask))


def similarity(query: Query, moments: MomentFeatures) -> Tensor:
    """Similarity (n,) float32 of a part with n moments, on the CPU.

    Raises:
        ModelError: some of it is no number.
    """
    features, nearest = _there(query, moments)
    scores: Tensor = query.interaction(query.features, features, nearest)[0].cpu()
    if not bool(scores.isfinite().all()):
        raise ModelError("the model scores videos with something that is no number: its weights may be damaged.")
    return scores


class Scorer:
    """One question, ready for any number of moments.

    Attributes:
        queries: its parts.
        vectors: (Q, D), for `Engine.candidates`.

    Args:
        queries: at least one.
        sample: gives the sample of the index; called when there are several parts.
    """

    def __init__(self, queries: Sequence[Query], sample: Callable[[], Sample]) -> None:
        self.queries = tuple(queries)
        if len(queries) == 1:
            # The similarity as it is; one part's weight stands beside nothing.
            self._factors, self._shift = [1.0], 0.0
            self.vectors = queries[0].vectors
            return
        some = sample()
        spreads = [_spread(similarity(query, some.moments)) for query in queries]
        self._factors = [query.weight / deviation for query, (_, deviation) in zip(queries, spreads, strict=True)]
        self._shift = -sum(factor * mean for factor, (mean, _) in zip(self._factors, spreads, strict=True))
        rough = [query.weight / _spread(exact_scores(query.vectors, some.pooled))[1] for query in queries]
        self.vectors = torch.cat([query.vectors * factor for query, factor in zip(queries, rough, strict=True)])

    @torch.no_grad()
    def __call__(self, moments: MomentFeatures) -> Tensor:
        """Scores (n,) float32 on the CPU: the similarity, or the weighted sum of several parts' standard scores."""
        parts = [similarity(query, moments) * factor for query, factor in zip(self.queries, self._factors, strict=True)]
        return torch.stack(parts).sum(dim=0) + self._shift

    @torch.no_grad()
    def best_frame(self, moments: MomentFeatures) -> Tensor:
        """Position (n,) int64 of the frame that, were it the whole moment, would score highest."""
        scores = []
        for query, factor in zip(self.queries, self._factors, strict=True):
            features, _ = _there(query, moments)
            scores.append(query.interaction.frame_scores(query.features, features)[0].cpu() * factor)
        mask = moments.features.frame_mask.cpu()
        return torch.stack(scores).sum(dim=0).masked_fill(~mask, -torch.inf).argmax(dim=1)

    @property
    def words(self) -> Query | None:
        """The one part that is wanted, if it is words: what confidence speaks of."""
        wanted = [query for query in self.queries if query.weight > 0]
        return wanted[0] if len(wanted) == 1 and wanted[0].is_text else None


def _there(query: Query, moments: MomentFeatures) -> tuple[VideoFeatures, tuple[Tensor, Tensor]]:
    """Moments on the device of a part."""
    device = query.features.text_features.device
    return moments.features.to(device), (moments.nearest[0].to(device), moments.nearest[1].to(device))


def _spread(scores: Tensor) -> tuple[float, float]:
    """Mean and deviation, above 0."""
    return float(scores.mean()), max(float(scores.std(correction=0)), _LEAST_DEVIATION)

"""Videos that are like another one, frame by frame, and copies of one video that were encoded or cut anew.

Two videos are compared by the mean, both ways, of how similar each frame's best partner in the other is. Before that,
what all pictures have in common for the model is taken away: for most image towers any two pictures are alike, and
nothing but that makes their cosines comparable between models. Letters: F frames, V videos, D feature dimension.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tvrkit.core import RetrievalModel
from tvrkit.encode import encode_pixels, encode_videos
from tvrkit.index.engine import Engine, MomentRef, VideoFacts

NEAR_DUPLICATE = 0.8
"""Similarity from which on two videos are near-duplicates; measured in docs/curating.md."""

_MOST_FRAMES = 240  # of a video that are compared, evenly spread
_MOST_SAMPLED = 512  # videos whose common part is taken away
_BLOCKS, _CANDIDATES = 8, 64  # parts of the example that are looked for, and moments found for each
_PICTURES_COUNT = 4.0  # the artificial pictures weigh as many videos: small indexes have no common part of their own
_MEANS_ALIKE, _PARTNERS, _CHUNK = 0.6, 32, 512  # near-duplicates have means that are this similar at least


@dataclass(frozen=True)
class SimilarVideo:
    """One video that was found.

    Attributes:
        identity: of the content.
        facts: where it lies, and its length.
        similarity: -1 to 1; 1 is the same picture for picture.
        near_duplicate: whether it is taken for a copy.
    """

    identity: str
    facts: VideoFacts
    similarity: float
    near_duplicate: bool


@torch.no_grad()
def common_part(model: RetrievalModel, engine: Engine) -> Tensor:
    """(D,) what all pictures have in common: the mean over videos of the index, and over some artificial pictures."""
    pixels = torch.stack([model.transform(picture) for picture in _pictures()])[:, None]
    real = torch.ones(len(pixels), 1, dtype=torch.bool)
    artificial = encode_videos(model, encode_pixels(model, pixels, real), real).frame_features[:, 0].mean(dim=0)
    facts = engine.facts()
    identities = sorted(identity for identity, video in facts.items() if video.moments)
    some = identities[:: max(1, -(-len(identities) // _MOST_SAMPLED))]
    total = _PICTURES_COUNT * artificial
    for part in _parts([MomentRef(identity, facts[identity].moments // 2) for identity in some], _CHUNK):
        found = engine.read(part).features
        mask = found.frame_mask[..., None]
        total = total + ((found.frame_features * mask).sum(dim=1) / mask.sum(dim=1)).sum(dim=0)
    return total / (_PICTURES_COUNT + len(some))


def frames_of(engine: Engine, identities: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """Frame features (F, D) of whole videos, F at most 240, in the order of `identities`; blank ones are left out."""
    facts = engine.facts()
    for identity in identities:
        moments = facts[identity].moments
        if moments:
            chosen = _evenly(moments, _MOST_FRAMES)
            found = engine.read([MomentRef(identity, moment) for moment in chosen]).features
            yield identity, thinned(found.frame_features[found.frame_mask])


def thinned(frames: Tensor) -> Tensor:
    """At most 240 of some frames (F, D), evenly spread."""
    return frames[_evenly(len(frames), _MOST_FRAMES)]


def similarity(a: Tensor, b: Tensor) -> float:
    """Of two videos (F, D) and (F', D) without the common part, L2-normalised: -1 to 1."""
    between = a @ b.T
    return float(between.amax(dim=1).mean() + between.amax(dim=0).mean()) / 2


def without(common: Tensor, frames: Tensor) -> Tensor:
    """Frame features (..., D) without the part that all have in common, L2-normalised."""
    return functional.normalize(frames - common, dim=-1)


def find_similar(
    engine: Engine,
    common: Tensor,
    frames: Tensor,
    *,
    top: int = 10,
    threshold: float = NEAR_DUPLICATE,
    leave_out: Collection[str] = (),
    allowed: Collection[str] | None = None,
) -> list[SimilarVideo]:
    """The most similar videos, best first.

    Args:
        engine: where to look.
        common: see `common_part`.
        frames: (F, D) of the example.
        top: at most so many.
        threshold: similarity of near-duplicates.
        leave_out: contents that are not wanted, such as the example's own.
        allowed: contents among which to look; None allows all.

    Raises:
        StoreError: the index cannot be read.
    """
    facts = engine.facts()
    example = without(common, thinned(frames))
    blocks = [
        functional.normalize(block.mean(dim=0), dim=0) for block in thinned(frames).tensor_split(_BLOCKS) if len(block)
    ]
    count = max(_CANDIDATES, 4 * top)
    refs = (ref for block in blocks for ref in engine.candidates(block[None], count, allowed))
    near = [identity for identity in dict.fromkeys(ref.identity for ref in refs) if identity not in leave_out]
    scored = [(similarity(example, without(common, other)), one) for one, other in frames_of(engine, near)]
    best = sorted(scored, key=lambda pair: (-pair[0], facts[pair[1]].paths))[:top]
    return [SimilarVideo(one, facts[one], score, score >= threshold) for score, one in best]


def near_duplicates(
    engine: Engine, common: Tensor, *, threshold: float = NEAR_DUPLICATE, allowed: Collection[str] | None = None
) -> list[tuple[SimilarVideo, ...]]:
    """All groups of near-duplicates, and contents that lie at several paths; sorted by their first path.

    Whole videos are compared by the means of their frames, which is a product of matrices; only those whose means are
    alike are compared frame by frame. A group holds what is joined by any chain of pairs.

    Args:
        engine: where to look.
        common: see `common_part`.
        threshold: similarity of a pair.
        allowed: contents among which to look; None allows all.
    """
    facts = engine.facts()
    identities, means = _means(engine, common, allowed)
    best: dict[str, float] = {}
    above = {identity: identity for identity in identities}
    for pairs in _alike(means):
        wanted = sorted({place for pair in pairs for place in pair})
        frames = {one: without(common, rows) for one, rows in frames_of(engine, [identities[i] for i in wanted])}
        for i, j in pairs:
            a, b = identities[i], identities[j]
            score = similarity(frames[a], frames[b])
            if score >= threshold:
                above[_root(above, a)] = _root(above, b)
                best[a], best[b] = max(score, best.get(a, -1.0)), max(score, best.get(b, -1.0))
    groups: dict[str, list[SimilarVideo]] = {}
    for identity in identities:
        if identity in best or len(facts[identity].paths) > 1:
            one = SimilarVideo(identity, facts[identity], best.get(identity, 1.0), near_duplicate=True)
            groups.setdefault(_root(above, identity), []).append(one)
    sorted_groups = [tuple(sorted(group, key=lambda one: one.facts.paths)) for group in groups.values()]
    return sorted(sorted_groups, key=lambda group: group[0].facts.paths)


def _means(engine: Engine, common: Tensor, allowed: Collection[str] | None) -> tuple[list[str], Tensor]:
    """Identities, and the directions (V, D) of the means of their frames without the common part."""
    sums: dict[str, Tensor] = {}
    for refs in engine.refs(allowed):
        found = engine.read(refs).features
        mask = found.frame_mask[..., None]
        for ref, total in zip(refs, ((found.frame_features - common) * mask).sum(dim=1), strict=True):
            sums[ref.identity] = sums[ref.identity] + total if ref.identity in sums else total
    if not sums:
        return [], torch.zeros(0, len(common))
    return list(sums), functional.normalize(torch.stack(list(sums.values())), dim=-1)


def _alike(means: Tensor) -> Iterator[list[tuple[int, int]]]:
    """Pairs of rows whose means are alike, each once, the partners of some rows at a time."""
    for first in range(0, len(means), _CHUNK):
        between = means[first : first + _CHUNK] @ means.T
        rows = torch.arange(len(between))
        between[rows, first + rows] = -1.0
        values, partners = between.topk(min(_PARTNERS, len(means)), dim=1)
        near = (values >= _MEANS_ALIKE).nonzero()
        pairs = {tuple(sorted((first + int(row), int(partners[row, column])))) for row, column in near}
        if pairs:
            yield sorted((pair[0], pair[1]) for pair in pairs)


def _root(above: dict[str, str], identity: str) -> str:
    while above[identity] != identity:
        above[identity] = above[above[identity]]
        identity = above[identity]
    return identity


def _pictures() -> Iterator[Image.Image]:
    """Coloured noise of several grains, always the same."""
    random = np.random.default_rng(0)
    for grain in (1, 2, 4, 8, 16, 32):
        for _ in range(4):
            cells = random.integers(0, 256, (grain, grain, 3), dtype=np.uint8)
            yield Image.fromarray(cells).resize((256, 256), Image.Resampling.BICUBIC)


def _evenly(count: int, most: int) -> list[int]:
    """Positions among `count`, at most so many."""
    if count <= most:
        return list(range(count))
    return [int((i + 0.5) * count / most) for i in range(most)]


def _parts(refs: Sequence[MomentRef], size: int) -> Iterator[list[MomentRef]]:
    rest = iter(refs)
    while part := list(islice(rest, size)):
        yield part

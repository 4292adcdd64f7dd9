"""Search in an index of segments, on this machine: pooled vectors in memory, frame features where they lie on disk."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tvrkit.core import VideoFeatures
from tvrkit.index.engine import MomentFeatures, MomentRef, VideoFacts
from tvrkit.index.pooled import Pooled, PooledQuery, exact_scores

if TYPE_CHECKING:
    from tvrkit.index.segments import IndexPart, SegmentIndex
    from tvrkit.index.video_index import FileRow

_MASKS = 16  # filters that are remembered
_SLACK = 64  # candidates more than asked for, beyond twice as many, that are looked at without rounding


class Gallery:
    """The moments of an index as it was when this was made; any number of threads may search in it at once.

    In memory it holds the pooled vectors, a byte a number (154 MB for 100,000 moments of 3 x 512), and a few numbers a
    moment. The rest is memory-mapped. It stays whole when the index is written to or closed meanwhile.

    Args:
        index: where the moments are.
        before: an older one of the same open index: what is in both is not read again.

    Attributes:
        generation: of the index, see `VideoIndex.generation`.

    Raises:
        StoreError: the index cannot be read.
    """

    exact = True

    def __init__(self, index: SegmentIndex, before: Gallery | None = None) -> None:
        # Before all else: a change that comes while this reads is then seen as one when generations are compared.
        self.generation = index.generation()
        self.fingerprint = index.meta.fingerprint
        self._dim = index.meta.dim
        files = _by_identity(index.files())
        known = {block.key: block for block in before._blocks} if before else {}
        self._blocks: list[_Block] = []
        self._facts: dict[str, VideoFacts] = {}
        places = []
        for part in index.iter_parts():
            kept = np.array([key in files for key in part.keys], bool)
            places.append(_places(part, kept, len(self._blocks), len(self._facts)))
            self._facts.update(_facts(part, kept, files))
            self._blocks.append(known.get(_key(part)) or _Block(part))
        self._places = _Places(*map(np.concatenate, zip(*places, strict=True))) if places else _NOWHERE
        self._names = list(self._facts)
        self._video_of = {identity: video for video, identity in enumerate(self._names)}
        counts = [facts.moments for facts in self._facts.values()]
        self._first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._masks: OrderedDict[frozenset[str], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places.block)

    def facts(self) -> Mapping[str, VideoFacts]:
        """All indexed contents that have a file, by identity."""
        return self._facts

    @property
    def bytes(self) -> int:
        """What the pooled vectors hold in memory."""
        return sum(block.pooled.bytes for block in self._blocks)

    def candidates(self, vectors: Tensor, count: int, allowed: Collection[str] | None = None) -> list[MomentRef]:
        """First stage, see `Engine`: every allowed moment is looked at; equal ones stand in the index's order."""
        vectors = vectors.detach().cpu().float()
        scores = self._rough_scores(vectors)
        possible = len(scores)
        if allowed is not None:
            mask = self._mask(allowed)
            scores, possible = scores.masked_fill(~torch.from_numpy(mask), -torch.inf), int(mask.sum())
        count = min(count, possible)
        if count == 0:
            return []
        best = scores.topk(min(2 * count + _SLACK, possible), sorted=False).indices.sort().values.numpy()
        exact = exact_scores(vectors, self._pooled(best))
        order = exact.argsort(descending=True, stable=True)[:count].numpy()
        return self._refs(best[order])

    def read(self, refs: Sequence[MomentRef]) -> MomentFeatures:
        """Second stage, see `Engine`."""
        at = self._at(refs)
        counts = self._places.frames[at]
        longest = int(counts.max(initial=1))
        shape = (len(refs), longest)
        # Frame by frame in memory: so the interaction takes them without a copy.
        features = np.zeros((longest, len(refs), self._dim), np.float16)
        gain, neighbour = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
        pts, spans = np.zeros(shape), np.zeros((len(refs), 2))
        rows = zip(*(column[at].tolist() for column in self._places[:4]), strict=True)
        for i, (number, row, first, count) in enumerate(rows):
            block, last = self._blocks[number], first + count
            features[:count, i] = block.frame_features[first:last]
            gain[i, :count] = block.nearest_gain[first:last]
            neighbour[i, :count] = block.nearest_frame[first:last]
            pts[i, :count] = block.pts_seconds[first:last]
            spans[i] = block.spans[row]
        mask = np.arange(longest) < counts[:, None]
        return MomentFeatures(
            refs=tuple(refs),
            features=VideoFeatures(torch.from_numpy(features).float().transpose(0, 1), torch.from_numpy(mask)),
            nearest=(torch.from_numpy(gain), torch.from_numpy(neighbour)),
            pts_seconds=torch.from_numpy(pts),
            spans=torch.from_numpy(spans),
        )

    def refs(self, allowed: Collection[str] | None = None, chunk: int = 1024) -> Iterator[list[MomentRef]]:
        """Every allowed moment, in the order that is fastest to read."""
        at = np.arange(len(self)) if allowed is None else np.flatnonzero(self._mask(allowed))
        for first in range(0, len(at), chunk):
            yield self._refs(at[first : first + chunk])

    def _rough_scores(self, vectors: Tensor) -> Tensor:
        """Scores (moments,) of the first stage, about right."""
        query = PooledQuery(vectors)
        by_block = [block.pooled.scores(query) for block in self._blocks]
        if not by_block:
            return torch.zeros(0)
        offsets = np.cumsum([0, *(len(scores) for scores in by_block)])
        everything = torch.cat(by_block)
        if len(everything) == len(self):
            return everything
        return everything[torch.from_numpy(offsets[self._places.block] + self._places.row)]

    def _pooled(self, at: np.ndarray) -> Tensor:
        """Pooled vectors (n, P, D) of some moments, not rounded."""
        found = np.empty((len(at), *self._blocks[0].unrounded.shape[1:]), np.float16)
        for number in np.unique(self._places.block[at]):
            here = self._places.block[at] == number
            found[here] = self._blocks[number].unrounded[self._places.row[at[here]]]
        return torch.from_numpy(found)

    def _mask(self, allowed: Collection[str]) -> np.ndarray:
        """Whether each moment is of an allowed video."""
        key = allowed if isinstance(allowed, frozenset) else frozenset(allowed)
        with self._lock:
            if key in self._masks:
                self._masks.move_to_end(key)
                return self._masks[key]
        videos = np.zeros(len(self._names), bool)
        videos[[self._video_of[identity] for identity in key if identity in self._video_of]] = True
        mask = videos[self._places.video]
        with self._lock:
            self._masks[key] = mask
            while len(self._masks) > _MASKS:
                self._masks.popitem(last=False)
        return mask

    def _refs(self, at: np.ndarray) -> list[MomentRef]:
        videos = self._places.video[at]
        numbers = at - self._first[videos]
        return [MomentRef(self._names[v], n) for v, n in zip(videos.tolist(), numbers.tolist(), strict=True)]

    def _at(self, refs: Sequence[MomentRef]) -> np.ndarray:
        """Positions of moments among all."""
        return np.array([self._first[self._video_of[ref.identity]] + ref.moment for ref in refs], np.int64)


class _Places(NamedTuple):
    """Where each moment lies, all (moments,) int64: those of a video one behind the other."""

    block: np.ndarray
    row: np.ndarray
    """Within the block, of what it has one of a moment."""
    first_frame: np.ndarray
    frames: np.ndarray
    video: np.ndarray


_NOWHERE = _Places(*[np.zeros(0, np.int64)] * 5)


class _Block:
    """One part of the index: its arrays, and its pooled vectors rounded."""

    def __init__(self, part: IndexPart) -> None:
        self.key = _key(part)
        self.part = part  # as long as it is held, nothing else can lie where `key` says
        self.pooled = Pooled(part.pooled)
        self.unrounded = part.pooled.numpy()
        self.spans = part.spans.numpy()
        self.frame_features = part.frame_features.numpy()
        self.nearest_gain, self.nearest_frame = part.nearest_gain.numpy(), part.nearest_frame.numpy()
        self.pts_seconds = part.pts_seconds.numpy()


def _key(part: IndexPart) -> tuple[int, int]:
    """Where a part lies in memory: an index maps each of its segments once."""
    return part.pooled.data_ptr(), len(part.pooled)


def _places(part: IndexPart, kept: np.ndarray, block: int, videos: int) -> _Places:
    """Where the moments of the kept videos of a part lie; `videos` came before them."""
    moments = part.moments.numpy()[kept]
    video = np.repeat(np.arange(len(moments)), moments)
    row = np.arange(len(video)) + (part.first_moment.numpy()[kept] - (moments.cumsum() - moments))[video]
    counts = part.counts.numpy()
    # A video's frames begin at `first_frame`, its moments' frames lie one behind the other.
    before = np.concatenate([[0], counts.cumsum()])
    first = part.first_frame.numpy()[kept][video] + before[row] - before[part.first_moment.numpy()[kept]][video]
    return _Places(np.full(len(video), block), row, first, counts[row], video + videos)


def _facts(part: IndexPart, kept: np.ndarray, files: Mapping[str, list[FileRow]]) -> dict[str, VideoFacts]:
    facts = {}
    columns = zip(part.keys, kept.tolist(), part.duration_seconds.tolist(), part.moments.tolist(), strict=True)
    for identity, here, duration, moments in columns:
        if here:
            rows = files[identity]
            facts[identity] = VideoFacts(tuple(row.path for row in rows), duration, rows[0].modified, moments)
    return facts


def _by_identity(files: Sequence[FileRow]) -> dict[str, list[FileRow]]:
    """Files of each content, by path."""
    found: dict[str, list[FileRow]] = {}
    for file in files:
        if file.identity:
            found.setdefault(file.identity, []).append(file)
    for rows in found.values():
        if len(rows) > 1:
            rows.sort(key=lambda row: row.path)
    return found

"""What a search needs of wherever the moments lie: the one interface of all stores and search servers.

Letters: n moments asked for, F frames, P pooled vectors of a moment, D feature dimension, Q query vectors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from tvrkit.core import VideoFeatures


class MomentRef(NamedTuple):
    """One moment: `identity` names the video's content, `moment` counts from 0 within it."""

    identity: str
    moment: int


@dataclass(frozen=True)
class VideoFacts:
    """What is known of one indexed content.

    Attributes:
        paths: where it lies, as absolute paths or addresses (s3://…), sorted; the first one is shown.
        duration_seconds: of the file.
        modified: time of the file's last change, seconds since 1970, of the first path.
        moments: how many it has.
    """

    paths: tuple[str, ...]
    duration_seconds: float
    modified: float
    moments: int


@dataclass(frozen=True)
class MomentFeatures:
    """Some moments, read for the second stage.

    Attributes:
        refs: which, n of them.
        features: (n, F, D) float32, out of float16.
        nearest: `nearest_frames` of them, (n, F) each.
        pts_seconds: (n, F) float64, 0 where there is no frame.
        spans: (n, 2) float64, start and end in seconds.
    """

    refs: tuple[MomentRef, ...]
    features: VideoFeatures
    nearest: tuple[Tensor, Tensor]
    pts_seconds: Tensor
    spans: Tensor


class Engine(Protocol):
    """Moments that can be searched. `allowed` are identities; None allows all of them.

    Every method raises StoreError when the moments cannot be reached or read.
    """

    fingerprint: str
    """Of the model whose features these are (`RetrievalModel.fingerprint`)."""

    exact: bool
    """Whether `candidates` looks at every allowed moment."""

    def __len__(self) -> int:
        """How many moments there are."""
        ...

    def facts(self) -> Mapping[str, VideoFacts]:
        """All indexed contents that have a file, by identity."""
        ...

    def candidates(self, vectors: Tensor, count: int, allowed: Collection[str] | None = None) -> list[MomentRef]:
        """First stage: the `count` moments with the greatest sum over the vectors (Q, D) of max over p <vector, p>."""
        ...

    def read(self, refs: Sequence[MomentRef]) -> MomentFeatures:
        """Second stage: frame features of some moments, in the order of `refs`."""
        ...

    def refs(self, allowed: Collection[str] | None = None, chunk: int = 1024) -> Iterator[list[MomentRef]]:
        """Every allowed moment, in an order that does not change while the index does not."""
        ...

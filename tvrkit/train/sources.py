"""Where a batch's frame features come from: decoded and encoded anew, or computed once and looked up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from tvrkit.config import Config
from tvrkit.core.model import RetrievalModel
from tvrkit.data import Batch, Pair, Quarantine, decoded_batches, frame_request, pad_frames, pair_seed
from tvrkit.distributed import SOLO, Team
from tvrkit.distributed.agree import agreed
from tvrkit.encode import EncodedFrames, encode_frames, encode_pixels, frame_cache
from tvrkit.errors import VideoError
from tvrkit.frames.cache import pixel_cache
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reading import Reading
from tvrkit.manifest import Manifest, Record
from tvrkit.reporting import Reporter, counted
from tvrkit.store import FeatureStore


class Source(Protocol):
    """A process's part of each batch of an epoch in their order; None where it has nothing of one.

    What could not be read is news of the quarantine, which the loop merges over the team.
    """

    def batches(self, batches: Sequence[tuple[Pair, ...]], epoch: int, team: Team = SOLO) -> Iterator[Batch | None]:
        """Read this process's part of the batches one after the other."""

    def features(self, model: RetrievalModel, batch: Batch) -> tuple[Tensor, Tensor]:
        """Raw frame features (B, F, R) and frame mask (B, F) of a batch, on the model's device."""

    def stand_in(self, model: RetrievalModel, pair: Pair) -> Batch:
        """Any pair on blank frames, for a process that has none of a batch: it goes along and does not count."""

    def close(self) -> None:
        """Give back what it holds."""


class DecodedFrames:
    """Videos are decoded ahead by worker processes; the vision tower runs in each step."""

    def __init__(
        self,
        model: RetrievalModel,
        manifest: Manifest,
        records: Sequence[Record],
        config: Config,
        quarantine: Quarantine,
        report: Reporter,
    ) -> None:
        self._manifest, self._records, self._config = manifest, records, config
        self._quarantine, self._report = quarantine, report
        self._pool = DecodePool.of(reading_of(config, model), model.pixel_transform)
        self._pool.__enter__()

    def batches(self, batches: Sequence[tuple[Pair, ...]], epoch: int, team: Team = SOLO) -> Iterator[Batch | None]:
        """See `Source`; a randomly sampled frame depends on seed, epoch and pair only."""
        num_frames, sampling, seed = (
            self._config.model.num_frames,
            self._config.data.sampling,
            self._config.train.seed,
        )
        return decoded_batches(
            batches,
            lambda pair: frame_request(
                self._manifest, self._records[pair.video], num_frames, sampling, pair_seed(seed, epoch, pair)
            ),
            self._pool,
            self._quarantine,
            num_frames,
            team,
        )

    def features(self, model: RetrievalModel, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Source`."""
        if model.backbone.images_stand_still:
            # As the cache computes them, in full precision, so that both ways give the same losses.
            return encode_pixels(model, batch.frames, batch.frame_mask).to(model.device), batch.frame_mask.to(
                model.device
            )
        pixels, mask = batch.frames.to(model.device), batch.frame_mask.to(model.device)
        return model.encode_frames(pixels, mask), mask

    def stand_in(self, model: RetrievalModel, pair: Pair) -> Batch:
        """See `Source`."""
        black = torch.as_tensor(model.pixel_transform(Image.new("RGB", (64, 64))))
        return Batch((pair,), *pad_frames([black[None]], self._config.model.num_frames))

    def close(self) -> None:
        """End the worker processes."""
        self._pool.__exit__(None, None, None)


class CachedFrames:
    """Raw features of an image tower that stands still, computed once for all videos and kept on disk and in memory."""

    def __init__(self, encoded: EncodedFrames, quarantine: Quarantine, report: Reporter) -> None:
        self._encoded = encoded
        self._place = {int(row): place for place, row in enumerate(encoded.rows)}
        for row, error in encoded.failures.items():
            if quarantine.add(row, error):
                tell_unreadable(error, quarantine, report)

    def batches(self, batches: Sequence[tuple[Pair, ...]], epoch: int, team: Team = SOLO) -> Iterator[Batch | None]:
        """See `Source`."""
        for batch in batches:
            readable = tuple(pair for pair in batch if pair.video in self._place)
            pairs = readable[team.split(len(readable))]
            places = torch.tensor([self._place[pair.video] for pair in pairs], dtype=torch.int64)
            frames, mask = self._encoded.frame_features[places], self._encoded.frame_mask[places]
            yield Batch(pairs, frames, mask) if pairs else None

    def features(self, model: RetrievalModel, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Source`."""
        return batch.frames.to(model.device), batch.frame_mask.to(model.device)

    def stand_in(self, model: RetrievalModel, pair: Pair) -> Batch:
        """See `Source`."""
        _, num_frames, dim = self._encoded.frame_features.shape
        return Batch((pair,), *pad_frames([torch.zeros(1, dim)], num_frames))

    def close(self) -> None:
        """Nothing to give back."""


def reading_of(config: Config, model: RetrievalModel | None = None) -> Reading:
    """How a run reads videos; for a model with `data.cache_frames`, by way of the cache of frames."""
    data = config.data
    cache = pixel_cache(model.backbone.preprocess_cfg, data.reader) if model and data.cache_frames else None
    return Reading(data.workers, data.reader, data.timeout_seconds, cache)


def encode_cached(
    model: RetrievalModel,
    manifest: Manifest,
    records: Sequence[Record],
    config: Config,
    report: Reporter,
    what: str,
    sampling: str = "uniform",
    team: Team = SOLO,
) -> EncodedFrames:
    """Frame features of a split, from the cache where they are there; all processes of `team` return all of them."""
    requests = [frame_request(manifest, record, config.model.num_frames, sampling) for record in records]
    with (
        agreed(team, lambda: FeatureStore(frame_cache(model))) as store,
        report.progress(f"Frames of {what}", len(requests)) as bar,
    ):
        reading = reading_of(config)
        return encode_frames(model, requests, reading=reading, on_progress=counted(bar), store=store, team=team)


def tell_unreadable(error: VideoError, quarantine: Quarantine, report: Reporter) -> None:
    """Name an unreadable training video and count."""
    report.warn(f"{error} ({len(quarantine)} training videos left out so far)")

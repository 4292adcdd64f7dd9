"""How much data there is to train on: counted where it is prepared, else what its protocol says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tvrkit.config import Config
from tvrkit.errors import ConfigError
from tvrkit.manifest import Record, read_manifest
from tvrkit.prepare.benchmarks import BENCHMARKS
from tvrkit.protocols import PROTOCOLS
from tvrkit.train.samplers import epoch_batches
from tvrkit.workspace import manifest_path, prepared_sets

NEIGHBOURS_TAKE_LONG = 20_000
"""Captions above which the batches of an epoch are counted by division."""


@dataclass(frozen=True)
class Counts:
    """What a data set has.

    Attributes:
        dataset: its name.
        videos: of the training split.
        captions: of the training split.
        val_videos: of the validation split, 0 where there is none.
        val_captions: likewise.
        protocol: whose published counts these are; None where the data set itself was counted.
    """

    dataset: str
    videos: int
    captions: int
    val_videos: int
    val_captions: int
    protocol: str | None = None


def count_data(config: Config) -> tuple[Counts, Sequence[Record] | None]:
    """How many videos and captions there are, and the training records where the data set is prepared.

    Raises:
        ConfigError: no data set is named, or one that is neither prepared nor a benchmark.
        DataError: it is prepared, and cannot be read or has no such split.
    """
    data, prepared = config.data, prepared_sets()
    name = data.dataset
    benchmark = BENCHMARKS.get(name or "")
    protocol = PROTOCOLS.get(benchmark.splits[next(iter(benchmark.splits))] if benchmark else name or "")
    if protocol is not None and name not in prepared and "train" in protocol.sizes:
        videos, captions = protocol.sizes["train"]
        val_videos, val_captions = protocol.sizes.get("val", (0, 0))
        return Counts(protocol.name, videos, captions or videos, val_videos, val_captions or 0, protocol.name), None
    if name is None and len(prepared) != 1:
        raise ConfigError("the settings name no data set: say which by --data NAME.")
    manifest = read_manifest(manifest_path(name))
    records = manifest.split(data.train_split)
    val = manifest.split(data.val_split) if data.val_split in manifest.splits() else []
    captions = sum(len(record.captions) for record in records)
    val_captions = sum(len(record.captions) for record in val)
    return Counts(manifest.name, len(records), captions, len(val), val_captions), records


def batches_of_an_epoch(config: Config, counts: Counts, records: Sequence[Record] | None) -> int:
    """How many batches an epoch has; by division where making them would take long, or there are no records."""
    train, data = config.train, config.data
    pairs = counts.captions if data.captions == "all" else counts.videos
    slow = train.sampler == "neighbours" and pairs > NEIGHBOURS_TAKE_LONG
    if records is None or slow:
        return math.ceil(pairs / train.batch_size)
    made = epoch_batches(
        records, train.batch_size, sampler=train.sampler, captions=data.captions, seed=train.seed, epoch=0
    )
    return len(made)

"""A split as pairs of a video and a caption, their frames read ahead by worker processes, and padded into batches.

Which pairs share a batch is chosen in `train/samplers.py`. What is done to a frame is the decoder pool's transform;
nothing here knows a model. Letters: B pairs of a batch, F frames.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tvrkit.distributed import SOLO, Team
from tvrkit.errors import DataError, VideoError
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reader import FrameRequest
from tvrkit.keywords import TAGGER, tag_key_words
from tvrkit.manifest import Manifest, Record

MAX_UNREADABLE = 0.1
"""Part of the training videos that may be unreadable before training stops."""


@dataclass(frozen=True)
class Pair:
    """A video and one of its captions, as positions in the split and in the record."""

    video: int
    caption: int


@dataclass(frozen=True)
class Batch:
    """Matched pairs, row i of each field belonging together.

    Attributes:
        pairs: B pairs.
        frames: (B, F, ...), of each frame its pixels (3, H, W), uint8 or normalised float32, or its features (D)
            float32; 0 where the mask is False.
        frame_mask: (B, F) bool, True = real; at least one a row.
    """

    pairs: tuple[Pair, ...]
    frames: Tensor
    frame_mask: Tensor

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def video_ids(self) -> Tensor:
        """(B,) int64, equal where two rows show the same video."""
        return torch.tensor([pair.video for pair in self.pairs], dtype=torch.int64)


@dataclass(frozen=True)
class Unreadable:
    """A video that could not be read.

    Attributes:
        row: its position in the split.
        error: why.
    """

    row: int
    error: VideoError


class Quarantine:
    """Videos that could not be read: each named once, counted, and written to a file of JSON lines.

    What one process finds (`note`) counts once all have heard of it (`news` of each, `merge` on all): so every
    process leaves out the same videos. Rank 0 alone touches the file. What it holds already is taken over, unless
    the quarantine is to be `fresh`. Building one is a collective of the team.
    """

    def __init__(self, path: Path, records: Sequence[Record], *, fresh: bool = False, team: Team = SOLO) -> None:
        self._path, self._records, self._leads = path, records, team.leads
        self._news: deque[Unreadable] = deque()
        if fresh and team.leads:
            path.unlink(missing_ok=True)
        self._rows: set[int] = team.from_leader(_rows_in(path, records) if team.leads else set())

    def __contains__(self, row: int) -> bool:
        return row in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def note(self, row: int, error: VideoError) -> None:
        """Remember what this process alone knows; any thread may call it."""
        self._news.append(Unreadable(row, error))

    def news(self) -> list[Unreadable]:
        """What was noted since this was last called."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def merge(self, unreadable: Iterable[Unreadable]) -> list[VideoError]:
        """Take in what the processes noted, the same list on each of them.

        Returns:
            The errors of the videos that were not in before, to be told to people.

        Raises:
            DataError: more than `MAX_UNREADABLE` of all videos of the split are unreadable now.
        """
        fresh = [found for found in unreadable if self.add(found.row, found.error)]
        return [found.error for found in fresh]

    def add(self, row: int, error: VideoError) -> bool:
        """Put in what every process knows; False when it is there already.

        Raises:
            DataError: as `merge`.
        """
        if row in self._rows:
            return False
        self._rows.add(row)
        if self._leads:
            line = {"video_id": self._records[row].video_id, "path": error.path, "reason": error.reason}
            with contextlib.suppress(OSError):  # a full disk costs the line: a run that goes on meets the video again
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
        if len(self) > MAX_UNREADABLE * len(self._records):
            raise DataError(
                f"{len(self)} of {len(self._records)} training videos cannot be read, which is more than"
                f" {MAX_UNREADABLE:.0%} (the last: {error}); they are listed in {self._path}: mend or remove them,"
                " then prepare the data set again."
            )
        return True


def _rows_in(path: Path, records: Sequence[Record]) -> set[int]:
    """Positions of the videos that a quarantine's file names.

    A line that a kill broke off is passed over, also where the next one was written behind it.
    """
    if not path.is_file():
        return set()
    row_of = {record.video_id: row for row, record in enumerate(records)}
    rows = set()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            rows.add(row_of[str(json.loads(line)["video_id"])])
    return rows


def pairs_of(records: Sequence[Record]) -> list[Pair]:
    """Every (video, caption) of a split, in file order.

    Raises:
        DataError: there is none.
    """
    pairs = [Pair(video, caption) for video, record in enumerate(records) for caption in range(len(record.captions))]
    if not pairs:
        raise DataError("no video of this split has a caption, so there is nothing to learn or to ask for.")
    return pairs


def with_key_words(manifest: Manifest, records: Sequence[Record]) -> list[Record]:
    """The records with the character spans of their captions' key words; what the manifest lacks is tagged now."""
    stale = manifest.tagger is not None and manifest.tagger != TAGGER
    todo = [row for row, record in enumerate(records) if stale or record.key_words is None]
    spans = iter(tag_key_words([caption for row in todo for caption in records[row].captions]))
    tagged = list(records)
    for row in todo:
        tagged[row] = replace(records[row], key_words=tuple(itertools.islice(spans, len(records[row].captions))))
    return tagged


def frame_request(
    manifest: Manifest, record: Record, num_frames: int, sampling: str = "uniform", seed: int = 0
) -> FrameRequest:
    """What to read of a record's video."""
    return FrameRequest(
        path=str(manifest.file_of(record)),
        num_frames=num_frames,
        sampling=sampling,
        start_seconds=record.start_seconds,
        end_seconds=record.end_seconds,
        seed=seed,
    )


def pair_seed(seed: int, epoch: int, pair: Pair) -> int:
    """A seed of its own for each pair and epoch, whoever reads it and in whatever order."""
    return int(np.random.SeedSequence([seed, epoch, pair.video, pair.caption]).generate_state(1)[0])


def pad_frames(frames: Sequence[np.ndarray | Tensor], num_frames: int) -> tuple[Tensor, Tensor]:
    """Stack videos of 1 to `num_frames` frames, padded with zeros.

    Returns:
        (V, num_frames, ...) uint8 if that is what they are, else float32, and the mask (V, num_frames) bool,
        True = real.

    Raises:
        ValueError: no video, or one without a frame or with too many.
    """
    rows = [torch.as_tensor(video) for video in frames]
    lengths = [len(row) for row in rows]
    if not rows or min(lengths) < 1 or max(lengths) > num_frames:
        raise ValueError(f"each video must have 1 to {num_frames} frames, got {lengths}")
    kind = torch.uint8 if rows[0].dtype == torch.uint8 else torch.float32
    padded = torch.zeros(len(rows), num_frames, *rows[0].shape[1:], dtype=kind)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    mask = torch.arange(num_frames)[None, :] < torch.tensor(lengths)[:, None]
    return padded, mask


def decoded_batches(
    batches: Iterable[Sequence[Pair]],
    request_of: Callable[[Pair], FrameRequest],
    pool: DecodePool,
    quarantine: Quarantine,
    num_frames: int,
    team: Team = SOLO,
) -> Iterator[Batch | None]:
    """This process's part of each batch, in their order, read ahead by `pool`; None where it has nothing of one.

    What was in quarantine before leaves its batch on every process, and the rest is split. A video that cannot be
    read is noted in `quarantine` and leaves its part; the order of all others stays as it was.
    """
    readable = [tuple(pair for pair in batch if pair.video not in quarantine) for batch in batches]
    parts = [batch[team.split(len(batch))] for batch in readable]
    answers = pool.imap(request_of(pair) for part in parts for pair in part)
    for part in parts:
        pairs, frames = [], []
        for pair, decoded in zip(part, itertools.islice(answers, len(part)), strict=True):
            if decoded.frames is not None:
                pairs.append(pair)
                frames.append(decoded.frames)
            elif decoded.error is not None:
                quarantine.note(pair.video, decoded.error)
        yield Batch(tuple(pairs), *pad_frames(frames, num_frames)) if pairs else None

"""How much of each split is there: what the protocol has, what the annotations list, what of it can be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tvrkit.prepare.videos import Video
from tvrkit.protocols import PROTOCOLS

ORDER = ("train", "val", "test")  # others stand behind them


@dataclass(frozen=True)
class SplitCoverage:
    """How much of a split is there.

    Attributes:
        expected: videos of the protocol; None where it gives no number.
        expected_captions: likewise.
        listed: videos that the annotations name.
        missing: listed videos without a file.
        unreadable: listed videos whose file yields no frame.
        captions: of the videos that can be used.
        lost: captions of those that cannot.
        hours: of the videos that can be used; None where durations are not known.
    """

    expected: int | None
    expected_captions: int | None
    listed: int
    missing: int
    unreadable: int
    captions: int
    lost: int
    hours: float | None

    @property
    def videos(self) -> int:
        """Those that can be used."""
        return self.listed - self.missing - self.unreadable

    @property
    def complete(self) -> bool:
        """Whether nothing that is listed is lacking, and the numbers are the protocol's."""
        return (
            self.listed == self.videos
            and self.expected in (None, self.videos)
            and self.expected_captions in (None, self.captions)
        )

    def to_json(self) -> dict[str, Any]:
        """For report.json."""
        return {"videos": self.videos, **asdict(self), "complete": self.complete}


def cover(videos: Sequence[Video], protocol: str | None = None, *, held_out: bool = False) -> dict[str, SplitCoverage]:
    """Count the videos of each split, beside the protocol's own numbers.

    Args:
        videos: all that the annotations list, whatever became of them.
        protocol: name of the protocol that they follow; its splits are counted too where nothing is listed of them.
        held_out: whether `val` is a part of the protocol's `train` that was put aside.
    """
    sizes = dict(PROTOCOLS[protocol].sizes) if protocol in PROTOCOLS else {}
    of_split: dict[str, list[Video]] = {split: [] for split in sizes}
    for video in videos:
        of_split.setdefault(video.split, []).append(video)
    if held_out:
        _take_out(sizes, of_split.get("val", []))
    return {
        split: _count(of_split[split], *sizes.get(split, (None, None)))
        for split in sorted(of_split, key=lambda split: ORDER.index(split) if split in ORDER else len(ORDER))
    }


def _take_out(sizes: dict[str, tuple[int, int | None]], held: Sequence[Video]) -> None:
    if "train" in sizes:
        videos, captions = sizes["train"]
        taken = sum(len(video.captions) for video in held)
        sizes["train"] = (videos - len(held), None if captions is None else captions - taken)
        sizes["val"] = (len(held), taken)


def _count(videos: Sequence[Video], expected: int | None, expected_captions: int | None) -> SplitCoverage:
    present = [video for video in videos if video.state == "present"]
    captions = sum(len(video.captions) for video in present)
    seconds = [video.seconds for video in present]
    known = [number for number in seconds if number is not None]
    return SplitCoverage(
        expected=expected,
        expected_captions=expected_captions,
        listed=len(videos),
        missing=sum(video.state == "missing" for video in videos),
        unreadable=sum(video.state == "unreadable" for video in videos),
        captions=captions,
        lost=sum(len(video.captions) for video in videos) - captions,
        hours=round(sum(known) / 3600, 4) if len(known) == len(seconds) else None,
    )

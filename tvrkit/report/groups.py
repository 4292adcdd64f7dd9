"""Where a model is good and where it is not: by category, length of caption, duration of video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvrkit.manifest import Record
from tvrkit.metrics import Ranks
from tvrkit.report.names import Names
from tvrkit.report.parts import Html, number, rank, table, tag, text

FEW = 20  # queries; of fewer a percentage says little
_MOST = 60  # categories shown
_WORDS = (5, 10, 15, 20, 30, 50, 100)
_SECONDS = (5, 10, 20, 30, 60, 120, 300)


@dataclass(frozen=True)
class Groups:
    """Queries told apart.

    Attributes:
        title: of the table.
        labels: of the groups, in their own order.
        of_query: (T,) place among the labels, -1 where it is not known.
    """

    title: str
    labels: tuple[str, ...]
    of_query: np.ndarray

    def sizes(self) -> np.ndarray:
        """Queries in each group."""
        return np.bincount(self.of_query[self.of_query >= 0], minlength=len(self.labels))


def by_tag(key: str, names: Names) -> Groups | None:
    """By the records' tag `key`; None where it does not tell them apart."""
    values = [record.tags.get(key) for record in names.records]
    labels = tuple(sorted({value for value in values if value is not None}))
    place = {label: i for i, label in enumerate(labels)} | {None: -1}
    return _told_apart(Groups(f"By {key}", labels, _of_queries([place[value] for value in values], names)))


def by_caption_length(names: Names) -> Groups | None:
    """By the number of words of the caption."""
    if not names.has_captions():
        return None
    words = [len(names.caption(row).split()) for row in range(len(names.video_of_text))]
    lows = (1, *(edge + 1 for edge in _WORDS[:-1]))
    labels = [f"{low}–{high} words" for low, high in zip(lows, _WORDS, strict=True)]
    labels.append(f"over {_WORDS[-1]} words")
    return _told_apart(Groups("By length of the caption", tuple(labels), np.searchsorted(_WORDS, words)))


def by_duration(names: Names) -> Groups | None:
    """By the duration of what counts of the video."""
    lows = (0, *_SECONDS[:-1])
    labels = [f"{low}–{high} s" for low, high in zip(lows, _SECONDS, strict=True)]
    labels.append(f"over {_SECONDS[-1]} s")
    seconds = [_duration(record) for record in names.records]
    place = [-1 if value is None else int(np.searchsorted(_SECONDS, value)) for value in seconds]
    return _told_apart(Groups("By duration of the video", tuple(labels), _of_queries(place, names)))


def group_table(groups: Groups, names: Names, rows: Sequence[tuple[str, Ranks]], *, best_first: bool) -> Html:
    """Text to video in each group for the first row, and R@1 of the others; every query asks the whole gallery.

    Args:
        groups: of the queries.
        names: of the same evaluation.
        rows: name and text-to-video ranks, all of the same queries.
        best_first: sort by R@1 of the first row, else keep the groups' own order.
    """
    (_, first), *others = rows
    sizes = groups.sizes()
    chosen = [g for g in range(len(groups.labels)) if sizes[g]]
    chosen = sorted(chosen, key=lambda g: -sizes[g])[:_MOST]
    credit = {k: first.credit(k) for k in (1, 5, 10)}
    inside = {g: np.flatnonzero(groups.of_query == g) for g in chosen}
    chosen.sort(key=lambda g: -float(credit[1][inside[g]].mean()) if best_first else g)
    lines: list[list[object]] = []
    for g in chosen:
        queries = inside[g]
        few = [tag("small", "few", class_="few", title=f"fewer than {FEW} queries")] if len(queries) < FEW else []
        recalls = [number(100 * float(value[queries].mean())) for value in credit.values()]
        beside = [number(100 * float(ranks.credit(1)[queries].mean())) for _, ranks in others]
        videos = len(np.unique(names.video_of_text[queries]))
        label = Html("".join([text(groups.labels[g], 80), *few]))
        middle = rank(float(np.median(first.place[queries])))
        lines.append([label, f"{videos:,}", f"{len(queries):,}", *recalls, middle, *beside])
    columns = ["group", "videos", "captions", "R@1", "R@5", "R@10", "MdR", *(f"R@1 of {name}" for name, _ in others)]
    return table(groups.title + _left_out(groups, len(chosen)), columns, lines)


def _left_out(groups: Groups, shown: int) -> str:
    sizes = groups.sizes()
    notes = []
    if rest := int((sizes > 0).sum()) - shown:
        notes.append(f"the {shown} largest; {rest:,} smaller ones are not shown")
    if unknown := int((groups.of_query < 0).sum()):
        notes.append(f"not known of {unknown:,} captions")
    return f" ({'; '.join(notes)})" if notes else ""


def _of_queries(of_video: Sequence[int], names: Names) -> np.ndarray:
    if not names.records:
        return np.full(len(names.video_of_text), -1)
    return np.asarray(of_video, np.int64)[names.video_of_text]


def _told_apart(groups: Groups) -> Groups | None:
    return groups if (groups.sizes() > 0).sum() > 1 else None


def _duration(record: Record) -> float | None:
    ends = [end for end in (record.end_seconds, record.duration_seconds) if end is not None]
    return max(0.0, min(ends) - (record.start_seconds or 0.0)) if ends else None

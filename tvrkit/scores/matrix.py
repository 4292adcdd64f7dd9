"""A matrix of similarity scores from a file, and the names of its rows and columns where tvrkit left them beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvrkit.errors import DataError
from tvrkit.scores.arrays import read_array, split_source

_KINDS = {"c": "complex numbers", "b": "yes and no", "U": "text", "S": "text", "V": "records, or a type not of numpy's"}

TURN = "turn the scores by --transposed (or leave it out where it is given)"


@dataclass(frozen=True)
class Scores:
    """What a file of scores says; all but the scores only where a FILE.json lies beside it.

    Attributes:
        path: the file.
        similarity: (T, V) float32 or float64 as stored (narrower numbers as float32), captions by videos; mapped into
            memory where that is possible.
        captions: of the T rows.
        video_of_text: (T,) int64, the column of each caption's video.
        video_ids: of the V columns.
        dataset, split, protocol: what was measured.
    """

    path: Path
    similarity: np.ndarray
    captions: tuple[str, ...] | None = None
    video_of_text: np.ndarray | None = None
    video_ids: tuple[str, ...] | None = None
    dataset: str | None = None
    split: str | None = None
    protocol: str | None = None


def read_scores(source: str | Path, *, transposed: bool = False) -> Scores:
    """Read a matrix of scores, and the names that `tvrkit eval --save-similarity` wrote beside it.

    Args:
        source: as for `read_array`.
        transposed: the file has videos by captions.

    Raises:
        DataError: as for `read_array`; or it is no matrix of real numbers, or the names beside it are not its own.
    """
    path, _ = split_source(source)
    array = read_array(source)
    if array.dtype.kind not in "fiu":
        kind = _KINDS.get(array.dtype.kind, str(array.dtype))
        raise DataError(f"{source} holds {kind} ({array.dtype}), not scores: save them as float32.")
    if array.ndim != 2 or not array.size:
        shape = " x ".join(map(str, array.shape)) or "one number"
        raise DataError(f"{source} must hold one matrix of scores, captions by videos; its shape is {shape}.")
    similarity = _plain(array.T if transposed else array)
    return Scores(path=path, similarity=similarity, **_names_beside(path, similarity.shape))


def _plain(array: np.ndarray) -> np.ndarray:
    """As float32 or float64 in this machine's byte order, without a copy where it is that already."""
    size = array.dtype.itemsize
    wide = size >= 8 if array.dtype.kind == "f" else size >= 4
    return array.astype(np.float64 if wide else np.float32, copy=False)


def parse_names(tree: Any) -> dict[str, Any] | None:
    """Fields of `Scores` out of what tvrkit writes beside a matrix; None where it is something else.

    Raises:
        DataError: it is like it, and its rows and columns do not fit each other.
    """
    rows, columns = (tree.get("rows"), tree.get("columns")) if isinstance(tree, Mapping) else (None, None)
    if not isinstance(rows, list) or not isinstance(columns, list):
        return None
    column_of = {video_id: place for place, video_id in enumerate(columns) if isinstance(video_id, str)}
    if len(column_of) != len(columns):
        raise DataError("its columns are not the ids of different videos.")
    owners, captions = [], []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or not isinstance(row.get("video_id"), str):
            raise DataError(f"its row {number} has no video_id.")
        if row["video_id"] not in column_of:
            raise DataError(f"the video {row['video_id']!r} of its row {number} is not among its columns.")
        owners.append(column_of[row["video_id"]])
        captions.append(str(row.get("caption", "")))
    about = {key: tree[key] for key in ("dataset", "split", "protocol") if isinstance(tree.get(key), str)}
    return {
        "captions": tuple(captions) if any(captions) else None,
        "video_of_text": np.array(owners, dtype=np.int64),
        "video_ids": tuple(column_of),
        **about,
    }


def _names_beside(path: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    try:
        names = parse_names(json.loads(beside.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        raise DataError(f"{beside}, which should say what {path.name} holds, is no JSON: mend or remove it.") from None
    except DataError as error:
        raise DataError(f"{beside}, which should say what {path.name} holds: {error}") from None
    if names is None:
        return {}
    texts, videos = len(names["video_of_text"]), len(names["video_ids"])
    if (texts, videos) == tuple(shape):
        return names
    if (videos, texts) == tuple(shape):
        raise DataError(
            f"{path} has {shape[0]:,} rows and {shape[1]:,} columns, and {beside.name} names {texts:,} captions and"
            f" {videos:,} videos: {TURN}."
        )
    raise DataError(
        f"{beside} names {texts:,} captions and {videos:,} videos, and {path.name} is {shape[0]:,} x {shape[1]:,}: the"
        " two are of different evaluations; move one of them."
    )

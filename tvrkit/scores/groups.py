"""Which video each caption of a matrix belongs to."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvrkit.errors import DataError
from tvrkit.scores.arrays import read_array, split_source
from tvrkit.scores.matrix import TURN, parse_names

_ID_COLUMNS = ("video_id", "video", "group", "video_of_text")
_ARRAYS = (".npy", ".npz", ".safetensors")


def read_groups(
    source: str | Path | int, texts: int, videos: int, *, video_ids: Sequence[str] | None = None
) -> np.ndarray:
    """Read the video of each caption.

    Args:
        source: a number N (every video has N captions, in order), or a file with a value for each caption, in the order
            of the rows: the number of its column from 0, or the id of its video. Arrays (.npy, .npz, .safetensors),
            JSON (a list, or what `--save-similarity` writes), CSV with a column `video_id`, or text with one a line.
        texts: T.
        videos: V.
        video_ids: of the columns; a text file or CSV of these alone names videos, also where they are numbers. Without
            them, ids belong to columns in the order in which they first appear.

    Returns:
        (T,) int64.

    Raises:
        DataError: it cannot be read, has not T values, or names a video that has no column.
    """
    if isinstance(source, int) or (isinstance(source, str) and source.strip().isdecimal()):
        return _evenly(int(source), texts, videos)
    values, ids = _values(source, video_ids)
    if len(values) != texts:
        raise DataError(_wrong_length(source, len(values), texts, videos))
    if np.asarray(values).dtype.kind == "U":
        return _columns_of([str(value) for value in values], source, videos, ids if ids is not None else video_ids)
    numbers = _whole(source, values)
    outside = (numbers < 0) | (numbers >= videos)
    if outside.any():
        row = int(outside.argmax())
        hint = ": count from 0" if numbers.min() == 1 and numbers.max() == videos else ""
        raise DataError(
            f"{source} gives caption {row} the video {int(numbers[row])}, and the columns are 0 to {videos - 1}{hint}."
        )
    return numbers.astype(np.int64)


def _evenly(each: int, texts: int, videos: int) -> np.ndarray:
    if each * videos == texts:
        return np.repeat(np.arange(videos, dtype=np.int64), each)
    if each * texts == videos:
        raise DataError(
            f"--groups {each} fits {videos:,} captions of {texts:,} videos, and the matrix has {texts:,} captions of"
            f" {videos:,} videos: {TURN}."
        )
    raise DataError(f"--groups {each}: {each} captions for each of {videos:,} videos are not the {texts:,} there are.")


def _values(source: str | Path, video_ids: Sequence[str] | None) -> tuple[Any, Sequence[str] | None]:
    """The value of each caption, and the ids of the columns where the file has them."""
    path, _ = split_source(source)
    if path.suffix in _ARRAYS:
        array = read_array(source)
        if array.ndim != 1 or array.dtype.kind not in "iufU":
            raise DataError(f"{source} must hold one whole number for each caption, not {array.dtype} {array.shape}.")
        return array, None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    return _from_json(path, text) if path.suffix == ".json" else (_from_lines(path, text, video_ids), None)


def _from_json(path: Path, text: str) -> tuple[list[Any], Sequence[str] | None]:
    try:
        tree = json.loads(text)
        names = parse_names(tree)
    except (ValueError, RecursionError):
        raise DataError(f"{path} is no JSON.") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if names is not None:
        return [names["video_ids"][place] for place in names["video_of_text"]], names["video_ids"]
    alike = isinstance(tree, list) and (
        all(isinstance(v, str) for v in tree) or all(isinstance(v, int) and not isinstance(v, bool) for v in tree)
    )
    if not alike:
        raise DataError(f"{path} must hold a list with the number, or the id, of each caption's video.")
    return tree, None


def _from_lines(path: Path, text: str, video_ids: Sequence[str] | None) -> list[Any]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row] if path.suffix == ".csv" else []
    except csv.Error as error:
        raise DataError(f"{path} is no CSV ({error}).") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if rows:
        head = [cell.strip().lower() for cell in rows[0]]
        column = next((head.index(name) for name in _ID_COLUMNS if name in head), None)
        if column is None and len(head) > 1:
            raise DataError(f"{path} has {len(head)} columns and none is called {' or '.join(_ID_COLUMNS)}.")
        body = rows if column is None else rows[1:]
        short = next((number for number, row in enumerate(body) if len(row) <= (column or 0)), None)
        if short is not None:
            raise DataError(f"{path}: row {short + 1} of its captions has no {head[column or 0]}.")
        lines = [row[column or 0].strip() for row in body]
    if video_ids is not None and set(lines) <= set(video_ids):
        return lines  # ids may be numbers
    try:
        return [int(line) for line in lines]
    except ValueError:
        return lines


def _whole(source: str | Path, values: Any) -> np.ndarray:
    try:
        numbers = np.asarray(values)
        if numbers.dtype.kind in "iu" or bool((np.isfinite(numbers) & (numbers == np.floor(numbers))).all()):
            return numbers
    except (TypeError, OverflowError):
        pass
    raise DataError(f"{source} must hold whole numbers: the column of each caption's video, from 0.")


def _columns_of(ids: list[str], source: str | Path, videos: int, video_ids: Sequence[str] | None) -> np.ndarray:
    known = list(dict.fromkeys(ids)) if video_ids is None else list(video_ids)
    if len(known) != videos:
        raise DataError(
            f"{source} names {len(known):,} videos, and the matrix has {videos:,}: without the ids of the columns,"
            " those of the captions must name each video, in the order of the columns."
        )
    column_of = {video_id: column for column, video_id in enumerate(known)}
    strange = next((video_id for video_id in ids if video_id not in column_of), None)
    if strange is not None:
        raise DataError(f"{source} names the video {strange!r}, which is not among the columns.")
    return np.array([column_of[video_id] for video_id in ids], dtype=np.int64)


def _wrong_length(source: str | Path, values: int, texts: int, videos: int) -> str:
    if values == videos:
        return (
            f"{source} has {values:,} values, and the matrix {texts:,} captions (rows) and {videos:,} videos (columns):"
            f" a value belongs to each caption, so {TURN}."
        )
    return f"{source} has {values:,} values, and the matrix {texts:,} captions (rows): each needs the one of its video."

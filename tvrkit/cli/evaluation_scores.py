"""Matrices of scores that `tvrkit eval --similarity` measures, of any model."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tvrkit.cli import output
from tvrkit.cli.evaluation import Comparison, Measured, Row, compare_with_first, letter_of
from tvrkit.errors import ConfigError, DataError
from tvrkit.protocols import PROTOCOLS, coverage_of
from tvrkit.scores import Scores, read_groups, read_scores

if TYPE_CHECKING:
    from tvrkit.manifest import Record


def measure_matrices(
    sources: Sequence[str],
    *,
    groups: str | None,
    transposed: bool,
    protocol: str | None,
    split: str | None,
    allow_missing: bool,
    temperature: float | None,
) -> tuple[list[Measured], list[Comparison]]:
    """Measure each matrix, and compare the first with the others.

    Args:
        sources: files, as for `read_scores`.
        groups: as for `read_groups`; None takes what lies beside a file, or pairs caption i with video i.
        transposed: they stand videos by captions.
        protocol: name; None takes what lies beside the file.
        split: of the protocol; None takes what lies beside the file, or `test`.
        allow_missing: measure other numbers than the protocol's.
        temperature: of the rows with dual softmax; None without them.

    Raises:
        ConfigError: there is no such protocol.
        DataError: a file cannot be used, it is not said which video a caption belongs to, or numbers do not fit.
    """
    from tvrkit.evaluate import evaluate_scores, with_dual_softmax

    if protocol is not None and protocol not in PROTOCOLS:
        begin_alike = [name for name in PROTOCOLS if name.startswith(protocol)]
        near = ", ".join(begin_alike or difflib.get_close_matches(protocol, PROTOCOLS, n=3, cutoff=0.5))
        ending = f": did you mean one of {near}?" if near else f"; there are {', '.join(PROTOCOLS)}."
        raise ConfigError(f"there is no protocol {protocol!r}{ending}")
    matrices = [read_scores(source, transposed=transposed) for source in sources]
    _require_same_shape(matrices)
    shared = next((m for m in matrices if m.video_of_text is not None), None)
    measured = []
    for place, (source, scores) in enumerate(zip(sources, matrices, strict=True)):
        named = scores if scores.video_of_text is not None or shared is None else shared
        owners = _owners(scores, named, groups)
        followed, part = protocol or named.protocol, split or named.split or "test"
        if not allow_missing:
            _require_complete(scores, followed, part)
        evaluation = evaluate_scores(
            scores.similarity,
            owners,
            dataset=named.dataset or scores.path.stem,
            split=part,
            protocol=followed,
            records=_records(named, owners),
            allow_missing=allow_missing,
        )
        normalised = () if temperature is None else (with_dual_softmax(evaluation, temperature),)
        letter = letter_of(place) if len(sources) > 1 else None
        beside = "" if named is scores else f", with captions and videos as beside {named.path}"
        output.say(f"Scores{f' {letter}' if letter else ''}: {source} {scores.similarity.shape}{beside}")
        measured.append(
            Measured(source, None, (Row(letter or "scores", evaluation, normalised=normalised),), kind="similarity")
        )
    return measured, compare_with_first(measured)


def _require_complete(scores: Scores, protocol: str | None, split: str) -> None:
    texts, videos = scores.similarity.shape
    coverage = coverage_of(protocol, split, videos, texts)
    if not coverage.complete:
        turned = coverage_of(protocol, split, texts, videos).complete
        hint = (
            "its rows seem to be the videos: say so by --transposed"
            if turned
            else ("give the scores of the whole set, or measure these, labelled, by --allow-missing")
        )
        raise DataError(f"{scores.path} has {coverage.words()}, {split}: {hint}.")


def _require_same_shape(matrices: Sequence[Scores]) -> None:
    first = matrices[0]
    for other in matrices[1:]:
        if other.similarity.shape != first.similarity.shape:
            a, b = (" x ".join(f"{n:,}" for n in one.similarity.shape) for one in (first, other))
            raise DataError(f"{first.path} is {a} and {other.path} {b}: only scores of one test set can be compared.")


def _owners(scores: Scores, named: Scores, groups: str | None) -> np.ndarray | None:
    """(T,) the column of each caption's video; None where caption i belongs to video i."""
    texts, videos = scores.similarity.shape
    if groups is not None:
        return read_groups(groups, texts, videos, video_ids=named.video_ids)
    if named.video_of_text is not None:
        return named.video_of_text
    if texts == videos:
        return None
    turned = "" if texts > videos else ", or, if its rows are the videos, --transposed"
    raise DataError(
        f"{scores.path} has {texts:,} rows (captions) and {videos:,} columns (videos), and nothing says which video"
        " each caption belongs to: give --groups N for N captions a video, --groups FILE with the video of each"
        f" caption{turned}."
    )


def _records(named: Scores, owners: np.ndarray | None) -> tuple[Record, ...]:
    """The captions and videos by name, where they are known and stand in the order of the columns."""
    from tvrkit.manifest import Record

    if named.captions is None or named.video_ids is None or owners is None or (np.diff(owners) < 0).any():
        return ()
    if named.video_of_text is None or not np.array_equal(owners, named.video_of_text):
        return ()
    if not all(caption.strip() for caption in named.captions):
        return ()
    ends = np.searchsorted(owners, np.arange(len(named.video_ids) + 1))
    return tuple(
        Record(video_id, video_id, named.captions[ends[column] : ends[column + 1]])
        for column, video_id in enumerate(named.video_ids)
    )

"""The report: one HTML file that needs nothing else, neither a network nor a script."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

import tvrkit
from tvrkit.errors import DataError
from tvrkit.evaluate import Evaluation, HardGallery
from tvrkit.files import write_text
from tvrkit.frames.reading import Reading
from tvrkit.manifest import Manifest
from tvrkit.metrics import Difference
from tvrkit.report import sections
from tvrkit.report.names import Names
from tvrkit.report.parts import join, plain, tag
from tvrkit.report.pictures import read_pictures, symbols


def write_report(
    path: str | Path,
    rows: Sequence[tuple[str, Evaluation]],
    *,
    title: str,
    manifest: Manifest | None = None,
    comparisons: Mapping[str, Mapping[str, Mapping[str, Difference]]] | None = None,
    hard: Sequence[tuple[str, HardGallery]] = (),
    notes: Sequence[str] = (),
    reading: Reading = Reading(),
) -> None:
    """Write an evaluation as a page to be read: tables, curves, and the queries that went worst.

    Whatever captions, ids and file names hold is shown as text.

    Args:
        path: the file to write.
        rows: name and evaluation, the one that matters first: its worst queries are shown, with its numbers by group.
        title: of the page.
        manifest: where the videos lie; without it there are no pictures.
        comparisons: names of a first and a second model -> `t2v` and `v2t` -> metric -> difference.
        hard: name and hard gallery.
        notes: shown at the top, such as which split chose the checkpoint.
        reading: how the pictures are read; a video that gives none gets a box with the reason.

    Raises:
        DataError: there is no row, or the file cannot be written.
    """
    if not rows:
        raise DataError("a report needs at least one evaluation.")
    names = Names(rows[0][1])
    looked_at = sections.looked_at(rows, names)
    pictures = read_pictures(
        (side.video for part in looked_at for question in part.questions for side in question.sides),
        names,
        manifest,
        reading=reading,
    )
    parts = [
        ("results", "Results", sections.results(rows, comparisons or {}, hard)),
        ("curves", "Recall and ranks", sections.curves(rows)),
        ("questions", "Queries to look at", sections.question_lists(looked_at, names, pictures)),
        ("groups", "Where it is good, and where not", sections.group_tables(rows, names)),
        ("reading", "How to read this", sections.reading(rows)),
    ]
    parts = [part for part in parts if part[2]]
    template = Template(importlib.resources.files("tvrkit.report").joinpath("report.html").read_text(encoding="utf-8"))
    page = template.substitute(
        title=plain(title),
        version=plain(tvrkit.__version__),
        head=sections.head(rows, notes),
        links=join([tag("li", tag("a", heading, href=f"#{key}")) for key, heading, _ in parts]),
        pictures=symbols(pictures),
        sections=join([tag("section", tag("h2", heading), body, id=key) for key, heading, body in parts]),
    )
    try:
        write_text(path, page)
    except OSError as error:
        raise DataError(f"cannot write the report {path}: {error.strerror or error}.") from None

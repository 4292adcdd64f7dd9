"""What `tvrkit index --status` shows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.cli.updating import one_line

if TYPE_CHECKING:
    from tvrkit.index.video_index import VideoIndex


def show(index: VideoIndex, *, as_json: bool) -> None:
    """Counts, size, model, cutting, notes and failures of an index, on stdout."""
    from tvrkit.index.meta import cut_words
    from tvrkit.index.tally import tally

    status, meta, rows = index.status(), index.meta, index.files()
    notes = index.notes()
    noted = {row.path: notes[row.identity] for row in rows if row.identity in notes}
    if as_json:
        meta_facts = dataclasses.asdict(meta)
        output.print_json(
            {"index": index.place, **meta_facts, "places": index.places(), **dataclasses.asdict(status), "notes": noted}
        )
        return
    size = f"{size_words(status.bytes)}, {size_words(status.bytes / max(1, status.moments))} a moment"
    facts = [
        ("index", index.place),
        ("model", f"{meta.model} ({meta.fingerprint[:8]})"),
        ("cut by", cut_words(meta)),
        ("folders", ", ".join(index.places()) or "-"),
        ("files", str(tally(rows, index))),
        ("videos", f"{status.videos} with {status.moments} moments"),
        ("no file", f"{status.without_file} videos (--prune forgets them)" if status.without_file else ""),
        ("size", size if status.moments else size_words(status.bytes)),
    ]
    for name, fact in facts:
        if fact:
            click.echo(f"{name:<8} {output.printable(one_line(fact))}")
    for title, reasons in (("failed", status.failures), ("noted", noted)):
        for path, reason in reasons.items():
            click.echo(f"{title:<8} {output.printable(one_line(f'{path}: {reason}'))}")


def size_words(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError

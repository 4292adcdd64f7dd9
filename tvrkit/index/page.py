"""The answer as one HTML file: a picture of each video's best moment, nothing loaded from anywhere else."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from string import Template

import tvrkit
from tvrkit.errors import DataError
from tvrkit.files import write_text
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reading import Reading
from tvrkit.frames.request import Decoded, FrameRequest
from tvrkit.index.hits import Hit, moment
from tvrkit.index.markup import escape, inline_jpeg

_WIDTH, _HEIGHT = 480, 360
_CARD = Template(
    """<li><a href="$address">
<div class="picture">$picture<span class="at" title="best moment, of $duration">$moment / $duration</span></div>
<div class="words"><div class="name"><bdi>$name</bdi></div><div class="place"><bdi>$place</bdi></div>
<div class="score">$rank<i><b style="width:$part%"></b></i>$score</div></div>
</a></li>"""
)


def write_page(
    path: Path,
    title: str,
    hits: Sequence[Hit],
    *,
    summary: str,
    reading: Reading = Reading(),
) -> None:
    """Write the page.

    Each card links to the video's file at its best moment. Whatever the texts and file names hold is shown as text.

    Args:
        path: the file to write.
        title: what was asked.
        hits: the answer.
        summary: a line below the title.
        reading: how the pictures are read; a video that gives none gets a card without.

    Raises:
        DataError: the file cannot be written.
    """
    requests = [
        # Around the moment, since the frame's own time may have been rounded.
        FrameRequest(str(hit.path), 1, "uniform", max(0.0, hit.best_seconds - 0.01), hit.best_seconds + 0.01)
        for hit in hits
    ]
    with DecodePool.of(reading) as pool:
        pictures = [_picture(decoded) for decoded in pool.imap(requests)]
    low, high = min((hit.score for hit in hits), default=0.0), max((hit.score for hit in hits), default=0.0)
    cards = [
        _card(hit, picture, (hit.score - low) / (high - low) if high > low else 1.0)
        for hit, picture in zip(hits, pictures, strict=True)
    ]
    template = Template(importlib.resources.files("tvrkit.index").joinpath("page.html").read_text(encoding="utf-8"))
    text = template.substitute(
        title=escape(title),
        summary=escape(summary),
        version=escape(tvrkit.__version__),
        cards="\n".join(cards),
    )
    try:
        write_text(path, text)
    except OSError as error:
        raise DataError(f"cannot write the page {path}: {error.strerror or error}.") from None


def _card(hit: Hit, picture: str, part: float) -> str:
    return _CARD.substitute(
        # as_uri writes every byte that could end the attribute, or is no UTF-8, as %XX.
        address=escape(f"{hit.path.absolute().as_uri()}#t={hit.best_seconds:.2f}"),
        picture=picture,
        moment=moment(hit.best_seconds),
        duration=moment(hit.duration_seconds),
        name=escape(hit.path.name),
        place=escape(str(hit.path.parent)),
        rank=f"{hit.rank}.",
        part=f"{8 + 92 * part:.0f}",  # the last one's bar is short, not absent: its score is not 0
        score=f"{hit.score:.3f}",
    )


def _picture(decoded: Decoded) -> str:
    if decoded.frames is None:
        return f'<div class="none">no picture: {escape(decoded.error.reason if decoded.error else "")}</div>'
    address, width, height = inline_jpeg(decoded.frames[0], _WIDTH, _HEIGHT)
    return f'<img alt="" width="{width}" height="{height}" src="{address}">'

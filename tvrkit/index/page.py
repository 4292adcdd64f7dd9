"""The answer as one HTML file: pictures of each video's best moments, nothing loaded from anywhere else."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from string import Template
from typing import TYPE_CHECKING

import tvrkit
from tvrkit.errors import DataError, VideoError
from tvrkit.files import write_text
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reading import Reading
from tvrkit.frames.request import FrameRequest
from tvrkit.index.hits import Answer, FoundMoment, Hit, moment
from tvrkit.index.markup import escape, inline_jpeg
from tvrkit.index.page_heat import heat_table
from tvrkit.index.remote import fetched, is_address

if TYPE_CHECKING:
    import numpy as np

    from tvrkit.index.explain import Explanation

_LARGE, _SMALL = (480, 360), (200, 150)
_UNSURE = "No confident match: nothing here fits well. These are the nearest."
_CARD = Template(
    """<li>
<a class="best"$address><div class="picture">$picture<span class="at" title="best moment, of $duration">$moment / \
$duration</span></div></a>
<div class="words"><div class="name"><bdi>$name</bdi></div><div class="place"><bdi>$place</bdi></div>
<div class="score">$rank<i><b style="width:$part%"></b></i>$score</div>$others$heat</div>
</li>"""
)
_OTHER = Template("""<a$address title="$title">$picture<span>$span</span></a>""")


def write_page(
    path: Path,
    title: str,
    answer: Answer,
    *,
    summary: str,
    explanations: Mapping[int, Explanation] = {},
    reading: Reading = Reading(),
) -> None:
    """Write the page.

    Each picture links to the video's file at that moment. Whatever the texts and file names hold is shown as text.

    Args:
        path: the file to write.
        title: what was asked.
        answer: what was found.
        summary: a line below the title.
        explanations: heat maps of hits' best moments, by rank.
        reading: how the pictures are read; a video that gives none gets a card without.

    Raises:
        DataError: the file cannot be written.
    """
    pictures = _pictures(answer, reading)
    low = min((hit.score for hit in answer.hits), default=0.0)
    high = max((hit.score for hit in answer.hits), default=0.0)
    cards = []
    for hit in answer.hits:
        part = hit.confidence
        if part is None:  # the last one's bar is short, not absent: its score is not 0
            part = 0.08 + 0.92 * ((hit.score - low) / (high - low) if high > low else 1.0)
        heat = explanations.get(hit.rank)
        cards.append(_card(hit, pictures[hit.rank], part, answer.threshold, heat_table(heat) if heat else ""))
    template = Template(importlib.resources.files("tvrkit.index").joinpath("page.html").read_text(encoding="utf-8"))
    text = template.substitute(
        title=escape(title),
        summary=escape(summary),
        unsure=f'<p class="unsure">{_UNSURE}</p>' if answer.confident is False else "",
        version=escape(tvrkit.__version__),
        cards="\n".join(cards),
    )
    try:
        write_text(path, text)
    except OSError as error:
        raise DataError(f"cannot write the page {path}: {error.strerror or error}.") from None


def _pictures(answer: Answer, reading: Reading) -> dict[int, list[np.ndarray | str]]:
    """By rank, for each moment its frame, or why there is none."""
    found: dict[int, list[np.ndarray | str]] = {}
    places: list[tuple[int, int]] = []
    requests: list[FrameRequest] = []
    with ExitStack() as copies, DecodePool.of(reading) as pool:
        for hit in answer.hits:
            found[hit.rank] = [""] * len(hit.moments)
            try:
                local = str(copies.enter_context(fetched(hit.path))) if is_address(hit.path) else hit.path
            except VideoError as error:
                found[hit.rank] = [error.reason] * len(hit.moments)
                continue
            for number, best in enumerate(each.best_seconds for each in hit.moments):
                places.append((hit.rank, number))
                # Around the moment, since the frame's own time may have been rounded.
                requests.append(FrameRequest(local, 1, "uniform", max(0.0, best - 0.01), best + 0.01))
        for (rank, number), decoded in zip(places, pool.imap(requests), strict=True):
            frame = None if decoded.frames is None else decoded.frames[0]
            found[rank][number] = (decoded.error.reason if decoded.error else "") if frame is None else frame
    return found


def _card(hit: Hit, pictures: list[np.ndarray | str], part: float, threshold: float | None, heat: str) -> str:
    source = PurePosixPath(hit.path) if is_address(hit.path) else Path(hit.path)
    others = "".join(
        _OTHER.substitute(
            address=_address(hit.path, found.best_seconds),
            title=escape(_sureness(found.confidence, found.score, threshold)),
            picture=_tag(picture, *_SMALL),
            span=moment(found.start_seconds),
        )
        for found, picture in zip(hit.moments[1:], pictures[1:], strict=True)
    )
    return _CARD.substitute(
        address=_address(hit.path, hit.best_seconds),
        picture=_tag(pictures[0], *_LARGE),
        moment=_span(hit.moments[0]),
        duration=moment(hit.duration_seconds),
        name=escape(source.name),
        place=escape(hit.path.rpartition("/")[0] if is_address(hit.path) else str(source.parent)),
        rank=f"{hit.rank}.",
        part=f"{100 * part:.0f}",
        score=escape(_sureness(hit.confidence, hit.score, threshold)),
        others=f'<div class="moments">{others}</div>' if others else "",
        heat=heat,
    )


def _span(found: FoundMoment) -> str:
    return f"{moment(found.start_seconds)}-{moment(found.end_seconds)}"


def _sureness(confidence: float | None, score: float, threshold: float | None) -> str:
    if confidence is None:
        return f"{score:.3f}"
    return f"{100 * confidence:.0f} %{' ?' if threshold is not None and confidence < threshold else ''}"


def _address(path: str, seconds: float) -> str:
    """The attribute that links to a time in a video; none where no browser gets at it."""
    if not is_address(path):
        # as_uri writes every byte that could end the attribute, or is no UTF-8, as %XX.
        return f' href="{escape(f"{Path(path).absolute().as_uri()}#t={seconds:.2f}")}"'
    web = path.startswith(("http://", "https://"))
    return f' rel="noreferrer" href="{escape(f"{path}#t={seconds:.2f}")}"' if web else ""


def _tag(picture: np.ndarray | str, width: int, height: int) -> str:
    if isinstance(picture, str):
        return f'<div class="none">no picture: {escape(picture)}</div>'
    address, width, height = inline_jpeg(picture, width, height)
    return f'<img alt="" width="{width}" height="{height}" src="{address}">'

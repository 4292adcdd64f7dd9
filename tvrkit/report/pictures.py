"""A picture of the middle of each video that the report shows, embedded once however often it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tvrkit.data import frame_request
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reading import Reading
from tvrkit.frames.request import Decoded
from tvrkit.index.markup import inline_jpeg
from tvrkit.manifest import Manifest
from tvrkit.report.names import Names
from tvrkit.report.parts import Html, join, tag

_WIDTH, _HEIGHT, _QUALITY = 288, 216, 72


@dataclass(frozen=True)
class Picture:
    """What a reader sees of a video.

    Attributes:
        shown: an element with the picture, or with the reason why there is none.
        symbol: what `shown` points to, to be written once.
        address: of the file at its middle; None where the file is not known.
    """

    shown: Html
    symbol: Html
    address: str | None


def read_pictures(
    videos: Iterable[int], names: Names, manifest: Manifest | None, *, reading: Reading
) -> dict[int, Picture]:
    """Column -> picture; none at all where no file is known."""
    if manifest is None or not names.records:
        return {}
    columns = sorted(set(videos))
    requests = [frame_request(manifest, names.records[column], 1) for column in columns]
    with DecodePool.of(reading) as pool:
        return {
            column: _picture(column, names.video(column), manifest, names, decoded)
            for column, decoded in zip(columns, pool.imap(requests), strict=True)
        }


def symbols(pictures: dict[int, Picture]) -> Html:
    """All pictures, to stand once in the page before they are shown."""
    return tag(
        "svg", join([p.symbol for p in pictures.values()]), width=0, height=0, class_="store", aria_hidden="true"
    )


def _picture(column: int, name: str, manifest: Manifest, names: Names, decoded: Decoded) -> Picture:
    try:
        # It writes every byte that could end the attribute, or is no UTF-8, as %XX.
        address = manifest.file_of(names.records[column]).absolute().as_uri()
    except ValueError:  # half of a surrogate pair: no file can have that name
        address = None
    if decoded.frames is None or decoded.pts_seconds is None:
        reason = decoded.error.reason if decoded.error else "it gave no frame"
        return Picture(tag("span", f"no picture: {reason}", class_="none"), Html(""), address)
    data, width, height = inline_jpeg(decoded.frames[0], _WIDTH, _HEIGHT, _QUALITY)
    box = f"0 0 {width} {height}"
    image = tag("image", href=Html(data), width=width, height=height)
    shown = tag("svg", tag("use", href=f"#v{column}"), viewBox=box, role="img", aria_label=f"a frame of {name}")
    symbol = tag("symbol", image, id=f"v{column}", viewBox=box)
    return Picture(shown, symbol, f"{address}#t={decoded.pts_seconds[0]:.2f}")

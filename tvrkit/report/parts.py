"""Pieces of HTML. What comes from files goes through `text`; only `Html` is ever written as it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from tvrkit.index.markup import escape

# What HTML does not allow in a text, and what a browser would silently drop or replace.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def plain(value: object, limit: int = 300) -> str:
    """`value` escaped for HTML, also in an attribute, and shortened to `limit` characters."""
    words = _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", str(value))
    if len(words) > limit:
        short = words[:limit].rsplit(None, 1)[0]
        # A word that is itself too long is cut in its middle.
        length = f" ({len(words):,} characters)" if len(words) > 1000 else ""
        words = f"{short if len(short) > limit // 2 else words[:limit]} …{length}"
    return escape(words)


def text(value: object, limit: int = 300) -> Html:
    """The same as an element that keeps its writing direction to itself; what is HTML already stays."""
    if isinstance(value, Html):
        return value
    words = plain(value, limit)
    return Html(words if words.isascii() else f"<bdi>{words}</bdi>")


def tag(name: str, *inner: object, **attributes: object) -> Html:
    """`<name …>inner</name>`; a trailing underscore of an attribute is dropped, others become hyphens."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{value if isinstance(value, Html) else plain(value, 10_000)}"'
        for key, value in attributes.items()
        if value is not None
    )
    content = "".join(part if isinstance(part, Html) else text(part) for part in inner)
    return Html(f"<{name}{written}>{content}</{name}>")


def join(parts: Sequence[str], between: str = "\n") -> Html:
    """Pieces of HTML one after the other."""
    return Html(between.join(parts))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], left: Collection[int] = ()) -> Html:
    """A table whose first column names its rows; numbers stand at the right, the columns in `left` at the left.

    It scrolls by itself where it is wider than the page.
    """
    head = join(
        [tag("th", name, scope="col", class_="l" if i in {0, *left} else None) for i, name in enumerate(columns)]
    )
    body = []
    for first, *rest in rows:
        cells = [tag("td", cell, class_="l" if i in left else None) for i, cell in enumerate(rest, start=1)]
        body.append(tag("tr", tag("th", first, scope="row"), *cells))
    inner = tag("table", tag("caption", tag("span", title)), tag("thead", tag("tr", head)), tag("tbody", join(body)))
    return tag("div", inner, class_="wide", role="region", tabindex=0, aria_label=title)


def number(value: float, digits: int = 1) -> str:
    """With thousands apart: 12,345.6."""
    return f"{value:,.{digits}f}"


def rank(value: float) -> str:
    """A place, which ties can put between two."""
    return f"{value:,.1f}".removesuffix(".0")


def count(value: int, one: str, many: str | None = None) -> str:
    """1 caption, 2 captions."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"

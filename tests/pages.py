"""Reading a page that tvrkit wrote: its tags, its text, and its tables as rows of cells."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """A page in memory; AssertionError where a tag is not closed, or closes another."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._open: list[str] = []
        self._caption = ""
        self.feed(self.source)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "caption":
            self._caption = ""
        elif tag == "tr":
            self.tables[self._caption].append([])
        elif tag in ("th", "td"):
            self.tables[self._caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, (tag, self._open)
        if tag == "caption":
            assert self._caption not in self.tables
            self.tables[self._caption] = []

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self._open), data))
        if "caption" in self._open:
            self._caption += data
        elif "th" in self._open or "td" in self._open:
            self.tables[self._caption][-1][-1] += data

    @property
    def text(self) -> str:
        """What a reader sees, and the title."""
        return "".join(data for path, data in self.texts if "style" not in path)

    def inside(self, tag: str) -> list[str]:
        """The texts that stand in an element of that kind."""
        return [data for path, data in self.texts if tag in path]

    def all(self, name: str, **attributes: str) -> list[dict[str, str | None]]:
        """The attributes of every tag of a kind that has these."""
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [found for tag, found in self.tags if tag == name and wanted.items() <= found.items()]

    def table(self, start: str) -> dict[str, list[str]]:
        """Rows of the only table whose caption starts so: first cell -> the others; the head is the row `head`."""
        (caption,) = (caption for caption in self.tables if caption.startswith(start))
        head, *rows = self.tables[caption]
        assert all(len(row) == len(head) for row in rows)
        return {"head": head[1:], **{row[0]: row[1:] for row in rows}}


def decode(address: str) -> np.ndarray:
    """The picture of a `data:` address."""
    kind, _, data = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))

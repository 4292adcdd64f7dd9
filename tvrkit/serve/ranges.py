"""Parts of a file as HTTP asks for them (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tvrkit.serve.refusal import Refusal

MOST_RANGES = 8
_RANGE = re.compile(r"(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end`, without `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


def read_ranges(header: str | None, size: int) -> list[Span] | None:
    """The parts that a Range header asks for; None where all is to be sent.

    More than `MOST_RANGES` parts, or parts that overlap, are an old way to make a server send much for little: all is
    sent then.

    Raises:
        Refusal: 416, they cannot be understood or lie outside of the file.
    """
    if header is None:
        return None
    unit, _, wanted = header.partition("=")
    if unit.strip().lower() != "bytes":
        return None  # a unit that we do not know is to be passed over
    outside = Refusal(
        416, f"that range is not in the file, which has {size} bytes.", {"Content-Range": f"bytes */{size}"}
    )
    spans = []
    parts = wanted.split(",")
    if len(parts) > MOST_RANGES:
        return None
    for part in parts:
        match = _RANGE.fullmatch(part.strip())
        if match is None or match[0] == "-":
            raise outside
        first, last = match.groups()
        if first:
            start, end = int(first), int(last) + 1 if last else size
            if end <= start and last:
                raise outside
        else:
            start, end = max(0, size - int(last)), size
        if start < min(end, size):
            spans.append(Span(start, min(end, size)))
    if not spans:
        raise outside
    ordered = sorted(spans, key=lambda span: span.start)
    if any(one.end > two.start for one, two in zip(ordered, ordered[1:], strict=False)):
        return None
    return spans


def is_wanted_in_parts(headers: Mapping[str, str], etag: str, modified: str) -> bool:
    """Whether `If-Range` still holds: the client has a part of this very file."""
    given = headers.get("if-range")
    return given is None or given in (etag, modified)


def is_known(headers: Mapping[str, str], etag: str, modified: str) -> bool:
    """Whether the client has the file already."""
    given = headers.get("if-none-match")
    if given is not None:
        tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
        return etag in tags or tags == ["*"]
    return headers.get("if-modified-since") == modified


@dataclass(frozen=True)
class Parts:
    """Several parts of a file as one body, `multipart/byteranges`.

    Attributes:
        spans: which.
        size: of the whole file.
        content_type: of the file.
        boundary: what stands between the parts; must not occur in them.
    """

    spans: list[Span]
    size: int
    content_type: str
    boundary: str

    def head(self, span: Span) -> bytes:
        """What stands before a part."""
        return (
            f"\r\n--{self.boundary}\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Range: bytes {span.start}-{span.end - 1}/{self.size}\r\n\r\n"
        ).encode("latin-1")

    @property
    def tail(self) -> bytes:
        """What stands behind the last one."""
        return f"\r\n--{self.boundary}--\r\n".encode("latin-1")

    def __len__(self) -> int:
        return sum(len(self.head(span)) + len(span) for span in self.spans) + len(self.tail)

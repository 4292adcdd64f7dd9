"""Files of indexed videos, found by content and never by a name that a request gave, and sent whole or in parts."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tvrkit.serve.ranges import Parts, Span, is_known, is_wanted_in_parts, read_ranges
from tvrkit.serve.refusal import Refusal, busy
from tvrkit.serve.state import Snapshot, known

_CHUNK = 1 << 18
_HEAD = 64
MPEG_4, WEBM = "video/mp4", "video/webm"
_BY_SUFFIX = {
    ".3g2": "video/3gpp2", ".3gp": "video/3gpp", ".asf": "video/x-ms-asf", ".avi": "video/x-msvideo",
    ".flv": "video/x-flv", ".gif": "image/gif", ".m2ts": "video/mp2t", ".mkv": "video/matroska",
    ".mov": "video/quicktime", ".mpeg": "video/mpeg", ".mpg": "video/mpeg", ".mts": "video/mp2t",
    ".ogv": "video/ogg", ".ts": "video/mp2t", ".wmv": "video/x-ms-wmv",
}  # fmt: skip


@dataclass(frozen=True)
class OpenFile:
    """A file of an indexed video, open; it was the indexed one when it was opened.

    Attributes:
        file: to be closed by whoever has it.
        path: where it lies.
        size: bytes.
        modified: seconds since 1970.
        content_type: by what its first bytes say, else by its name.
    """

    file: BinaryIO
    path: str
    size: int
    modified: float
    content_type: str


def open_video(snapshot: Snapshot, video: str) -> OpenFile:
    """Open one of a video's files, the first that is still as it was when it was indexed.

    Raises:
        Refusal: 404 no such video, or it lies elsewhere; 410 its files are gone or others by now.
    """
    facts = known(snapshot, video)
    local = [path for path in facts.paths if "://" not in path]
    if not local:
        raise Refusal(404, "that video lies at an address; only files on the server's own disks are shown.")
    for path in local:
        stamp = snapshot.stamps.get(path)
        if opened := _open(path, stamp, facts.modified if path == facts.paths[0] else None):
            return opened
    raise Refusal(
        410, "the file has gone or has changed since it was indexed: `tvrkit index` brings the index up to date."
    )


def _open(path: str, stamp: str | None, modified: float | None) -> OpenFile | None:
    try:
        # Not to wait for what has become a pipe.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError):
        return None
    file = os.fdopen(descriptor, "rb", buffering=0)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not _is_as_indexed(status, stamp, modified):
        file.close()
        return None
    head = file.read(_HEAD) or b""
    return OpenFile(file, path, status.st_size, status.st_mtime, content_type(head, path))


def _is_as_indexed(status: os.stat_result, stamp: str | None, modified: float | None) -> bool:
    """By size and time of the last change, which a stamp begins with; the rest of it changes with a chmod, too."""
    if stamp is not None:
        return stamp.split(" ")[:2] == [str(status.st_size), str(status.st_mtime_ns)]
    return modified is None or abs(status.st_mtime - modified) < 1e-3  # a search server knows no sizes


def content_type(head: bytes, path: str) -> str:
    """The type of a video file: never one that a browser would run."""
    if head[4:8] == b"ftyp":
        return "video/quicktime" if head[8:12] == b"qt  " else MPEG_4
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return WEBM if b"webm" in head else "video/matroska"
    found = _BY_SUFFIX.get(Path(path).suffix.lower(), "application/octet-stream")
    return found if found != "video/quicktime" else "application/octet-stream"


def send_file(request: Request, opened: OpenFile, etag: str) -> Response:
    """A file as an answer: whole, in parts, or not at all where the client has it; closes the file in the end.

    Raises:
        Refusal: 416.
    """
    headers = {
        "ETag": f'"{etag}"',
        "Last-Modified": formatdate(int(opened.modified), usegmt=True),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"inline; filename*=UTF-8''{_file_name(opened.path)}",
    }
    conditions = request.headers, headers["ETag"], headers["Last-Modified"]
    try:
        if is_known(*conditions):
            opened.file.close()
            return Response(status_code=304, headers=headers)
        wanted = request.headers.get("range") if is_wanted_in_parts(*conditions) else None
        spans = read_ranges(wanted, opened.size) if request.method == "GET" else None
    except Refusal:
        opened.file.close()
        raise
    kind = opened.content_type
    if spans is None:
        parts = None
        status, spans, length = 200, [Span(0, opened.size)], opened.size
    elif len(spans) == 1:
        parts = None
        status, length = 206, len(spans[0])
        headers["Content-Range"] = f"bytes {spans[0].start}-{spans[0].end - 1}/{opened.size}"
    else:
        parts = Parts(spans, opened.size, kind, secrets.token_hex(16))
        status, length = 206, len(parts)
        kind = f"multipart/byteranges; boundary={parts.boundary}"
    headers |= {"Content-Length": str(length), "Content-Type": kind}
    if request.method == "HEAD":
        opened.file.close()
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_stream(opened.file, spans, parts), status, headers)


async def _stream(file: BinaryIO, spans: list[Span], parts: Parts | None) -> AsyncIterator[bytes]:
    try:
        for span in spans:
            if parts is not None:
                yield parts.head(span)
            at = span.start
            while at < span.end:
                chunk = await asyncio.to_thread(_read, file, at, min(_CHUNK, span.end - at))
                if not chunk:  # it shrank; the connection ends before the promised length, which tells the client
                    raise OSError("the file became shorter while it was sent")
                at += len(chunk)
                yield chunk
        if parts is not None:
            yield parts.tail
    finally:
        file.close()


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _file_name(path: str) -> str:
    return quote(os.fsencode(os.path.basename(path)).decode("utf-8", "replace"), safe="")


def open_clip(path: Path) -> OpenFile:
    """Open a preview that was just made.

    Raises:
        Refusal: 503, it had to make room for others at once.
    """
    try:
        file = path.open("rb", buffering=0)
    except OSError:
        raise busy() from None
    status = os.fstat(file.fileno())
    return OpenFile(file, str(path), status.st_size, status.st_mtime, MPEG_4)

"""A real HTTP server on 127.0.0.1 that serves files, and goes wrong in the way it is told to, request by request."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one GET.

    Attributes:
        status: answer with this, and nothing else.
        cut: end the connection after so many bytes of the body, without a word.
        pause: seconds of silence before the body (before the headers with `status`).
        meet: the second half of the body waits for others at this barrier.
        drip: seconds between single bytes of the body.
        announce: Content-Length, whatever the truth.
        length: False leaves Content-Length away; the end of the connection is the end of the body.
        chunked: send chunks; with `cut` the last one does not come.
        ranges: False ignores Range.
        if_range: False ignores If-Range: a range of whatever is there now.
        page: a web page with status 200 instead of the file.
        redirect: go there.
        packed: send it gzip-packed, whatever was asked for.
        retry_after: a header beside `status`.
        shift: answer a range with one that starts so many bytes too late.
        at_most: a range no longer than this.
        replace: before answering, the file becomes this one, for good.
    """

    status: int | None = None
    cut: int | None = None
    pause: float = 0.0
    meet: threading.Barrier | None = None
    drip: float = 0.0
    announce: int | None = None
    length: bool = True
    chunked: bool = False
    ranges: bool = True
    if_range: bool = True
    page: bool = False
    redirect: str | None = None
    packed: bool = False
    retry_after: str | None = None
    shift: int = 0
    at_most: int | None = None
    replace: bytes | None = None


@dataclass
class Site:
    """What is served, how it goes wrong, and what was asked for.

    Attributes:
        files: path to content.
        etags: path to ETag; None sends none. A file without an entry has one made of its content.
        modified: Last-Modified of everything; None sends none.
        faults: for the GETs of a path, one after another; when they are used up, `then`.
        then: for every GET after the faults.
        head: answers HEAD; else 405.
        requests: method, path and headers of every request.
        over: set when it serves no more; nobody pauses beyond that.
    """

    url: str
    files: dict[str, bytes]
    etags: dict[str, str | None] = field(default_factory=dict)
    modified: str | None = None
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    then: dict[str, Fault] = field(default_factory=dict)
    head: bool = False
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def asked(self, path: str) -> list[dict[str, str]]:
        """Headers of the GETs for a path, in order."""
        return [headers for method, at, headers in self.requests if (method, at) == ("GET", path)]

    def fault_of(self, path: str) -> Fault:
        """What goes wrong now."""
        with self.lock:
            left = self.faults.get(path, [])
            return left.pop(0) if left else self.then.get(path, Fault())

    def etag_of(self, path: str) -> str | None:
        """The file's ETag: what the test says, or one made of the content."""
        if path in self.etags:
            return self.etags[path]
        return f'"{hash(self.files[path]) & 0xFFFFFFFF:x}"'


@contextmanager
def serving(files: dict[str, bytes], faults: dict[str, Sequence[Fault]] | None = None) -> Iterator[Site]:
    """Serve `files` (path with its slash to content) for as long as the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    site = Site(f"http://127.0.0.1:{server.server_address[1]}", dict(files))
    site.faults = {path: list(some) for path, some in (faults or {}).items()}
    server.site = site  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    @property
    def site(self) -> Site:
        return self.server.site  # type: ignore[attr-defined]

    def do_HEAD(self) -> None:
        self._note()
        body = self.site.files.get(self._path())
        self.send_response(404 if body is None else 200 if self.site.head else 405)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()

    def do_GET(self) -> None:
        self._note()
        try:
            self._answer(self.site.fault_of(self._path()))
        except (BrokenPipeError, ConnectionResetError, threading.BrokenBarrierError):
            self.close_connection = True

    def _note(self) -> None:
        with self.site.lock:
            self.site.requests.append((self.command, self._path(), {k.lower(): v for k, v in self.headers.items()}))

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _answer(self, fault: Fault) -> None:
        path = self._path()
        if fault.replace is not None:
            self.site.files[path] = fault.replace
        if fault.redirect is not None:
            self._plain(302, Location=fault.redirect)
        elif fault.status is not None:
            self.site.over.wait(fault.pause)
            self._plain(fault.status, **({"Retry-After": fault.retry_after} if fault.retry_after else {}))
        elif fault.page:
            self._plain(200, b"<!DOCTYPE html><html><body>Can't scan this file for viruses</body></html>")
        elif path not in self.site.files:
            self._plain(404)
        else:
            self._file(path, fault)

    def _plain(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, path: str, fault: Fault) -> None:
        whole, etag = self.site.files[path], self.site.etag_of(path)
        start, end = self._wanted(whole, etag, fault)
        if start is not None and start >= len(whole):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(whole)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = whole[start or 0 : end]
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start + fault.shift}-{end - 1}/{len(whole)}")
            body = body[fault.shift :]
        if etag is not None:
            self.send_header("ETag", etag)
        if self.site.modified is not None:
            self.send_header("Last-Modified", self.site.modified)
        if fault.packed:
            body = gzip.compress(body)
            self.send_header("Content-Encoding", "gzip")
        if fault.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif fault.length:
            self.send_header("Content-Length", str(len(body) if fault.announce is None else fault.announce))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        self._body(body, fault)

    def _wanted(self, whole: bytes, etag: str | None, fault: Fault) -> tuple[int | None, int]:
        """First byte (None: all of it) and the end of what was asked for."""
        asked = self.headers.get("Range", "")
        condition = self.headers.get("If-Range")
        if not fault.ranges or not asked.startswith("bytes=") or fault.packed:
            return None, len(whole)
        if fault.if_range and condition is not None and condition not in (etag, self.site.modified):
            return None, len(whole)
        start = int(asked[6:].rstrip("-"))
        return start, len(whole) if fault.at_most is None else min(len(whole), start + fault.at_most)

    def _body(self, body: bytes, fault: Fault) -> None:
        sent = body if fault.cut is None else body[: fault.cut]
        if fault.chunked:
            for at in range(0, len(sent), 700):
                piece = sent[at : at + 700]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if fault.cut is None:
                self.wfile.write(b"0\r\n\r\n")
        elif fault.drip:
            for i in range(len(sent)):
                self.wfile.write(sent[i : i + 1])
                self.wfile.flush()
                self.site.over.wait(fault.drip)
        else:
            half = len(sent) // 2 if fault.pause or fault.meet else 0
            self.wfile.write(sent[:half])
            self.wfile.flush()
            self.site.over.wait(fault.pause)
            if fault.meet is not None:
                fault.meet.wait()
            self.wfile.write(sent[half:])
        self.wfile.flush()
        if fault.cut is not None or not fault.length or fault.announce is not None:
            self.close_connection = True

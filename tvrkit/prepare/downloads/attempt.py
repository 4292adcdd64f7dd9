"""One request for a file, or for the rest of it, and its body to the end.

What has come is a prefix of one state of the file, never a mixture of two: the rest is asked for with If-Range, an
answer that names another state starts anew, and where a server names none, only a known checksum allows to go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvrkit.prepare.downloads.assets import Asset
from tvrkit.prepare.downloads.part import Part, Version, content_range, unsatisfied_total
from tvrkit.prepare.downloads.remote import Again, Client, Refused, connection_failure, status_failure
from tvrkit.prepare.downloads.sizes import in_words

if TYPE_CHECKING:
    import urllib3

_CHUNK = 1 << 20
_SLOWEST = 1000  # bytes a second; less than that for as long as the timeout is a stall
_LOOK_AT_DISK = 64_000_000  # bytes between two looks, where no length was announced

BROKE = "the connection broke"
CHANGED = "the file changed on the way"


class Stopped(Exception):
    """Somebody wants all downloads to end; what came lies in NAME.part."""


@dataclass(frozen=True)
class Ended:
    """A body came to its end. resumed: it went on with an older part; proved: the server said where the end is."""

    resumed: bool
    proved: bool = True


@dataclass
class Attempt:
    """What each request for one file needs.

    Attributes:
        came: told how many more bytes are there; fewer, where the file is begun anew.
        room: told the bytes still to come as soon as they are known; raises DataError where the disk has no room.
        stop: set when somebody wants it to end.
    """

    asset: Asset
    part: Part
    client: Client
    timeout_seconds: float
    came: Callable[[int], None]
    room: Callable[[int], None]
    stop: threading.Event

    def get(self, url: str) -> Ended:
        """Ask a server for what is missing.

        Raises:
            Again: it may go better in a moment.
            Refused: it will not.
            Stopped: `stop` was set.
            DataError: the disk has no room.
            OSError: the disk cannot be written.
        """
        part = self.part
        resume = part.size > 0 and (part.version.validator is not None or self.asset.sha256 is not None)
        if resume and part.size == (part.version.total or self.asset.size):
            return Ended(resumed=True)  # an earlier process ended between the last byte and the new name
        headers = {"Range": f"bytes={part.size}-"} if resume else {}
        if resume and part.version.validator is not None:
            headers["If-Range"] = part.version.validator
        self.check_stop()
        response = self.client.get(url, headers)
        try:
            if resume and response.status == 416:
                return self._nothing_left(response)
            if resume and response.status == 206:
                self._go_on(response)
                self._read(response)
                return Ended(resumed=True, proved=part.version.total is not None)
            if response.status != 200:
                raise status_failure(response)
            self._begin(response)
            self._read(response)
            chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
            return Ended(resumed=False, proved=chunked or _length(response) is not None)
        finally:
            response.close()

    def copy(self, path: Path) -> Ended:
        """Take it from this machine; a copy that was broken off goes on, too.

        Raises:
            Refused: there is no such file, or it cannot be read.
            Stopped, DataError, OSError: as `get`.
        """
        try:
            file = path.open("rb")
        except (OSError, ValueError) as error:
            raise Refused("no such file" if isinstance(error, FileNotFoundError) else str(error)) from None
        with file:
            status = path.stat()
            version = Version(etag=f"{status.st_mtime_ns}-{status.st_size}", total=status.st_size)
            resume = 0 < self.part.size <= status.st_size and self.part.version == version
            if not resume:
                self.start_anew(version)
            self.room(status.st_size - self.part.size)
            file.seek(self.part.size)
            while data := file.read(_CHUNK):
                self.check_stop()
                self._keep(data)
        return Ended(resumed=resume)

    def start_anew(self, version: Version | None = None) -> None:
        """Drop what is there."""
        self.came(-self.part.size)
        self.part.begin(version or Version())

    def check_stop(self) -> None:
        """Raise Stopped if `stop` is set."""
        if self.stop.is_set():
            raise Stopped

    def _begin(self, response: urllib3.BaseHTTPResponse) -> None:
        """All of the file comes: the first attempt, a changed file, or a server that knows no ranges."""
        if self._packed(response):
            version = Version()  # neither its length nor a range of it is one of the file
        else:
            version = Version.of(response.headers, _length(response))
        if version.total is not None and self.asset.size is not None and version.total != self.asset.size:
            raise Refused(f"it announces {version.total:,} bytes where the file has {self.asset.size:,}")
        self.start_anew(version)
        self.room(version.total or self.asset.size or 0)

    def _go_on(self, response: urllib3.BaseHTTPResponse) -> None:
        """The rest comes, if it is the rest of this file."""
        span = content_range(response.headers.get("Content-Range"))
        version = Version.of(response.headers, span[2] if span else None)
        if span is None or span[0] != self.part.size or self.part.version.contradicts(version):
            self.start_anew()
            raise Again(CHANGED)
        if self.part.version.total is None and span[2] is not None:
            self.part.learn(span[2])  # what began without a length has one now, and a range may be short of it
        self.room((span[2] or span[1] + 1) - span[0])

    def _nothing_left(self, response: urllib3.BaseHTTPResponse) -> Ended:
        total = unsatisfied_total(response.headers.get("Content-Range"))
        if total == self.part.size and self.part.version.total in (None, total):
            return Ended(resumed=True)
        self.start_anew()
        raise Again(CHANGED)

    def _read(self, response: urllib3.BaseHTTPResponse) -> None:
        packed = self._packed(response)
        started, bytes_since, unseen = time.monotonic(), 0, 0
        while True:
            try:
                # read1 gives what is there; read would wait for all it was asked for, through any number of timeouts.
                data = response.read1(_CHUNK, decode_content=packed)
            except Exception as error:
                raise connection_failure(error) from None
            self.check_stop()
            if not data:
                return
            self._keep(data)
            bytes_since += len(data)
            unseen += len(data)
            if self.part.version.total is None and unseen >= _LOOK_AT_DISK:
                self.room(_LOOK_AT_DISK)
                unseen = 0
            spent = time.monotonic() - started
            if spent >= self.timeout_seconds:
                if bytes_since < _SLOWEST * spent:
                    raise Again(f"it sends less than {in_words(_SLOWEST)} a second")
                started, bytes_since = time.monotonic(), 0

    def _keep(self, data: bytes) -> None:
        total = self.part.version.total or self.asset.size
        if total is not None and self.part.size + len(data) > total:
            self.start_anew()
            raise Again("it sends more than it announced")
        self.part.write(data)
        self.came(len(data))

    def _packed(self, response: urllib3.BaseHTTPResponse) -> bool:
        """Whether the body is packed for the way; some servers call a .tar.gz itself so, and that is to be kept."""
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        return encoding not in ("", "identity") and not self.asset.name.lower().endswith((".gz", ".tgz"))


def _length(response: urllib3.BaseHTTPResponse) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None

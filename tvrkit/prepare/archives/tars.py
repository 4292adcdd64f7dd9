"""Reading a tar that may come from anybody: damage is noticed, and neither a header nor a bomb fills the memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tvrkit.errors import DataError
from tvrkit.prepare.downloads.sizes import in_words

_CHUNK = 1 << 20
_MAX_HEADER = 1 << 20  # bytes of a long name or of extended attributes
_PATIENCE = 100  # reads at the end of a stream
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class StrictInfo(tarfile.TarInfo):
    """A member whose header is whole.

    `tarfile` takes a damaged or a missing header, except the first, for the end of the archive: what comes after it
    would be lost without a word. A tar has an end mark, and only that is its end.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> StrictInfo:
        """The next member; ReadError where there is no header and no end mark."""
        return _strict(super().fromtarfile, archive)

    def _proc_member(self, archive: tarfile.TarFile) -> Any:  # the hook for subclasses, by tarfile's own comments
        if self.type in _HEADERS and self.size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {in_words(self.size)}")
        return super()._proc_member(archive)  # type: ignore[misc]

    def _block(self, count: int) -> int:
        # By a negative size an older tarfile goes back and reads the same headers for ever (CVE-2025-8194).
        if count < 0:
            raise tarfile.ReadError("a negative size")
        return int(super()._block(count))  # type: ignore[misc]


def _strict(read: Any, archive: tarfile.TarFile) -> Any:
    try:
        return read(archive)
    except tarfile.HeaderError as error:
        if type(error).__name__ == "EOFHeaderError":  # the end mark; tarfile does not export the name
            raise
        raise tarfile.ReadError("it ends without an end mark" if "empty" in str(error) else str(error)) from None


class _Bounded(io.RawIOBase):
    """A stream of unpacked bytes that ends with an error rather than never."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream, self._left, self._most = stream, most, most
        self._empty = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        # Over a member of a size that nobody has, tarfile would step to its far end, nothing by nothing, for days.
        self._empty = 0 if data else self._empty + 1
        if self._empty > _PATIENCE:
            raise EOFError("it ends in the middle of a member")
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"it unpacks to more than {in_words(self._most)}")
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def open_tar(file: BinaryIO, most: int) -> Iterator[Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]]:
    """The members of a tar, packed by gzip, bzip2, xz or not at all, each with its content if it is a file's.

    Read to the end, so that a missing end and a wrong checksum of the whole are noticed.

    Args:
        file: the archive, seekable, at its start.
        most: unpacked bytes that it may have.

    Raises:
        tarfile.TarError, EOFError, OSError without errno, zlib.error, lzma.LZMAError: it is damaged.
        DataError: it has more than `most`.
    """
    magic = file.read(6)
    file.seek(0)
    packed: Any = None
    if magic.startswith(b"\x1f\x8b"):
        packed = gzip.GzipFile(fileobj=file, mode="rb")
    elif magic.startswith(b"BZh"):
        packed = bz2.BZ2File(file)
    elif magic == b"\xfd7zXZ\x00":
        packed = lzma.LZMAFile(file)
    # What is not packed is sought through: members that nobody wants are not read.
    stream: Any = file if packed is None else io.BufferedReader(_Bounded(packed, most), _CHUNK)
    mode: Any = "r:" if packed is None else "r|"
    with tarfile.open(
        fileobj=stream, mode=mode, tarinfo=StrictInfo, encoding="utf-8", errors="surrogateescape", bufsize=_CHUNK
    ) as archive:
        yield _members(archive)
        while packed is not None and stream.read(_CHUNK):
            pass


def _members(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]:
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # it would keep every header
        yield member, archive.extractfile(member) if member.isreg() else None  # type: ignore[misc]


def check_tar(path: Path) -> None:
    """Read a tar to its end; the exceptions of `open_tar` where it is damaged."""
    with path.open("rb") as file, open_tar(file, 1000 * path.stat().st_size + 1_000_000_000) as members:
        for _, content in members:
            while content is not None and content.read(_CHUNK):
                pass

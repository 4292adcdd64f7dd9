"""Unpacking what was downloaded: zip and tar, whole or in parts, again and again without harm."""

from __future__ import annotations

import io
import json
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tvrkit.errors import DataError
from tvrkit.files import write_json
from tvrkit.prepare.archives.joined import Joined, is_archive, parts_of, whole_name
from tvrkit.prepare.archives.members import Writer, useful
from tvrkit.prepare.archives.tars import open_tar
from tvrkit.prepare.downloads.part import lock_alone
from tvrkit.prepare.downloads.room import Room
from tvrkit.prepare.downloads.sizes import ByteBar, megabytes
from tvrkit.prepare.report import many
from tvrkit.reporting import Reporter, Silent

__all__ = ["is_archive", "unpack", "useful"]

# An archive of videos hardly shrinks them; one of captions does, tenfold. What grows more was made to do harm.
_MOST_GROWTH = 200
_MOST_ANYHOW = 1_000_000_000

_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    IndexError,
    OverflowError,
)


def unpack(
    archive: str | Path,
    folder: str | Path,
    *,
    max_bytes: int | None = None,
    wanted: Callable[[str], bool] = useful,
    watcher: Reporter | None = None,
) -> int:
    """Unpack a zip or a tar (gz, bz2, xz), or all parts of one that was cut, below a folder.

    Nothing is written outside the folder, links and devices are left out, archives inside it stay packed. An
    unpacking that was broken off goes on where it stopped, and one that was done is known by a small file in `folder`
    and costs nothing.

    Args:
        archive: the file; of one in parts, any part: the others lie beside it.
        folder: where its members go, under their own folders.
        max_bytes: of all its members; None: 200 times its own size and a gigabyte, a bomb's mark.
        wanted: whether a member of that name (with `/`) is of use; videos and annotations by default.
        watcher: is told how it goes, and what was left out.

    Returns:
        How many files were written now.

    Raises:
        DataError: the archive is damaged, not there, locked with a password, a bomb, or the disk has no room.
    """
    archive, folder, watcher = Path(archive), Path(folder), watcher or Silent()
    try:
        parts = parts_of(archive)
        identity = [[part.name, part.stat().st_size, part.stat().st_mtime_ns] for part in parts]
        folder.mkdir(parents=True, exist_ok=True)
        marker = _Marker(folder / f".{whole_name(archive)}.unpacked.json", identity)
        if marker.is_done(folder, wanted):
            return 0
        with parts[0].open("rb") as locked:
            if not lock_alone(locked):
                raise DataError(f"another process is unpacking {archive} right now.")
            return _unpack(archive, parts, folder, marker, max_bytes, wanted, watcher)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename or archive} is not there.") from None
    except OSError as error:
        raise DataError(f"{archive} cannot be unpacked into {folder}: {error.strerror or error}.") from None


def _unpack(
    archive: Path,
    parts: list[Path],
    folder: Path,
    marker: _Marker,
    max_bytes: int | None,
    wanted: Callable[[str], bool],
    watcher: Reporter,
) -> int:
    size = sum(part.stat().st_size for part in parts)
    most = _MOST_GROWTH * size + _MOST_ANYHOW if max_bytes is None else max_bytes
    writer = Writer(folder, f".{whole_name(archive)}.tmp", most, wanted, marker.begin())
    with watcher.progress(f"unpacking {archive.name}, MB", megabytes(size)) as bar:
        counter = ByteBar(bar)
        try:
            with Joined(parts) as joined:
                file: Any = io.BufferedReader(joined, 1 << 20)
                if file.peek(2)[:2] == b"PK":
                    _unpack_zip(file, writer, counter)
                else:
                    _unpack_tar(file, writer, counter, max(most, _MOST_GROWTH * size + _MOST_ANYHOW))
        except DataError as error:
            raise DataError(f"{archive} is not unpacked: {str(error).rstrip('.')}.") from None
        except (NotImplementedError, RuntimeError) as error:
            raise DataError(f"{archive} cannot be read by Python ({error}): unpack it by hand into {folder}.") from None
        except _DAMAGE as error:
            raise _damaged(archive, error) from None
        except OSError as error:
            if error.errno is not None:  # the disk's; a decompressor's has none
                raise
            raise _damaged(archive, error) from None
    if hasattr(os, "sync"):
        os.sync()  # before the mark that says all of it is there; one fsync a file would cost more than the unpacking
    marker.finish(writer)
    _tell(archive, writer, watcher)
    return writer.new


def _unpack_zip(file: BinaryIO, writer: Writer, counter: ByteBar) -> None:
    with zipfile.ZipFile(file) as archive:
        chosen = []
        for info in archive.infolist():
            if info.is_dir():
                continue
            # The upper half holds Unix's mode: a link has its target as its content.
            is_link = info.create_system == 3 and (info.external_attr >> 28) not in (0, 8)
            if (place := writer.accepts(_zip_name(info), is_file=not is_link)) is not None:
                chosen.append((place, info))
        writer.expect(sum(info.file_size for _, info in chosen))
        still = sum(info.file_size for place, info in chosen if not writer.is_there(place, info.file_size))
        Room(writer.folder).check(still)
        for place, info in chosen:
            if info.flag_bits & 1:
                raise DataError(f"it is locked with a password; unpack it by hand into {writer.folder}")
            with archive.open(info) as content:
                writer.write(place, info.file_size, content)  # type: ignore[arg-type]
            counter.add(info.compress_size)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name as its maker wrote it: many write UTF-8 without the flag that says so, which zipfile reads as cp437."""
    if not info.flag_bits & 0x800:
        try:
            return info.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return info.filename


def _unpack_tar(file: BinaryIO, writer: Writer, counter: ByteBar, most_read: int) -> None:
    counted = 0
    with open_tar(file, most_read) as members:
        for member, content in members:
            if member.isdir():
                continue
            place = writer.accepts(member.name, is_file=content is not None)
            if place is not None and content is not None:
                writer.write(place, member.size, content)
            now = file.tell()
            counter.add(now - counted)
            counted = now


@dataclass
class _Marker:
    """The small file that says which archive was unpacked into a folder, and what it held."""

    path: Path
    identity: list[list[Any]]

    def is_done(self, folder: Path, wanted: Callable[[str], bool]) -> bool:
        """Whether all that is wanted of this very archive lies in the folder."""
        held = self._read()
        if held.get("archive") != self.identity or not held.get("done"):
            return False
        try:
            if any(wanted(name) for name in held["left"]):
                return False
            return all((folder / name).stat().st_size == size for name, size in held["members"].items())
        except (OSError, KeyError, AttributeError, TypeError):
            return False

    def begin(self) -> bool:
        """Note that it is being unpacked; whether this archive was before, so that what lies there may be from it."""
        before = self._read().get("archive") == self.identity
        write_json(self.path, {"archive": self.identity, "done": False})
        return before

    def finish(self, writer: Writer) -> None:
        """Note that it is done."""
        held = {"archive": self.identity, "done": True, "members": writer.members, "left": writer.left}
        write_json(self.path, held)

    def _read(self) -> dict[str, Any]:
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return held if isinstance(held, dict) else {}


def _damaged(archive: Path, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [""])[0].rstrip(".") or type(error).__name__
    return DataError(
        f"{archive} is damaged or is no zip or tar ({reason}): delete it and get it anew; what came out of it is not"
        " taken for complete."
    )


def _tell(archive: Path, writer: Writer, watcher: Reporter) -> None:
    if unsafe := writer.unsafe:
        watcher.warn(
            f"{many(len(unsafe), 'member')} of {archive.name} left out (links, devices, or names that lead out of the"
            f" folder): {', '.join(unsafe[:3])}{' …' if len(unsafe) > 3 else ''}."
        )
    if packed := writer.packed_inside:
        watcher.warn(
            f"{archive.name} holds {many(len(packed), 'further archive')}, left packed: {', '.join(packed[:3])}"
            f"{' …' if len(packed) > 3 else ''}."
        )

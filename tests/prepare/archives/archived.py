"""Making archives, and seeing what came out of them."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from pathlib import Path

CLIPS = {f"videos/clip{i}.mp4": random.Random(i).randbytes(3000 + 777 * i) for i in range(6)}
KINDS = ("a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz")


def make(path: Path, members: dict[str, bytes]) -> Path:
    """An archive of that name's kind."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    packing = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix, "")
    with tarfile.open(path, f"w:{packing}") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o7777
            archive.addfile(info, io.BytesIO(content))
    return path


def tar_of(path: Path, *infos: tarfile.TarInfo) -> Path:
    """A tar with those headers; a file's content is zeros."""
    with tarfile.open(path, "w") as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def cut(path: Path, names: list[str]) -> list[Path]:
    """The file cut into as many parts as there are names, and no longer there itself."""
    content = path.read_bytes()
    step = -(-len(content) // len(names))
    parts = [path.with_name(name) for name in names]
    for i, part in enumerate(parts):
        part.write_bytes(content[i * step : (i + 1) * step])
    path.unlink()
    return parts


def found(folder: Path) -> dict[str, bytes]:
    """What lies in the folder, but for the small file that says so."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".unpacked.json"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def zip_without_flag(name: bytes, content: bytes) -> bytes:
    """A stored zip of one member whose name is these bytes, written by hand from the format's description."""
    import struct
    import zlib

    crc, size = zlib.crc32(content), len(content)
    shared = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, crc, size, size, len(name), 0)
    local = b"PK\x03\x04" + shared + name + content
    central = b"PK\x01\x02" + struct.pack("<H", 20) + shared + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return local + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)

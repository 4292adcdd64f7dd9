"""What a preparation would do: which files come from where, how large they are, what is there already."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tvrkit.errors import DataError
from tvrkit.prepare.archives.joined import is_archive
from tvrkit.prepare.benchmarks.sources import AnnotationFiles
from tvrkit.prepare.downloads.download import plan_downloads
from tvrkit.prepare.given import given_archives
from tvrkit.prepare.locate import Locator
from tvrkit.prepare.material import Material, hosts_of


@dataclass(frozen=True)
class File:
    """A file that would be downloaded.

    Attributes:
        name: under which it is kept.
        holds: `annotations` or `videos`.
        state: `there`, `partial` or `missing`.
        bytes_there: how much of it came before.
        bytes: its size; None where nobody says it.
        source: the servers it lies on.
        optional: whether the preparation goes on without it.
    """

    name: str
    holds: str
    state: str
    bytes_there: int
    bytes: int | None
    source: str
    optional: bool

    @property
    def bytes_needed(self) -> int:
        """Disk that it takes beyond what it takes now, as far as its size is known; archives are unpacked beside."""
        if self.bytes is None:
            return 0
        return max(0, self.bytes - self.bytes_there) + (self.bytes if is_archive(self.name) else 0)


@dataclass(frozen=True)
class Preview:
    """What a preparation would do.

    Attributes:
        files: to be downloaded, or downloaded before.
        folders: where files given by hand are looked for.
        archives: given by hand, to be unpacked.
        annotated: videos that the annotations which are there already list; None where they cannot be read yet.
        located: how many of these have a file; videos in archives are not counted.
        needs_bytes: disk that downloads and unpacking take at most, as far as sizes are known.
        unknown: how many files nobody tells the size of.
        free_bytes: of the disk that they would lie on.
    """

    files: tuple[File, ...]
    folders: tuple[str, ...]
    archives: tuple[str, ...]
    annotated: int | None
    located: int
    needs_bytes: int
    unknown: int
    free_bytes: int

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def preview(material: Material, *, ask: bool) -> Preview:
    """Look what is there and what would be fetched; nothing is written.

    Args:
        material: which benchmark, from where.
        ask: whether servers are asked for sizes that are not known.
    """
    files = files_of(material, ask=ask)
    archives = given_archives(material.options.videos)
    annotated, located = _there(material)
    return Preview(
        files=files,
        folders=tuple(str(path) for path in (*material.options.videos, *material.options.annotations)),
        archives=tuple(str(path) for path in archives),
        annotated=annotated,
        located=located,
        needs_bytes=sum(file.bytes_needed for file in files) + sum(path.stat().st_size for path in archives),
        unknown=sum(file.bytes is None for file in files),
        free_bytes=shutil.disk_usage(_existing(material.downloads)).free,
    )


def files_of(material: Material, *, ask: bool) -> tuple[File, ...]:
    """The files that would be downloaded, or were."""
    assets = (*material.annotation_assets(), *material.video_assets())
    mirror = material.options.mirror
    return tuple(
        File(p.asset.name, p.asset.holds, p.state, p.bytes_there, p.size, hosts_of(p.asset, mirror), p.asset.optional)
        for p in plan_downloads(assets, material.downloads, mirror=mirror, ask=ask)
    )


def _there(material: Material) -> tuple[int | None, int]:
    try:
        annotations = material.benchmark.read(AnnotationFiles(material.annotation_folders()), material.split)
    except DataError:
        return None, 0
    locator = Locator(material.video_folders())
    found = locator.locate({item.video_id: (item.video_id, *item.names) for item in annotations.items})
    return len(annotations.items), sum(bool(paths) for paths in found.values())


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.exists())

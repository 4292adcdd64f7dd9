"""What a benchmark is prepared from: files given by hand, downloads, and what archives among them hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvrkit.errors import ConfigError, DataError
from tvrkit.frames.reading import Reading
from tvrkit.prepare.archives.joined import is_archive, whole_name
from tvrkit.prepare.archives.unpack import unpack
from tvrkit.prepare.benchmarks.item import Annotations
from tvrkit.prepare.benchmarks.sources import AnnotationFiles
from tvrkit.prepare.downloads.assets import Asset, assets_of
from tvrkit.prepare.downloads.download import download_all
from tvrkit.prepare.downloads.remote import local_folder, shown, sources_of
from tvrkit.prepare.given import first_parts, given_archives
from tvrkit.prepare.provenance import command_line
from tvrkit.reporting import Reporter

if TYPE_CHECKING:
    from tvrkit.prepare.benchmarks.benchmark import Benchmark

UNPACKED = "unpacked"


@dataclass(frozen=True)
class BenchmarkOptions:
    """How a benchmark is prepared.

    Attributes:
        split: a key of the benchmark's `splits`; None is the first.
        videos: folders and archives of videos fetched by hand; when there are any no video is downloaded.
        annotations: folders of annotation files fetched by hand; when there are any none is downloaded.
        mirror: an address or a folder that is asked before the files' own.
        val_fraction: part of the training videos that goes to `val`, in [0, 1), for protocols without one.
        strict: whether a problem is an error.
        compress: whether small copies are made, and used from then on.
        reading: how videos are read.
    """

    split: str | None = None
    videos: tuple[Path, ...] = ()
    annotations: tuple[Path, ...] = ()
    mirror: str | None = None
    val_fraction: float = 0.0
    strict: bool = False
    compress: bool = False
    reading: Reading = Reading()

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"--val-fraction is a part of the training videos, 0 to 1, not {self.val_fraction:g}.")
        if self.mirror and (local := local_folder(self.mirror)) is not None and not local.is_dir():
            raise DataError(
                f"there is no folder {local}: --mirror names an address or the folder that holds the files."
            )
        for path in self.videos:
            if not path.exists():
                raise DataError(f"there is no folder or archive {path}: --from names what holds the videos.")
            if not path.is_dir() and not is_archive(path.name):
                raise DataError(f"{path} is neither a folder nor a zip or tar: --from names what holds the videos.")
        for path in self.annotations:
            if not path.is_dir():
                raise DataError(f"there is no folder {path}: --annotations names the one that holds the lists.")


@dataclass(frozen=True)
class Material:
    """Where the files of one benchmark are taken from.

    Attributes:
        benchmark: which one.
        split: the key of its `splits`.
        downloads: the folder of what is downloaded and unpacked, shared by all splits.
        options: see `BenchmarkOptions`.
        watcher: is told how it goes.
    """

    benchmark: Benchmark
    split: str
    downloads: Path
    options: BenchmarkOptions
    watcher: Reporter

    @property
    def unpacked(self) -> Path:
        """Where archives are unpacked."""
        return self.downloads / UNPACKED

    def annotation_assets(self) -> tuple[Asset, ...]:
        """Annotation files that would be downloaded."""
        if self.options.annotations:
            return ()
        return assets_of(self.benchmark.assets, split=self.split, holds="annotations")

    def video_assets(self) -> tuple[Asset, ...]:
        """Files of videos that would be downloaded."""
        if self.options.videos:
            return ()
        return assets_of(self.benchmark.assets, split=self.split, holds="videos")

    def annotation_folders(self) -> list[Path]:
        """Where annotation files are looked for, the most wanted first."""
        own = [path for path in dict.fromkeys((*self.options.annotations, *self.options.videos)) if path.is_dir()]
        return [*own, *([self.downloads] if self.downloads.is_dir() else [])]

    def video_folders(self) -> list[Path]:
        """Where videos are looked for, the most wanted first."""
        own = [path for path in self.options.videos if path.is_dir()]
        return [*own, *([self.downloads] if self.downloads.is_dir() else [])]

    def has_videos(self) -> bool:
        """Whether there may be any, here or at an address."""
        return bool(self.options.videos or self.video_assets()) or self.downloads.is_dir()

    def read_annotations(self) -> Annotations:
        """Read what was given or downloaded before; download what is missing then.

        Raises:
            DataError: they cannot be had, or not be read.
        """
        self.unpack_given()
        wanted = self.annotation_assets()
        if self.options.annotations or self.options.videos or not wanted:
            try:
                return self._read()
            except DataError:
                if not wanted:
                    raise
        failures = self._download(wanted)
        try:
            return self._read()
        except DataError as error:
            if not failures:
                raise
            raise DataError(self._not_had(failures)) from error

    def fetch_videos(self) -> dict[str, str]:
        """Download what is not there yet, and unpack it.

        Returns:
            For each file that could not be had the reason, hosts included.
        """
        return self._download(self.video_assets())

    def no_videos(self, failures: Mapping[str, str]) -> str:
        """The sentence for a benchmark of which there is no video at all, with the way on."""
        if failures:
            return self._not_had(failures)
        if self.options.videos:
            places = ", ".join(map(str, self.options.videos))
            return f"there is no video file in {places}: --from names what holds {self.benchmark.title}'s videos."
        return (
            f"{self.benchmark.title}'s videos have no public address: {_clause(self.benchmark.by_hand)}; then run"
            f" `{self.by_hand_command(lists=not self.annotation_assets())}` (docs/benchmarks.md names the files)."
        )

    def by_hand_command(self, *, lists: bool) -> str:
        """The command that goes on with videos, and `lists` as well, fetched by hand."""
        annotations: object = self.options.annotations or ("LISTS" if lists else None)
        split = self.split if self.split != next(iter(self.benchmark.splits)) else None
        return command_line(
            self.benchmark.name, from_=self.options.videos or "VIDEOS", annotations=annotations, split=split
        )

    def unpack_given(self) -> None:
        """Unpack the archives among the files given by hand, into the folder of downloads."""
        for archive in given_archives(self.options.videos):
            self._unpack(archive)

    def _read(self) -> Annotations:
        return self.benchmark.read(AnnotationFiles(self.annotation_folders()), self.split)

    def _download(self, assets: Sequence[Asset]) -> dict[str, str]:
        if not assets:
            return {}
        self.downloads.mkdir(parents=True, exist_ok=True)
        fetched = download_all(assets, self.downloads, mirror=self.options.mirror, watcher=self.watcher)
        for archive in first_parts(list(fetched.paths.values())):
            self._unpack(archive)
        optional = {asset.name for asset in assets if asset.optional}
        for name in sorted(optional & set(fetched.reasons)):
            self.watcher.say(f"Not there, and not needed: {name} ({fetched.reasons[name]}).")
        return {name: reason for name, reason in fetched.reasons.items() if name not in optional}

    def _unpack(self, archive: Path) -> None:
        unpack(archive, self.unpacked / whole_name(archive), watcher=self.watcher)

    def _not_had(self, failures: Mapping[str, str]) -> str:
        # Many files of few servers: each server's reason once.
        reasons = "; ".join(dict.fromkeys(reason for its in failures.values() for reason in its.split("; ")))
        untried = self.video_assets()
        lists = not any(asset.name in failures for asset in untried)  # it came to the videos only with the lists
        videos = ""
        if untried and lists:
            hosts = dict.fromkeys(host for asset in untried for host in hosts_of(asset).split(", "))
            videos = f", so that the videos ({few([a.name for a in untried])} from {', '.join(hosts)}) were not tried"
        return (
            f"{self.benchmark.title} could not be downloaded: there is no {few(sorted(failures))} to be had ({reasons})"
            f"{videos}; fetch them by hand, as docs/benchmarks.md tells, and run `{self.by_hand_command(lists=lists)}`."
        )


def hosts_of(asset: Asset, mirror: str | None = None) -> str:
    """The servers that an asset is asked from, each once."""
    return ", ".join(dict.fromkeys(shown(source) for source in sources_of(asset, mirror)))


def few(names: Sequence[str], number: int = 5) -> str:
    """The first few of many names."""
    return ", ".join(names[:number]) + (f" and {len(names) - number} more" if len(names) > number else "")


def _clause(sentence: str) -> str:
    """A sentence for the middle of another one."""
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")

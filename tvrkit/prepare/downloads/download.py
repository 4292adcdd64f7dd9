"""Downloading a benchmark's files: several at once, each from several sources, resumed, named when it is whole."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tvrkit.errors import DataError
from tvrkit.prepare.downloads.assets import Asset
from tvrkit.prepare.downloads.attempt import Stopped
from tvrkit.prepare.downloads.part import discard_part
from tvrkit.prepare.downloads.plan import Planned, plan_downloads
from tvrkit.prepare.downloads.receipts import Receipts, sha256_of, verify_downloads, what_is_wrong
from tvrkit.prepare.downloads.remote import Client, Refused, sources_of
from tvrkit.prepare.downloads.room import Room
from tvrkit.prepare.downloads.sizes import ByteBar, megabytes
from tvrkit.prepare.downloads.threads import in_threads
from tvrkit.prepare.downloads.transfer import Got, Patience, Transfer
from tvrkit.reporting import Reporter, Silent

__all__ = ["Fetched", "Planned", "download_all", "plan_downloads", "verify_downloads"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_WAYS_OUT = {
    "annotations": "get it by hand and give its folder with `--annotations DIR`, or name a mirror with `--mirror URL`",
    "videos": "get it by hand and give its folder with `--from DIR`, or name a mirror with `--mirror URL`",
}


@dataclass(frozen=True)
class Fetched:
    """What a download did.

    Attributes:
        paths: name to file.
        failures: name to a sentence, for those that could not be had.
        reasons: the same without the name and the way out: each source with what it said.
    """

    paths: dict[str, Path] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def download_all(
    assets: Iterable[Asset],
    folder: str | Path,
    *,
    mirror: str | None = None,
    connections: int = 4,
    retries: int = 5,
    timeout_seconds: float = 30.0,
    backoff_seconds: float = 1.0,
    watcher: Reporter | None = None,
) -> Fetched:
    """Download what is not there yet; a name appears in `folder` only when its file is whole.

    What a broken connection, a kill or Ctrl-C leaves is NAME.part, with which the next call goes on.

    Args:
        assets: the files.
        folder: where they shall lie.
        mirror: a base address or a folder in which each file is looked for first, under its name.
        connections: files at once.
        retries: attempts after the first that may fail one after another, at each source; progress starts the count
            anew.
        timeout_seconds: for a connection, and without a byte; less than 1 kB/s for so long is a stall as well.
        backoff_seconds: before the first retry; each further one waits twice as long, a minute at most.
        watcher: is told how it goes.

    Raises:
        DataError: the disk has no room for what is known to come, or the folder cannot be written.
    """
    patience = Patience(retries, timeout_seconds, backoff_seconds)
    job = _Job(Path(folder), mirror, patience, watcher or Silent())
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{job.folder} cannot be made: {error.strerror or error}.") from None
    unique = {asset.name: asset for asset in assets}.values()
    missing = [asset for asset in unique if not job.is_there(asset)]
    if missing:
        job.fetch(missing, connections)
    return job.fetched


@dataclass
class _Job:
    """One call of `download_all`."""

    folder: Path
    mirror: str | None
    patience: Patience
    watcher: Reporter
    fetched: Fetched = field(default_factory=Fetched)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.receipts = Receipts(self.folder)
        self.client = Client(timeout_seconds=self.patience.timeout_seconds)
        self.room = Room(self.folder)

    def is_there(self, asset: Asset) -> bool:
        path = self.folder / asset.name
        receipt = self.receipts.all().get(asset.name)
        try:
            if not path.is_file():
                return False
            reason = what_is_wrong(asset, path, receipt)
            if reason is None and (receipt is None or not receipt.is_of(path.stat())):
                self.receipts.add(asset.name, receipt.url if receipt else None, sha256_of(path))
        except OSError as error:
            raise DataError(f"{path} cannot be read or noted: {error.strerror or error}.") from None
        if reason is not None:
            self.watcher.warn(f"{path} is not the file that was wanted ({reason}): it is downloaded anew.")
            return False
        discard_part(path)  # of a download that was broken off before somebody put the file there
        self.fetched.paths[asset.name] = path
        return True

    def fetch(self, assets: Sequence[Asset], connections: int) -> None:
        plans = plan_downloads(assets, self.folder, mirror=self.mirror, ask=True)
        self.room.check(sum(plan.bytes_missing or 0 for plan in plans))
        total = megabytes(sum(plan.size or 0 for plan in plans)) if all(plan.size for plan in plans) else None
        with self.watcher.progress("downloading, MB", total) as bar:
            counter = ByteBar(bar)
            try:
                in_threads(assets, lambda asset: self.fetch_one(asset, counter), connections)
            except BaseException:  # Ctrl-C as well: the threads must not write on
                self.stop.set()
                raise

    def fetch_one(self, asset: Asset, counter: ByteBar) -> None:
        def came(size: int) -> None:
            counter.add(size)
            self.room.came(asset.name, size)

        transfer = Transfer(
            asset=asset,
            target=self.folder / asset.name,
            sources=sources_of(asset, self.mirror),
            client=self.client,
            patience=self.patience,
            came=came,
            room=lambda more: self.room.expect(asset.name, more),
            stop=self.stop,
        )
        try:
            self._note(asset, transfer.run())
        except Stopped:
            return
        except Refused as refused:
            self._fail(asset, str(refused), "cannot be downloaded ({}): " + _WAYS_OUT[asset.holds])
        except DataError as error:
            self._fail(asset, str(error).rstrip("."))
        except OSError as error:
            full = error.errno in _NO_ROOM
            reason = f"the disk of {self.folder} is full" if full else f"{self.folder}: {error.strerror or error}"
            self._fail(asset, f"{reason}; what came is kept, and the next run goes on from there")
        finally:
            self.room.done(asset.name)

    def _note(self, asset: Asset, got: Got) -> None:
        version = got.version
        self.receipts.add(asset.name, got.source, got.sha256, etag=version.etag, modified=version.modified)
        self.fetched.paths[asset.name] = self.folder / asset.name
        if got.note:
            self.watcher.warn(got.note)

    def _fail(self, asset: Asset, reason: str, words: str = "is not downloaded: {}") -> None:
        self.fetched.reasons[asset.name] = reason
        self.fetched.failures[asset.name] = f"{asset.name} {words.replace('{}', reason)}."

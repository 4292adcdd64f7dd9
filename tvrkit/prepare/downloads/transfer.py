"""One file from its sources: begun, broken off, gone on with, and whole at last or not there at all."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvrkit.prepare.downloads.assets import Asset
from tvrkit.prepare.downloads.attempt import BROKE, Attempt, Ended, Stopped
from tvrkit.prepare.downloads.content import can_be_checked, not_whole, wrong_content
from tvrkit.prepare.downloads.part import Part, Version
from tvrkit.prepare.downloads.remote import Again, Client, NotFound, Refused, local_folder, shown

_ENOUGH = 1_000_000  # bytes, or a thousandth of the file, that count as progress
_ENOUGH_OF_UNKNOWN = 64_000


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server.

    Attributes:
        retries: attempts after the first that may fail one after another, at each source; progress starts the count
            anew.
        timeout_seconds: for a connection, and without a byte.
        backoff_seconds: before the first retry; doubled for each further one, less a random part of up to a half.
        longest_seconds: no wait is longer; a server that asks for more is left for the next source.
    """

    retries: int = 5
    timeout_seconds: float = 30.0
    backoff_seconds: float = 1.0
    longest_seconds: float = 60.0

    def wait(self, failures: int, asked: float | None) -> float:
        """Seconds before the next attempt, after so many failures."""
        grown = min(self.longest_seconds, self.backoff_seconds * 2.0 ** (failures - 1))
        return max(asked or 0.0, grown * random.uniform(0.5, 1.0))


@dataclass(frozen=True)
class Got:
    """A whole file: where it came from, and what is known of it. `note` is what a user should know."""

    source: str
    size: int
    sha256: str
    version: Version
    note: str | None = None


@dataclass
class Transfer:
    """Fetches one file.

    Attributes:
        asset: which file.
        target: where it is to lie.
        sources: addresses and paths, in order.
        came, room, stop: see `Attempt`.
    """

    asset: Asset
    target: Path
    sources: Sequence[str]
    client: Client
    patience: Patience
    came: Callable[[int], None]
    room: Callable[[int], None]
    stop: threading.Event

    def run(self) -> Got:
        """Try the sources in order until one gives the file.

        Raises:
            Refused: none does; it names each with its reason.
            DataError: the disk has no room, or another process is at this file.
            OSError: the disk cannot be written.
            Stopped: `stop` was set.
        """
        reasons = []
        with Part(self.target) as part:
            self.came(part.size)
            timeout = self.patience.timeout_seconds
            attempt = Attempt(self.asset, part, self.client, timeout, self.came, self.room, self.stop)
            try:
                for source in self.sources:
                    try:
                        return self._from(source, attempt)
                    except Refused as refused:
                        reasons.append(f"{shown(source)}: {refused}")
            finally:
                if not part.size:
                    part.remove()
        raise Refused("; ".join(reasons) or "no address of it is known")

    def _from(self, source: str, attempt: Attempt) -> Got:
        """The file from one source, in as many attempts as that takes.

        The loop ends: each round is a failure, of which only so many may follow one another, or brings the part
        farther than it ever was by a step of which a file has at most some thousands.
        """
        part = attempt.part
        failures, farthest, anew = 0, part.size, False
        while True:
            try:
                ended = self._attempt(source, attempt)
                if part.version.total is None or part.size >= part.version.total:
                    try:
                        return self._finish(source, part, ended)
                    except _NotTheFile as wrong:
                        attempt.start_anew()
                        # The older part may be what is wrong: once more, from the first byte.
                        if anew or not ended.resumed:
                            raise Refused(str(wrong)) from None
                        anew, farthest = True, 0
                        continue
                if self._is_progress(part, farthest):  # a server that gives less than it was asked for
                    failures, farthest = 0, part.size
                    continue
                raise Again(BROKE)
            except Again as again:
                if self._is_progress(part, farthest):
                    failures, farthest = 0, part.size
                failures += 1
                # A connection that dropped may take a while to come back; a server that nobody knows will not appear.
                retries = min(1, self.patience.retries) if isinstance(again, NotFound) and not part.size else None
                self._wait(failures, again, retries)

    def _attempt(self, source: str, attempt: Attempt) -> Ended:
        attempt.check_stop()
        path = local_folder(source)
        return attempt.get(source) if path is None else attempt.copy(path)

    def _is_progress(self, part: Part, farthest: int) -> bool:
        total = part.version.total or self.asset.size
        step = _ENOUGH_OF_UNKNOWN if total is None else min(_ENOUGH, max(1, total // 1000))
        return part.size - farthest >= step

    def _wait(self, failures: int, again: Again, retries: int | None) -> None:
        if failures > (self.patience.retries if retries is None else retries):
            raise Refused(f"{again}{f', {failures} times' if failures > 1 else ''}")
        if (again.wait_seconds or 0.0) > self.patience.longest_seconds:
            raise Refused(f"{again}, and it asks to wait {again.wait_seconds:.0f} s")
        if self.stop.wait(self.patience.wait(failures, again.wait_seconds)):
            raise Stopped

    def _finish(self, source: str, part: Part, ended: Ended) -> Got:
        """Give the file its name, if it is whole and the right one.

        Raises:
            _NotTheFile: it is not.
        """
        asset = self.asset
        for total in (asset.size, part.version.total):
            if total not in (None, part.size):
                raise _NotTheFile(f"{part.size:,} bytes came where the file has {total:,}")
        reason = wrong_content(part.path, asset.name)
        known = ended.proved or asset.sha256 is not None or asset.size is not None
        if reason is None and not known:
            reason = not_whole(part.path, asset.name)
        if reason is not None:
            raise _NotTheFile(reason)
        checksum = part.sha256()
        if asset.sha256 not in (None, checksum):
            raise _NotTheFile("what came has another checksum")
        note = None
        if not known and not can_be_checked(asset.name):
            note = f"{asset.name}: {shown(source)} did not say how long it is, so nobody knows whether it is whole."
        got = Got(source, part.size, checksum, part.version, note)
        part.finish()
        return got


class _NotTheFile(Exception):
    """A body came to its end and is not the file that was wanted."""

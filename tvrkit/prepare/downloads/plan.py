"""What a download would do: what is there, what is half there, and what would come from where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tvrkit.prepare.downloads.assets import Asset
from tvrkit.prepare.downloads.part import part_of
from tvrkit.prepare.downloads.receipts import Receipts, what_is_wrong
from tvrkit.prepare.downloads.remote import Again, Client, Refused, local_folder, sources_of
from tvrkit.prepare.downloads.threads import in_threads

ASK_SECONDS = 10.0
_ASK_CONNECTIONS = 8


@dataclass(frozen=True)
class Planned:
    """What a download would do for one file.

    Attributes:
        asset: the file.
        state: there, partial (a download was broken off) or missing.
        bytes_there: bytes that need not be downloaded.
        size: bytes of the whole file; None where it is not known.
        url: the first source that would be asked; None where there is none.
    """

    asset: Asset
    state: Literal["there", "partial", "missing"]
    bytes_there: int
    size: int | None
    url: str | None

    @property
    def bytes_missing(self) -> int | None:
        """Bytes still to come; None where that is not known."""
        return None if self.size is None else max(0, self.size - self.bytes_there)


def plan_downloads(
    assets: Iterable[Asset],
    folder: str | Path,
    *,
    mirror: str | None = None,
    ask: bool = False,
    timeout_seconds: float = ASK_SECONDS,
) -> list[Planned]:
    """What a download of these files into `folder` would do; nothing is written.

    Args:
        assets: the files.
        folder: where they are or would be.
        mirror: a base address or a folder that is asked first.
        ask: ask the servers for sizes that nobody knows; a server that does not answer is no error.
        timeout_seconds: of each such question.
    """
    folder = Path(folder)
    receipts = Receipts(folder).all()
    planned = []
    for asset in assets:
        path = folder / asset.name
        url = next(iter(sources_of(asset, mirror)), None)
        if path.is_file() and what_is_wrong(asset, path, receipts.get(asset.name), quick=True) is None:
            size = path.stat().st_size
            planned.append(Planned(asset, "there", size, size, url))
            continue
        come, version = part_of(path)
        planned.append(Planned(asset, "partial" if come else "missing", come, asset.size or version.total, url))
    if not ask:
        return planned
    client = Client(timeout_seconds=timeout_seconds)

    def ask_one(plan: Planned) -> Planned:
        known = plan.size is not None
        return plan if known else replace(plan, size=_size(client, sources_of(plan.asset, mirror)))

    return in_threads(planned, ask_one, _ASK_CONNECTIONS)


def _size(client: Client, sources: Sequence[str]) -> int | None:
    for source in sources:
        try:
            if (path := local_folder(source)) is not None:
                return path.stat().st_size
            headers = client.head(source)
        except (Again, Refused, OSError):
            continue
        length = headers.get("Content-Length", "")
        if length.isascii() and length.isdigit() and headers.get("Content-Encoding", "identity") == "identity":
            return int(length)
    return None

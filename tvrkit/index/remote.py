"""Videos that lie elsewhere (s3://, gs://, https:// …), through fsspec: listed unread, fetched to be encoded.

Imports no torch.
"""

from __future__ import annotations

import hashlib
import posixpath
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from tvrkit.errors import ConfigError, DataError, InstallError, VideoError
from tvrkit.frames.identity import VIDEO_SUFFIXES

_TRIES = 3
_PAUSE_SECONDS = 0.5
_HEADS_AT_ONCE = 16
_HEAD_SECONDS = 30.0
_TIMES = ("LastModified", "mtime", "updated", "last_modified")  # of S3 and the web, sftp, Google, Azure


@dataclass(frozen=True)
class RemoteFile:
    """A video at an address.

    Attributes:
        path: its whole address.
        stamp: what changes when the file does, as far as the listing says.
        modified: time of the last change, seconds since 1970; 0 where the server does not say.
        identity: what its features are kept under. Equal for equal contents where the server names contents (an ETag);
            else that of this address in this state. It is never a local file's `content_hash`: nothing was read.
    """

    path: str
    stamp: str
    modified: float
    identity: str


def is_address(place: str) -> bool:
    """Whether a place is an address, and no local path."""
    return "://" in place


def list_remote(place: str) -> list[RemoteFile]:
    """The videos at or below an address, by suffix, sorted.

    Raises:
        ConfigError: nobody here knows such addresses.
        InstallError: the package for them is missing.
        DataError: it cannot be listed, or nothing is there.
    """
    fs, root = _file_system(place)
    web = place.startswith(("http://", "https://"))
    try:
        # A web server has no folders, only pages of links; a video is not to be read as one.
        found = {} if web and _suffix(place) in VIDEO_SUFFIXES else fs.find(root, detail=True)
        if not found:
            found = {root: fs.info(root)}  # one file; some servers list it as an empty folder
    except FileNotFoundError:
        raise DataError(f"there is nothing at {place}: check the address, and that you may read it.") from None
    except Exception as error:  # each file system has its own
        raise DataError(f"cannot list {place}: {_words(error)}.") from None
    known = {fs.unstrip_protocol(name): info for name, info in found.items() if info.get("type", "file") == "file"}
    wanted = sorted(path for path in known if _suffix(path) in VIDEO_SUFFIXES and not _hidden(path))
    if web:  # a page of links says nothing of the files
        with ThreadPoolExecutor(_HEADS_AT_ONCE) as threads:
            known = dict(zip(wanted, threads.map(_head, wanted), strict=True))
    return [_described(path, known[path]) for path in wanted]


@contextmanager
def fetched(address: str) -> Iterator[Path]:
    """A local copy of one file, for as long as the block lasts.

    Raises:
        VideoError: it cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="tvrkit-") as folder:
        yield _fetch(address, Path(folder))


@contextmanager
def fetched_ahead(addresses: Iterable[str], ahead: int = 4) -> Iterator[Iterator[Path | VideoError]]:
    """Local copies of many files in order, some of them fetched before they are asked for.

    A copy is deleted once `2 * ahead` later ones have been taken: until then its reader may still be at it. Local paths
    among the addresses are given back as they are.

    Args:
        addresses: what to fetch.
        ahead: files fetched at once; so many wait at most.
    """
    with tempfile.TemporaryDirectory(prefix="tvrkit-") as folder, ThreadPoolExecutor(ahead, "tvrkit-fetch") as threads:
        coming = _coming(addresses, Path(folder), threads, ahead)
        try:
            yield coming
        finally:
            coming.close()


def _coming(
    addresses: Iterable[str], folder: Path, threads: ThreadPoolExecutor, ahead: int
) -> Generator[Path | VideoError, None, None]:
    waiting: deque[Future[Path | VideoError]] = deque()
    taken: deque[Path] = deque()

    def give() -> Path | VideoError:
        copy = waiting.popleft().result()
        if isinstance(copy, Path) and copy.is_relative_to(folder):
            taken.append(copy)
            while len(taken) > 2 * ahead:
                _drop(taken.popleft())
        return copy

    try:
        for number, address in enumerate(addresses):
            waiting.append(threads.submit(_fetch_or_error, address, folder / str(number)))
            if len(waiting) > ahead:
                yield give()
        while waiting:
            yield give()
    finally:
        for future in waiting:
            future.cancel()


def _fetch_or_error(address: str, folder: Path) -> Path | VideoError:
    if not is_address(address):
        return Path(address)
    try:
        folder.mkdir()
        return _fetch(address, folder)
    except (VideoError, OSError) as error:
        return error if isinstance(error, VideoError) else VideoError(address, f"cannot be fetched ({_words(error)})")


def _fetch(address: str, folder: Path) -> Path:
    # Its own name stays outside: it may be too long here, or hold what a file system refuses.
    copy = folder / f"video{_suffix(address)}"
    for attempt in range(_TRIES):
        try:
            fs, path = _file_system(address)
            fs.get_file(path, str(copy))
            return copy
        except FileNotFoundError:
            raise VideoError(address, "is not there any more") from None
        except (ConfigError, DataError, InstallError) as error:
            raise VideoError(address, str(error)) from None
        except Exception as error:
            if attempt == _TRIES - 1 or isinstance(error, PermissionError):
                raise VideoError(address, f"cannot be fetched ({_words(error)})") from None
            time.sleep(_PAUSE_SECONDS * 2**attempt)
    raise AssertionError


def _drop(copy: Path) -> None:
    copy.unlink(missing_ok=True)
    copy.parent.rmdir()


def _file_system(address: str) -> tuple[Any, str]:
    """The file system (fsspec) of an address, and the path that it has there."""
    protocol = address.split("://", 1)[0]
    if "::" in address or protocol in ("file", "local", "memory"):
        raise ConfigError(f"{address}: give a plain path for a local file, and one plain address for any other.")
    try:
        import fsspec
    except ImportError:
        raise InstallError(f"reading {protocol}:// needs a package: `pip install 'tvrkit[remote]'`.") from None
    try:
        # Listings are not kept: a server runs for weeks, and videos come and go.
        fs, path = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        raise InstallError(
            f"reading {protocol}:// needs a package ({_words(error)}): `pip install 'tvrkit[remote]'` has those for s3://"
            " and https://."
        ) from None
    except ValueError as error:
        raise ConfigError(f"{address}: {_words(error)}.") from None
    except Exception as error:  # some connect at once
        raise DataError(f"cannot reach {address}: {_words(error)}.") from None
    return fs, path


def _head(address: str) -> dict[str, Any]:
    """What a web server says of a file; nothing where it says nothing: the file itself is asked for later."""
    import urllib3

    try:
        headers = urllib3.request("HEAD", address, timeout=_HEAD_SECONDS, retries=_TRIES).headers
    except urllib3.exceptions.HTTPError:
        return {}
    return {
        "size": headers.get("Content-Length"),
        "ETag": headers.get("ETag"),
        "LastModified": headers.get("Last-Modified"),
    }


def _described(path: str, info: dict[str, Any]) -> RemoteFile:
    size = info.get("size")
    etag = str(info.get("ETag") or info.get("etag") or info.get("md5Hash") or "").strip('"')
    modified = _seconds(next((info[name] for name in _TIMES if info.get(name)), None))
    stamp = f"{size} {etag or modified}"
    known = f"etag {size} {etag}" if etag and not etag.startswith("W/") else f"address {path} {stamp}"
    return RemoteFile(path, stamp, modified, hashlib.blake2b(known.encode(), digest_size=16).hexdigest())


def _seconds(when: Any) -> float:
    if isinstance(when, datetime):
        return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
    if isinstance(when, (int, float)):
        return float(when)
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return _seconds(parse(str(when)))
        except (TypeError, ValueError):
            continue
    return 0.0


def _suffix(address: str) -> str:
    return posixpath.splitext(address.split("?", 1)[0])[1].lower()


def _hidden(address: str) -> bool:
    return any(part.startswith(".") for part in address.split("://", 1)[1].split("/"))


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__

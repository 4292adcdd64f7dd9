"""Files of a Hugging Face repository: from its cache if they are there, else downloaded, else one clear sentence."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tvrkit.errors import WeightsUnavailableError

_TIMEOUT_SECONDS = 10.0

_WAYS_OUT = (
    "connect, or give a local file (`--set model.pretrained=PATH` when training; a folder as `--model`), or copy a"
    " filled cache to {cache}, or name a mirror in HF_ENDPOINT"
)


def fetch(repository: str, names: Sequence[str], *, what: str) -> Path:
    """Path of the first of the named files that the repository has; a download shows its progress on stderr.

    Args:
        repository: `organisation/name`.
        names: file names, best first.
        what: whose files they are, for the error's sentence.

    Raises:
        WeightsUnavailableError: none is cached, and none can be downloaded.
    """
    if (there := cached(repository, names)) is not None:
        return there
    _check_reachable(repository, what)
    for name in names:
        if (downloaded := _download(repository, name, what)) is not None:
            return downloaded
    raise WeightsUnavailableError(
        f"{what}: the repository {repository} at {_endpoint()} has no file {' or '.join(names)}; {_ways_out()}."
    )


def cached(repository: str, names: Sequence[str]) -> Path | None:
    """Path of the first of the named files that the cache has; the hub is not asked."""
    return next((path for name in names if (path := _cached(repository, name)) is not None), None)


def fetch_folder(repository: str, required: str, optional: Sequence[str], *, what: str) -> Path:
    """Folder in the cache that holds `required` and those of `optional` which the repository has.

    Raises:
        WeightsUnavailableError: `required` is not cached and cannot be downloaded.
    """
    folder = fetch(repository, [required], what=what).parent
    for name in optional:
        if _cached(repository, name) is None and not _known_absent(repository, name):
            try:
                fetch(repository, [name], what=what)
            except WeightsUnavailableError:
                continue
    return folder


def _cached(repository: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name)
    return Path(found) if isinstance(found, str) else None


def _known_absent(repository: str, name: str) -> bool:
    # The cache remembers with a marker object that a repository lacks a file.
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name)
    return found is not None and not isinstance(found, str)


def _check_reachable(repository: str, what: str) -> None:
    """Knock once, with a short limit: the hub's own client tries a dead connection for half a minute, silently."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return  # it says so itself, at once
    try:
        with urllib.request.urlopen(urllib.request.Request(_endpoint(), method="HEAD"), timeout=_TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        # The hub's client may know certificates that Python does not: let it try.
        if not isinstance(reason, ssl.SSLError):
            raise _unavailable(repository, what, reason) from None


def _download(repository: str, name: str, what: str) -> Path | None:
    """The file, or None where the repository has none of that name."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, name, etag_timeout=_TIMEOUT_SECONDS))
    except LocalEntryNotFoundError as error:
        raise _unavailable(repository, what, error.__cause__ or error) from None
    except EntryNotFoundError:
        return None
    except Exception as error:  # requests, httpx or httpx2 errors by the hub's version, or a full disk
        raise _unavailable(repository, what, error) from None


def _unavailable(repository: str, what: str, error: object) -> WeightsUnavailableError:
    from huggingface_hub import constants
    from huggingface_hub.utils import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        reason = "its owner asks you to accept a licence first: do so on its page, then run `hf auth login`"
    elif isinstance(error, RepositoryNotFoundError):
        reason = "there is no such repository, or it is private"
    else:
        lines = str(error).strip().splitlines()
        reason = (lines[0] if lines else type(error).__name__).rstrip(".")
        if getattr(constants, "HF_HUB_OFFLINE", False):
            reason = "HF_HUB_OFFLINE is set"
    return WeightsUnavailableError(
        f"{what} must be downloaded from {repository} at {_endpoint()}, and cannot be ({reason}); {_ways_out()}."
    )


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _ways_out() -> str:
    from huggingface_hub import constants

    return _WAYS_OUT.format(cache=constants.HF_HUB_CACHE)

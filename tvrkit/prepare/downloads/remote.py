"""Asking a server for a file: addresses, proxies, who gets the hub's token, and what an answer means.

Two exceptions carry all that can go wrong with one source: `Again` for what may go better in a moment, `Refused` for
what will not.
"""

from __future__ import annotations

import os
import queue
import ssl
import threading
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from tvrkit.prepare.downloads.assets import Asset

if TYPE_CHECKING:
    import urllib3

HUB = "https://huggingface.co"
MAX_REDIRECTS = 10
_TIMEOUTS = 4  # for a name, a connection, redirects and a head together

_MOMENTARY = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524})
_MEANINGS = {
    401: "a login is needed",
    403: "no access",
    404: "no such file",
    410: "taken down",
    429: "too many requests",
    451: "blocked for legal reasons",
}


class Again(Exception):
    """This attempt failed and another one may not; `wait_seconds` is what the server asked for."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(reason)


class NotFound(Again):
    """The server has no address: most often there is no network, or no such server any more."""


class Refused(Exception):
    """This source will not give the file: go to the next one."""


def sources_of(asset: Asset, mirror: str | None) -> tuple[str, ...]:
    """Where to ask for a file, in order: `mirror`/NAME first; huggingface.co by what HF_ENDPOINT names instead."""
    endpoint = hub_endpoint()
    own = tuple(endpoint + url[len(HUB) :] if url.startswith(HUB + "/") else url for url in asset.urls)
    if not mirror:
        return own
    local = local_folder(mirror)
    first = str(local / asset.name) if local else f"{mirror.rstrip('/')}/{quote(asset.name)}"
    return (first, *own)


def hub_endpoint() -> str:
    """Where the model hub is asked: HF_ENDPOINT, or its own address."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def local_folder(address: str) -> Path | None:
    """The folder or file that an address means on this machine (a path or file://), or None for http(s)."""
    parts = urlsplit(address)
    if parts.scheme in ("http", "https"):
        return None
    return Path(unquote(parts.path)) if parts.scheme == "file" else Path(address).expanduser()


def shown(source: str) -> str:
    """A source as messages name it: the host, or the path; never what may hold a password or a signature."""
    if local_folder(source) is not None:
        return source
    parts = urlsplit(source)
    host = parts.hostname or "?"
    return f"{host}:{parts.port}" if parts.port else host


class Client:
    """Connections to servers, for any number of threads; redirects lose the token, the environment names proxies."""

    def __init__(self, *, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds

    def head(self, url: str) -> Mapping[str, str]:
        """The headers of a file, without the file.

        Raises:
            Again, Refused: there is none to be had.
        """
        response = self._ask("HEAD", url, {})
        response.release_conn()
        if response.status != 200:
            raise status_failure(response)
        return response.headers

    def get(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer to a GET, its body not yet read, whatever its status.

        Raises:
            Again: no answer; another try may get one.
            Refused: none is to be expected.
        """
        return self._ask("GET", url, headers)

    def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer's head, in time: a time-out is of one read, and a server may send a header byte by byte.

        So a thread asks, and is left to itself where it takes too long; it has nothing to write to.
        """
        answers: queue.SimpleQueue[urllib3.BaseHTTPResponse | Exception] = queue.SimpleQueue()
        late = threading.Event()

        def run() -> None:
            try:
                response = self._request(method, url, headers)
            except Exception as error:
                answers.put(error)
                return
            answers.put(response)
            if late.is_set():
                response.close()

        threading.Thread(target=run, daemon=True).start()
        try:
            answer = answers.get(timeout=_TIMEOUTS * self._timeout_seconds)
        except queue.Empty:
            late.set()
            raise Again("no answer in time") from None
        if isinstance(answer, Exception):
            raise connection_failure(answer) from None
        return answer

    def _request(self, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        import urllib3

        only_redirects = urllib3.Retry(
            total=None, connect=0, read=0, status=0, other=0, redirect=MAX_REDIRECTS, respect_retry_after_header=False
        )
        address = urllib3.util.parse_url(url)
        clean = address._replace(auth=None).url
        return self._pool_for(clean).request(
            method,
            clean,
            headers={**self._headers(url, address.auth), **headers},
            timeout=urllib3.Timeout(connect=self._timeout_seconds, read=self._timeout_seconds),
            retries=only_redirects,
            preload_content=False,
            decode_content=False,
        )

    def _headers(self, url: str, auth: str | None) -> dict[str, str]:
        import urllib3

        # A compressed body has other bytes and another length than the file: ranges of it mean nothing.
        headers = {"User-Agent": _user_agent(), "Accept-Encoding": "identity", "Accept": "*/*"}
        if auth:
            headers.update(urllib3.make_headers(basic_auth=unquote(auth)))
        elif _origin(url) == _origin(hub_endpoint()):
            if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
                raise Refused("HF_HUB_OFFLINE is set")
            from huggingface_hub import get_token

            if token := get_token():
                headers["Authorization"] = f"Bearer {token}"
        return headers

    def _pool_for(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = getproxies().get(parts.scheme)
        return self._proxied(proxy) if proxy and not proxy_bypass(parts.netloc) else self._direct

    @cached_property
    def _direct(self) -> urllib3.PoolManager:
        import urllib3

        return urllib3.PoolManager(maxsize=16, **_certificates())

    def _proxied(self, proxy: str) -> urllib3.PoolManager:
        import urllib3

        address = proxy if "://" in proxy else f"http://{proxy}"
        auth = urllib3.util.parse_url(address).auth
        headers = urllib3.make_headers(proxy_basic_auth=unquote(auth)) if auth else None
        return urllib3.ProxyManager(address, proxy_headers=headers, maxsize=16, **_certificates())


def status_failure(response: urllib3.BaseHTTPResponse) -> Again | Refused:
    """What a status that brings no file means."""
    status = response.status
    words = f"status {status}" + (f", {_MEANINGS[status]}" if status in _MEANINGS else "")
    if status not in _MOMENTARY:
        return Refused(words)
    return Again(words, retry_after(response.headers))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After asks for, as a number or as a date."""
    from urllib3 import Retry
    from urllib3.exceptions import InvalidHeader

    value = headers.get("Retry-After")
    try:
        return Retry().parse_retry_after(value) if value else None
    except (InvalidHeader, ValueError, OverflowError):
        return None


def connection_failure(error: Exception) -> Exception:
    """What an exception on the way means, in a few words; what is not the network's is given back as it is."""
    from urllib3 import exceptions as http

    if isinstance(error, (Again, Refused)):
        return error
    if isinstance(error, http.MaxRetryError) and error.reason is not None:
        error = error.reason
    if isinstance(error, http.NameResolutionError):
        return NotFound("its name cannot be resolved")
    for kind, words in _FAILURES.items():
        if isinstance(error, getattr(http, kind)):
            return Again(words)
    if isinstance(error, http.SSLError):
        return Refused(f"its certificate is not accepted ({_first_line(error)})")
    if isinstance(error, http.ResponseError):
        return Refused("it redirects without end")
    if isinstance(error, (http.LocationValueError, UnicodeError)):
        return Refused("it leads to an address that is not http(s)")
    if isinstance(error, http.ProxyError):
        return Again(f"the proxy does not answer ({_first_line(error)})")
    if isinstance(error, (http.HTTPError, OSError)):
        return Again(f"the connection broke ({_first_line(error)})")
    return error


# In this order: the first that fits. By name, because urllib3 is loaded only when something is downloaded.
_FAILURES = {
    "NewConnectionError": "no connection",
    "ConnectTimeoutError": "no connection in time",
    "ReadTimeoutError": "it stopped sending",
    "IncompleteRead": "the connection broke",
    "ProtocolError": "the connection broke",
}


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__


def _user_agent() -> str:
    # By name: the package's own module knows of floors above this one.
    return f"tvrkit/{import_module('tvrkit').__version__}"


def _origin(url: str) -> tuple[str | None, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _certificates() -> dict[str, Any]:
    """Nothing where Python knows the system's certificates; where it does not (macOS, from python.org), certifi's."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath or os.name == "nt":
        return {}
    certifi: Any = import_module("certifi")  # comes with the hub's client
    return {"ca_certs": certifi.where()}

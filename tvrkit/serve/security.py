"""Who may ask what: names, origins, tokens, how much at once; and what browsers are told about the answers."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tvrkit.serve.answers import refuse
from tvrkit.serve.refusal import Refusal, busy
from tvrkit.serve.settings import Settings

MOST_RUNNING = 128
MOST_WRONG_TOKENS = 10  # a minute, of one address
_MOST_ADDRESSES = 1000

# What shows nothing of the index: the page has to load before it can know the token, which stands behind the #.
_OPEN = ("/", "/page", "/healthz", "/openapi.json")

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def session_cookie(token: str, port: int) -> tuple[str, str]:
    """Name and value of the cookie that stands for the token: the token itself is never in it.

    Cookies of one name go to every port of a machine, hence the port in the name.
    """
    return f"tvrkit-{port}", hmac.new(token.encode(), b"tvrkit session", hashlib.sha256).hexdigest()


class Guard:
    """Lets requests through to the app, or refuses them, and puts the same headers on every answer."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.names)}
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        begun = False  # from here on an answer waits for its reader only, and a paused video must not shut others out

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                self._running -= not begun
                begun = True
            await send(message)

        self._running += 1
        try:
            self._check(scope)
            await self._app(scope, receive, send_with_headers)
        except Refusal as refusal:
            if scope["method"] not in ("GET", "HEAD"):
                refusal.headers["Connection"] = "close"  # its body will not be read
            await refuse(refusal)(scope, receive, send_with_headers)
        finally:
            self._running -= not begun

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers)
        self._check_origin(scope["method"], headers)
        if self._settings.token is not None and not _is_open(scope["path"]):
            self._check_token(self._settings, scope, headers)
        if self._running > MOST_RUNNING:
            raise busy()

    def _check_host(self, headers: Headers) -> None:
        """Refuse names that are not ours: a stranger's page whose name was made to lead here has its own in Host."""
        hosts = headers.getlist("host")
        name = _name(hosts[0]) if len(hosts) == 1 else ""
        # No name can be made to lead elsewhere where the address itself was asked for.
        if name in self._names or _is_address(name):
            return
        raise Refusal(
            400,
            f"this server does not go by the name {ascii(name[:100])}: start it with `--allow-host NAME` if it should."
            if name
            else "the request names no host, or several.",
        )

    def _check_origin(self, method: str, headers: Headers) -> None:
        """Refuse what another site's page had a browser send."""
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            raise Refusal(403, "requests of other sites' pages are not answered.")
        origin = headers.get("origin")
        if origin is None or method in ("GET", "HEAD"):
            return
        if origin.partition("://")[2].lower() != headers["host"].lower():
            raise Refusal(403, "requests of other sites' pages are not answered.")

    def _check_token(self, settings: Settings, scope: Scope, headers: Headers) -> None:
        token, client = settings.token or "", (scope.get("client") or ("",))[0]
        given = headers.get("authorization", "")
        kind, _, shown = given.partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(shown.strip().encode("latin-1"), token.encode()):
            return
        name, value = session_cookie(token, settings.port)
        cookie = _cookie(headers, name)
        if (
            not given
            and cookie is not None
            and hmac.compare_digest(cookie.encode("latin-1", "replace"), value.encode())
        ):
            return
        challenge = {"WWW-Authenticate": 'Bearer realm="tvrkit"'}
        if not given and cookie is None:
            raise Refusal(401, "this server wants its token: send `Authorization: Bearer TOKEN`.", challenge)
        self._count_wrong(client)
        raise Refusal(401, "that is not this server's token.", challenge)

    def _count_wrong(self, client: str) -> None:
        now = time.monotonic()
        times = [when for when in self._wrong.pop(client, []) if now - when < 60]
        if len(times) >= MOST_WRONG_TOKENS:
            self._wrong[client] = times
            raise Refusal(429, "too many wrong tokens: wait a minute.", {"Retry-After": "60"})
        self._wrong[client] = [*times, now]
        while len(self._wrong) > _MOST_ADDRESSES:
            self._wrong.popitem(last=False)


def _is_open(path: str) -> bool:
    return path in _OPEN or (path.startswith("/page") and path.count("/") == 1)


def _name(host: str) -> str:
    """The name of a Host header, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0].rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _cookie(headers: Headers, name: str) -> str | None:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return morsel.value if morsel else None

"""Where a server listens. Imports no torch: an address that cannot be had is told of before anything is loaded."""

from __future__ import annotations

import socket

from tvrkit.errors import ConfigError
from tvrkit.serve.settings import Settings, is_loopback


def listen(settings: Settings) -> socket.socket:
    """A socket at the address of some settings.

    Raises:
        ConfigError: there is no such address here, or somebody else listens there.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, proto)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(256)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {settings.host} port {settings.port} ({error.strerror or error}): give another --port,"
            " or --port 0 for any free one."
        ) from None
    return listening


def own_names(settings: Settings) -> frozenset[str]:
    """Names that the machine has itself, where others reach it."""
    return frozenset() if is_loopback(settings.host) else frozenset({socket.gethostname().lower()})


def address(settings: Settings) -> str:
    """What to open in a browser; the token stands behind the #, which browsers keep to themselves."""
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(settings.host, settings.host)
    token = f"#token={settings.token}" if settings.token else ""
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/{token}"

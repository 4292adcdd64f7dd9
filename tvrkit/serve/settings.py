"""What a server is started with, checked."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field

from tvrkit.errors import ConfigError

LEAST_TOKEN = 16
AUTO = "auto"


@dataclass(frozen=True)
class Settings:
    """Where the server listens, and whom it answers.

    Attributes:
        host: address or name to listen at.
        port: 0 takes a free one.
        token: what requests have to show; None lets everybody in who reaches it.
        names: further names that it may be called by, in the Host header.
        batching: whether searches that wait together are answered together.
    """

    host: str = "127.0.0.1"
    port: int = 8600
    token: str | None = None
    names: frozenset[str] = field(default_factory=frozenset)
    batching: bool = True

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} can be reached by others: give --token auto (or $TVRKIT_TOKEN), or leave out"
                " --host to serve this machine alone."
            )
        if self.token is not None and (
            len(self.token) < LEAST_TOKEN
            or not all(c.isalnum() or c in "-._~+/=" for c in self.token)
            or not self.token.isascii()
        ):
            raise ConfigError(
                f"a token has at least {LEAST_TOKEN} characters, all of them letters, digits or -._~+/=; --token auto"
                " makes one."
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)

"""The process: a socket, signals, and an end that lets requests finish."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn

from tvrkit.serve.app import make_app
from tvrkit.serve.listening import address, listen, own_names
from tvrkit.serve.service import Service
from tvrkit.serve.settings import Settings
from tvrkit.serve.state import Opened

_FINISH_SECONDS = 10
_MOST_CONNECTIONS = 512
_ENDS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """uvicorn's, which would end the process by the signal that asked it to stop."""

    asked_by: int | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at a signal, and remember which."""
        if threading.current_thread() is not threading.main_thread():  # only that one can
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in _ENDS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True  # asked twice: do not wait
        self.should_exit = True
        self.asked_by = self.asked_by or number


def make_server(service: Service) -> Server:
    """A server around a service that was entered; `run([socket])` answers until a signal."""
    return Server(
        uvicorn.Config(
            make_app(service),
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_FINISH_SECONDS,
        )
    )


def run(open_index: Callable[[], Opened], settings: Settings, cache: Path, ready: Callable[[str], None]) -> int | None:
    """Answer requests until a signal asks to stop; then let those under way finish, for some seconds.

    Args:
        open_index: gives the model and the index; called in another thread.
        settings: where to listen and whom to answer.
        cache: folder for what can be made again.
        ready: told the address when requests are answered.

    Returns:
        The signal.

    Raises:
        ConfigError: the address cannot be listened at.
        TvrkitError: what `open_index` raised.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what strangers send is no news
    with listen(settings) as listening:
        settings = replace(settings, port=listening.getsockname()[1], names=settings.names | own_names(settings))
        with Service(open_index, settings, cache) as service:
            server = make_server(service)
            ready(address(settings))
            server.run([listening])
            return server.asked_by

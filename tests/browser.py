"""A real browser without a window, and a proxy that notes what it asks for."""

from __future__ import annotations

import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-extensions --hide-scrollbars --enable-logging=stderr"
).split()


class Proxy(socketserver.ThreadingTCPServer):
    """Notes who asks for what, and gives nothing."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                proxy.asked.append(self.rfile.readline().decode("latin-1").strip())

        super().__init__(("127.0.0.1", 0), Handler)

    def asked_by_page(self) -> list[str]:
        """Without what Chrome asks its maker whatever page it shows, and connections that ask nothing."""
        return [line for line in self.asked if line and "google" not in line]


@contextmanager
def running_proxy() -> Iterator[Proxy]:
    """A proxy that listens until the end of the block."""
    with Proxy() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def browse(page: Path, profile: Path, proxy: Proxy, *flags: str) -> subprocess.CompletedProcess[str]:
    """Open a page; its console goes to stderr as lines with the word CONSOLE."""
    return subprocess.run(
        [
            str(BROWSER),
            *_FLAGS,
            f"--user-data-dir={profile}",
            f"--proxy-server=127.0.0.1:{proxy.server_address[1]}",
            *flags,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=True,
    )

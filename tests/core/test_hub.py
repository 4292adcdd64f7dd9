from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import clean_environment

WEIGHTS = bytes(range(256)) * 4096
FILES = {
    "/timm/small/resolve/main/open_clip_pytorch_model.bin": WEIGHTS,
    "/timm/small/resolve/main/tokenizer_config.json": b"{}",
    "/timm/small/resolve/main/tokenizer.json": b'{"a": 1}',
}


class _Hub(BaseHTTPRequestHandler):
    """As much of a Hugging Face hub as downloading a file asks for."""

    asked: list[str] = []

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        content = FILES.get(self.path)
        self.send_response(404 if content is None else 200)
        if content is None:
            known = self.path.startswith("/timm/small/")
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            content = b""
        else:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    _Hub.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(
    home: Path, endpoint: str, call: str, stderr: int = subprocess.PIPE, first: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """In a fresh process: the hub's settings are read when it is imported. No torch, so it starts at once."""
    env = clean_environment(home, HF_ENDPOINT=endpoint, **environment)
    if "HF_HUB_OFFLINE" not in environment:
        del env["HF_HUB_OFFLINE"]
    code = first + (
        "import importlib.util as u, sys, types\n"
        # tvrkit.core imports torch; its hub module does not need it.
        "sys.modules['tvrkit.core'] = types.ModuleType('tvrkit.core')\n"
        f"spec = u.spec_from_file_location('tvrkit.core.hub', {str(HUB)!r})\n"
        "hub = u.module_from_spec(spec); spec.loader.exec_module(hub)\n"
        "from tvrkit.errors import TvrkitError\n"
        f"try: print(hub.{call})\n"
        "except TvrkitError as error: print(type(error).__name__ + ': ' + str(error)); sys.exit(1)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=120, check=False)


HUB = Path(__file__).parents[2] / "tvrkit" / "core" / "hub.py"
SMALL = "fetch('timm/small', ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin'], what='the weights')"


def test_downloads_once(tmp_path: Path, hub: str) -> None:
    done = fetch(tmp_path, hub, SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    path = Path(done.stdout.strip())  # nothing else stands there
    assert path.read_bytes() == WEIGHTS
    assert path.is_relative_to(tmp_path)

    _Hub.asked.clear()
    again = fetch(tmp_path, hub, SMALL)
    assert (again.stdout, again.stderr, _Hub.asked) == (done.stdout, "", [])
    offline = fetch(tmp_path, "http://127.0.0.1:9", SMALL, HF_HUB_OFFLINE="1")
    assert offline.stdout == done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_shows_the_download_on_stderr(tmp_path: Path, hub: str) -> None:
    import contextlib
    import fcntl
    import os
    import pty
    import struct
    import termios

    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    done = fetch(tmp_path, hub, SMALL, stderr=end)
    os.close(end)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    assert done.stdout.count("\n") == 1
    assert b"open_clip_pytorch_model.bin" in shown and b"100%" in shown


def test_a_folder_of_what_there_is(tmp_path: Path, hub: str) -> None:
    call = "fetch_folder('timm/small', 'tokenizer_config.json', ['vocab.txt', 'tokenizer.json'], what='a tokenizer')"
    done = fetch(tmp_path, hub, call)
    assert done.returncode == 0, done.stdout
    assert sorted(p.name for p in Path(done.stdout.strip()).iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


def test_a_refused_connection_is_told_at_once(tmp_path: Path) -> None:
    # huggingface_hub's own retries sleep 23 s in all before they give up.
    awake = "import sys, time\ntime.sleep = lambda seconds: sys.exit('it waits')\n"
    done = fetch(tmp_path, "http://127.0.0.1:9", SMALL, first=awake)
    assert done.returncode == 1
    assert done.stdout.startswith(
        "WeightsUnavailableError: the weights must be downloaded from timm/small at http://127.0.0.1:9, and cannot be ("
    )
    assert "refused" in done.stdout
    # The ways out: a local file, the cache to fill, a mirror.
    assert "model.pretrained=PATH" in done.stdout
    assert str(tmp_path / ".cache" / "huggingface" / "hub") in done.stdout
    assert "HF_ENDPOINT" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_offline_mode_is_told(tmp_path: Path, hub: str) -> None:
    done = fetch(tmp_path, hub, SMALL, HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "WeightsUnavailableError" in done.stdout and "HF_HUB_OFFLINE is set" in done.stdout
    assert _Hub.asked == []


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("fetch('timm/small', ['other.bin'], what='w')", "has no file other.bin"),
        ("fetch('nobody/nothing', ['other.bin'], what='w')", "there is no such repository, or it is private"),
    ],
)
def test_what_the_hub_lacks_is_told(tmp_path: Path, hub: str, call: str, reason: str) -> None:
    done = fetch(tmp_path, hub, call)
    assert done.returncode == 1
    assert reason in done.stdout
    assert done.stdout.count("\n") == 1

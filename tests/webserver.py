"""A folder behind a real web server, and a real S3 endpoint (moto's), both on loopback."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a folder; its address ends in a slash."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def s3_server(log: Path) -> Iterator[dict[str, str]]:
    """An S3 endpoint in a process of its own; the environment that leads every client to it."""
    with log.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stdout=words, stderr=words
        )
    try:
        address = _address(log, process)
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
    finally:
        process.kill()
        process.wait()


def put(environment: dict[str, str], bucket: str, files: dict[str, Path]) -> None:
    """Make a bucket with some files, by plain HTTP."""
    base = environment["AWS_ENDPOINT_URL"]
    for path, data in {bucket: b"", **{f"{bucket}/{name}": file.read_bytes() for name, file in files.items()}}.items():
        request = urllib.request.Request(f"{base}/{path}", data=data or None, method="PUT")
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request")
        request.add_header("Content-Type", "application/octet-stream")
        urllib.request.urlopen(request).close()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    for _ in range(600):
        for line in log.read_text(errors="replace").splitlines():
            if "Running on http://" in line:
                return "http://" + line.split("Running on http://")[1].split()[0]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(log.read_text(errors="replace"))

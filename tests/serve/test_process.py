"""`tvrkit serve` as a user starts, stops and kills it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from support import clean_environment, run_tvrkit


@contextmanager
def started(*arguments, cwd, **environment):
    """The process, its address, and what it has said so far."""
    said = cwd / "said"
    with said.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", "tvrkit", "serve", "--port", "0", *map(str, arguments)],
            cwd=cwd, env=clean_environment(cwd, **environment), stdin=subprocess.DEVNULL, stdout=words, stderr=words,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 300
            while not (match := re.search(r"Serving at (http\S+)", said.read_text())):
                assert process.poll() is None and time.monotonic() < deadline, said.read_text()
                time.sleep(0.05)
            yield process, match[1], said
        finally:
            process.kill()
            process.wait()


def get(address, body=None, **headers):
    request = urllib.request.Request(address, body, {name.replace("_", "-"): value for name, value in headers.items()})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def search(address, **more):
    return get(f"{address}api/search", json.dumps({"query": "a dog"}).encode(), **more)


@pytest.mark.slow
def test_from_a_folder_to_an_answer_and_a_graceful_end(built, tmp_path):
    shutil.copytree(built.clips, tmp_path / "clips")
    with started(tmp_path / "clips", "--model", built.model_folder, cwd=tmp_path) as (process, address, said):
        assert address.startswith("http://127.0.0.1:")
        found = search(address)
        assert len(found["hits"]) == found["videos"] > 3
        # A first preview takes a while; the server is asked to stop meanwhile, and answers it all the same.
        clip = f"{address}api/videos/{found['hits'][0]['video']}/clip?start=0&end=1"
        sizes = []
        client = threading.Thread(target=lambda: sizes.append(len(urllib.request.urlopen(clip, timeout=120).read())))
        client.start()
        while 'route="clip"' not in (page := urllib.request.urlopen(f"{address}metrics").read().decode()):
            if "tvrkit_requests_running 2.0" in page:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        client.join()
        assert sizes and sizes[0] > 1000
        assert said.read_text().endswith("Stopped.\n")
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(address, timeout=120)


@pytest.mark.slow
def test_kills_and_what_is_found_afterwards(built, tmp_path):
    with started("--index", built.index, cwd=tmp_path) as (process, address, _):
        before = search(address)["hits"]
        video = before[0]["video"]
        urllib.request.urlopen(f"{address}api/videos/{video}/thumbnail").read()
        threading.Thread(target=_ignore, args=(f"{address}api/videos/{video}/clip?start=0&end=1",), daemon=True).start()
        time.sleep(0.3)
        process.kill()
        process.wait()
    with started("--index", built.index, "--token", "auto", cwd=tmp_path) as (process, address, _):
        address, _, token = address.partition("#token=")
        assert len(token) == 32
        with pytest.raises(urllib.error.HTTPError, match="401"):
            search(address)
        assert search(address, Authorization=f"Bearer {token}")["hits"] == before
        port = address.rstrip("/").rpartition(":")[2]
        done = run_tvrkit("serve", "--index", built.index, "--port", port, cwd=tmp_path)
        assert done.code == 2 and f"port {port}" in done.stderr and "--port 0" in done.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
    left = (
        [path for path in (tmp_path / "cache").rglob("*") if path.name.endswith(".tmp")]
        if (tmp_path / "cache").exists()
        else []
    )
    assert len(left) <= 1  # of the preview that was being written


def _ignore(address):
    try:
        urllib.request.urlopen(address, timeout=120).read()
    except OSError:
        pass


@pytest.mark.slow
def test_what_cannot_be_served(built, tmp_path):
    for arguments, code, words in (
        (["--host", "0.0.0.0", "--index", built.index], 2, "--token auto"),
        (["--token", "short", "--index", built.index], 2, "at least 16"),
        (["--index", tmp_path / "nothing", "--model", built.model_folder], 1, "tvrkit index"),
    ):
        done = run_tvrkit("serve", *arguments, cwd=tmp_path)
        assert done.code == code, done.stderr
        assert words in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


def test_without_the_extra_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    from tvrkit.cli import serve
    from tvrkit.errors import InstallError

    there = serve.importlib.util.find_spec
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else there(name))
    with pytest.raises(InstallError, match=r"uvicorn.*pip install .*tvrkit\[serve\]"):
        serve._require_extra()

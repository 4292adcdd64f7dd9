"""`tvrkit doctor` does the real things, and says what to do about each fault."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections import namedtuple

import pytest
from support import clean_environment, run_tvrkit

from tvrkit.cli import checks

NAMES = [
    "python", "torch", "torchvision", "open_clip", "built-in files", "video encoder", "reader av", "reader decord",
    "key words", "this folder", "cache", "model hub", "extra tensorboard", "extra wandb", "extra hf",
]  # fmt: skip


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return run_tvrkit("doctor", "--json", cwd=tmp_path_factory.mktemp("doctor"))


def test_a_healthy_installation(healthy):
    report = json.loads(healthy.stdout)
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert healthy.code == 0, healthy.stderr
    assert report["ok"] is True
    assert list(states) == NAMES
    needed = ["torch", "torchvision", "open_clip", "built-in files", "video encoder", "reader av", "key words", "cache"]
    assert {states[name] for name in needed} == {"ok"}
    assert states["reader decord"] in ("ok", "absent")
    assert states["model hub"] == "warning"  # switched off for tests


def test_every_fault_has_its_advice(healthy):
    for check in json.loads(healthy.stdout)["checks"]:
        absent = check["name"] == "extra hf" and check["state"] != "ok"
        assert bool(check["advice"]) == (check["state"] in ("warning", "failed") or absent)


def test_a_cache_that_cannot_be_written(run_cli, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    result = run_cli("doctor", env={"TVRKIT_CACHE": str(tmp_path / "file/cache")})
    assert result.code == 1
    assert "cache: make it writable, or set TVRKIT_CACHE to another folder." in result.stderr
    assert "failed" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize(("reader", "state"), [("av", "failed"), ("decord", "warning")])
def test_a_reader_that_cannot_read(tmp_path, reader, state):
    pytest.importorskip(reader)
    clip = tmp_path / "clip.mp4"
    checks.check_encoder(clip)
    assert checks.check_reader(reader, clip).state == "ok"
    clip.write_bytes(b"\0" * 2000)
    check = checks._guarded(f"reader {reader}", lambda: checks.check_reader(reader, clip))
    assert check.state == state
    assert check.advice


@pytest.mark.parametrize(("free", "state"), [(0.2e9, "failed"), (3e9, "warning"), (30e9, "ok")])
def test_room_on_the_disk(tmp_path, monkeypatch, free, state):
    usage = namedtuple("usage", "total used free")(100e9, 100e9 - free, free)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    assert checks.check_folder("cache", tmp_path / "new", "go elsewhere").state == state


def hub_state(folder, endpoint):
    env = clean_environment(folder, HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="0", NO_PROXY="127.0.0.1")
    code = "from tvrkit.cli.checks import check_hub; check = check_hub(); print(check.state, check.found)"
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout.split()[0]


class Hub(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(404)
        self.end_headers()

    def log_message(self, *words):
        pass


def test_the_hub_answers_or_not(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert hub_state(tmp_path, address) == "ok"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert hub_state(tmp_path, address) == "warning"

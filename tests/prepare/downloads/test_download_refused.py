"""What never becomes a file: refusals, stalls, lies, and pages instead of archives."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from prepare.downloads.broken_server import Fault, serving
from prepare.downloads.fetching import (
    BODY,
    PATH,
    Listener,
    asset,
    dead_port,
    fetch,
    is_whole,
    sentence,
    zip_of,
)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=403), "status 403, no access"),
        (Fault(status=404), "status 404, no such file"),
        (Fault(status=410), "status 410, taken down"),
        (Fault(status=500), "status 500, 3 times"),
        (Fault(status=503, retry_after="7200"), "it asks to wait 7200 s"),
        (Fault(announce=60_000), "the connection broke"),
        (Fault(announce=60_000, ranges=False), "the connection broke, 3 times"),
        (Fault(cut=20_000, ranges=False), "the connection broke, 3 times"),
        (Fault(redirect="/data/a.bin"), "it redirects without end"),
        (Fault(redirect="file:///etc/passwd"), "an address that is not http(s)"),
        (Fault(redirect="ftp://127.0.0.1/a"), "an address that is not http(s)"),
    ],
    ids=str,
)
def test_a_source_that_does_not_give_the_file_is_named_with_its_reason(
    tmp_path: Path, fault: Fault, words: str
) -> None:
    with serving({PATH: BODY}) as site:
        site.then[PATH] = fault
        text = sentence(fetch(tmp_path, asset(site.url + PATH)))
        assert words in text and f"127.0.0.1:{site.url.rpartition(':')[2]}" in text and "--from DIR" in text
        if fault.status in (403, 404, 410):
            assert len(site.asked(PATH)) == 1
    assert not (tmp_path / "a.bin").exists()


def test_a_server_that_nobody_knows_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object, **_more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # what a machine without a network does
    fetched = fetch(tmp_path, asset("http://nobody.example/a.bin"), retries=50, backoff_seconds=0.01)
    assert "its name cannot be resolved, 2 times" in sentence(fetched)


def test_every_source_is_tried_and_named(tmp_path: Path) -> None:
    with serving({"/z/a.bin": BODY}, {}) as site, dead_port() as dead:
        site.then = {"/x": Fault(status=410), "/z/a.bin": Fault(page=True)}
        urls = (f"{site.url}/x", f"http://127.0.0.1:{dead}/y", "http://no-such-host.invalid/y")
        text = sentence(fetch(tmp_path, asset(*urls, holds="annotations"), mirror=site.url + "/z/"))
    assert "a web page came instead of the file; " in text
    assert "410" in text and f"127.0.0.1:{dead}: no connection, 3 times" in text and "no-such-host.invalid: " in text
    assert "--annotations DIR" in text and "--mirror URL" in text
    assert list(tmp_path.iterdir()) == []


def test_a_stalled_connection_is_broken_off_and_gone_on_with(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(pause=1000.0), Fault(drip=0.05)]}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH), timeout_seconds=1.0, retries=5))
        assert [headers.get("range", "bytes=0-") for headers in site.asked(PATH)][1] == "bytes=25000-"


def test_servers_that_only_stall_or_drip_are_given_up(tmp_path: Path) -> None:
    for fault, words in (
        (Fault(pause=1000.0, status=200), "it stopped sending"),
        (Fault(drip=0.05), "less than 1 kB a se"),
    ):
        with serving({PATH: BODY}) as site:
            site.then[PATH] = fault
            text = sentence(fetch(tmp_path, asset(site.url + PATH), timeout_seconds=0.2, retries=1))
            assert words in text


def test_a_head_that_never_ends_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, over = server.getsockname()[1], threading.Event()

        def drip() -> None:
            try:
                with server.accept()[0] as connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                    while not over.wait(0.05):
                        connection.sendall(b"a")
            except OSError:
                pass

        threads = [threading.Thread(target=drip, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        wanted = asset(f"http://127.0.0.1:{port}/a", size=9)
        assert "no answer in time" in sentence(fetch(tmp_path, wanted, timeout_seconds=0.1, retries=1))
        over.set()
        for thread in threads:
            thread.join()


def test_a_body_that_breaks_off_without_an_announced_length_is_not_taken(tmp_path: Path) -> None:
    archive = zip_of({"clip.mp4": BODY})
    for name, body in (("a.zip", archive), ("a.json", json.dumps(list(range(5000))).encode())):
        with serving({"/a": body}, {"/a": [Fault(length=False, cut=9_000)]}) as site:
            site.then["/a"] = Fault(length=False)
            text = sentence(fetch(tmp_path, asset(site.url + "/a", name=name)), name)
            assert "end" in text or "no whole JSON" in text
            fetched = fetch(tmp_path, asset(site.url + "/a", name=name))
            assert fetched.paths[name].read_bytes() == body


def test_where_nobody_can_tell_whether_it_is_whole_the_user_is_told(tmp_path: Path) -> None:
    listener = Listener()
    with serving({PATH: BODY}) as site:
        site.then[PATH] = Fault(length=False)
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH), watcher=listener))
    assert len(listener.words) == 1 and "did not say how long it is" in listener.words[0]


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"size": 50_001}, "it announces 50,000 bytes where the file has 50,001"),
        ({"sha256": "0" * 64}, "what came has another checksum"),
    ],
)
def test_another_size_or_checksum_than_the_known_one_is_refused(tmp_path: Path, known: dict, words: str) -> None:
    with serving({PATH: BODY}) as site:
        assert words in sentence(fetch(tmp_path, asset(site.url + PATH, **known)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("a.zip", b"<!DOCTYPE html><html>too many downloads</html>", "a web page"),
        ("a.csv", b'\n <?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
        ("a.zip", b"PK\x03\x04 and then nothing", "no end"),
        ("a.tar", b"x" * 2000, "no .tar file"),
        ("a.tar.gz", b"not packed", "no .gz file"),
        ("a.json", b'{"sentences": [', "no whole JSON"),
        ("a.mp4", b"", "an empty file"),
    ],
)
def test_what_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, body: bytes, words: str) -> None:
    with serving({"/a": body}) as site:
        assert words in sentence(fetch(tmp_path, asset(site.url + "/a", name=name)), name)
    assert list(tmp_path.iterdir()) == []


def test_json_lines_and_an_empty_zip_are_what_their_names_say(tmp_path: Path) -> None:
    with serving({"/a.json": b'{"a": 1}\n{"a": 2}\n', "/a.zip": zip_of({})}) as site:
        assert fetch(tmp_path, *(asset(site.url + "/" + n, name=n) for n in ("a.json", "a.zip"))).failures == {}

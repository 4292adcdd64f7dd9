"""Downloads against a real server that goes wrong in every way that servers do."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepare.broken_server import Fault, serving
from support import REPO, clean_environment

from tvrkit.errors import DataError
from tvrkit.prepare.assets import Asset, assets_of
from tvrkit.prepare.download import Fetched, download_all, plan_downloads, verify_downloads
from tvrkit.prepare.receipts import RECEIPTS_NAME
from tvrkit.reporting import Silent

BODY = random.Random(7).randbytes(50_000)
OTHER = random.Random(8).randbytes(50_000)
PATH = "/data/a.bin"


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.bars: list[list] = []

    @contextmanager
    def progress(self, description, total=None):
        self.bars.append([description, total, 0])
        yield self

    def advance(self, n=1):
        self.bars[-1][2] += n

    def warn(self, text):
        self.words.append(text)


def asset(*urls: str, name: str = "a.bin", **more) -> Asset:
    return Asset(name, more.pop("holds", "videos"), urls, **more)


def fetch(folder: Path, *assets: Asset, **more) -> Fetched:
    """Download with little patience, so that a test of failures takes no seconds."""
    settings = {"retries": 2, "timeout_seconds": 5.0, "backoff_seconds": 0.001, **more}
    return download_all(assets, folder, **settings)


def is_whole(folder: Path, fetched: Fetched, body: bytes = BODY, name: str = "a.bin") -> bool:
    """The file is there to the byte, nothing else was left, and nothing failed."""
    left = sorted(entry.name for entry in folder.iterdir())
    return (
        fetched.failures == {}
        and fetched.paths[name].read_bytes() == body
        and left == sorted([name, RECEIPTS_NAME])
        and verify_downloads(folder) == []
    )


def sentence(fetched: Fetched, name: str = "a.bin") -> str:
    """The one failure, checked to be a sentence."""
    assert fetched.paths == {}
    (text,) = (fetched.failures[name],)
    assert fetched.reasons[name] in text
    assert text.startswith(name) and text.endswith(".") and "\n" not in text and "Traceback" not in text
    return text


# What arrives


def test_a_file_comes_whole_and_a_second_run_asks_nobody(tmp_path: Path) -> None:
    with serving({PATH: BODY}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        asked = len(site.requests)
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert len(site.requests) == asked
    assert site.asked(PATH)[0]["user-agent"].startswith("tvrkit/")
    assert site.asked(PATH)[0]["accept-encoding"] == "identity"
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_connection_that_breaks_thirty_times_brings_the_file_all_the_same(tmp_path: Path) -> None:
    dice = random.Random(1)
    with serving({PATH: BODY}, {PATH: [Fault(cut=dice.randrange(60, 3000)) for _ in range(30)]}) as site:
        fetched = fetch(tmp_path, asset(site.url + PATH))
    assert is_whole(tmp_path, fetched)
    starts = [int(headers["range"][6:-1]) for headers in site.asked(PATH)[1:]]
    assert len(starts) > 10 and starts == sorted(starts)  # it went on each time, and never from the start
    assert all(headers["if-range"] == site.etag_of(PATH) for headers in site.asked(PATH)[1:])


def test_without_etag_the_date_of_change_is_what_a_part_is_known_by(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=20_000)]}) as site:
        site.etags[PATH], site.modified = None, "Mon, 02 Nov 2026 10:00:00 GMT"
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert site.asked(PATH)[1]["if-range"] == site.modified


def test_without_any_mark_a_part_is_not_trusted_unless_the_checksum_is_known(tmp_path: Path) -> None:
    for known, expected in ((None, None), (_sha256(BODY), "bytes=20000-")):
        folder = tmp_path / str(expected).replace("=", "")
        with serving({PATH: BODY}, {PATH: [Fault(cut=20_000)]}) as site:
            site.etags[PATH] = None
            assert is_whole(folder, fetch(folder, asset(site.url + PATH, sha256=known)))
            assert site.asked(PATH)[1].get("range") == expected


def test_a_weak_etag_is_no_mark_of_bytes(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=20_000)]}) as site:
        site.etags[PATH] = 'W/"1"'
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert "range" not in site.asked(PATH)[1]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut=20_000, ranges=False),
        Fault(chunked=True),
        Fault(chunked=True, cut=20_000),
        Fault(announce=60_000),
        Fault(status=429, retry_after="0"),
        Fault(status=429, retry_after="Mon, 02 Nov 2020 10:00:00 GMT"),
        Fault(status=429, retry_after="tomorrow"),
        Fault(status=500),
        Fault(status=503),
        Fault(cut=0),
        Fault(drip=0.0005, cut=300),
    ],
    ids=str,
)
def test_what_goes_wrong_once_is_tried_again(tmp_path: Path, fault: Fault) -> None:
    with serving({PATH: BODY}, {PATH: [fault]}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))


def test_a_server_that_ignores_ranges_is_read_from_the_start(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=20_000)]}) as site:
        site.then[PATH] = Fault(ranges=False)
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert "range" in site.asked(PATH)[1]


def test_ranges_shorter_than_asked_for_are_put_together(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=10)]}) as site:
        site.then[PATH] = Fault(at_most=5_000)
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert len(site.asked(PATH)) == 11 + 1 - 1  # the first, and ten of five thousand


def test_a_range_that_begins_elsewhere_is_not_appended(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=20_000), Fault(shift=100)]}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))


def test_packing_for_the_way_is_undone_and_a_tar_gz_called_packed_is_left_as_it_is(tmp_path: Path) -> None:
    words = b'{"sentences": []}'
    with serving({"/a.json": words, "/b.tar.gz": words}, {"/a.json": [Fault(packed=True, cut=9)]}) as site:
        site.then = {"/a.json": Fault(packed=True), "/b.tar.gz": Fault(packed=True)}
        assets = [asset(site.url + "/a.json", name="a.json"), asset(site.url + "/b.tar.gz", name="b.tar.gz")]
        paths = fetch(tmp_path, *assets).paths
    assert paths["a.json"].read_bytes() == words
    assert gzip.decompress(paths["b.tar.gz"].read_bytes()) == words


# What changes on the way


def test_a_file_that_changes_between_two_attempts_is_never_a_mixture(tmp_path: Path) -> None:
    for second in (Fault(replace=OTHER), Fault(replace=OTHER, if_range=False), Fault(replace=OTHER[:40_000])):
        folder = tmp_path / str(id(second))
        with serving({PATH: BODY}, {PATH: [Fault(cut=20_000), second]}) as site:
            assert is_whole(folder, fetch(folder, asset(site.url + PATH)), site.files[PATH])


def test_the_next_source_goes_on_only_with_the_same_file(tmp_path: Path) -> None:
    for etag, starts in (('"same"', "bytes=20000-"), ('"other"', "bytes=20000-")):
        folder = tmp_path / etag.strip('"')
        with serving({PATH: BODY, "/2": BODY if etag == '"same"' else OTHER}) as site:
            site.faults[PATH], site.then[PATH] = [Fault(cut=20_000)], Fault(status=404)
            site.etags = {PATH: '"same"', "/2": etag}
            assert is_whole(folder, fetch(folder, asset(site.url + PATH, site.url + "/2")), site.files["/2"])
            # It is asked for the rest, and answers with the rest or, being another file, with all of it.
            assert (site.asked("/2")[0]["range"], site.asked("/2")[0]["if-range"]) == (starts, '"same"')


def test_a_part_that_is_longer_than_the_file_by_now_starts_anew(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=30_000), Fault(replace=BODY[:20_000], if_range=False)]}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)), BODY[:20_000])


def test_a_part_that_was_whole_but_had_no_name_yet_is_named(tmp_path: Path) -> None:
    with serving({PATH: BODY}) as site:
        for total in (len(BODY), None):  # the second asks, and is told by 416 that nothing is left
            (tmp_path / "a.bin.part").write_bytes(BODY)
            notes = {"etag": site.etag_of(PATH), "modified": None, "total": total}
            (tmp_path / "a.bin.part.json").write_text(json.dumps(notes))
            assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
            assert len(site.asked(PATH)) == (0 if total else 1)
            (tmp_path / "a.bin").unlink()


def test_a_damaged_part_is_found_out_by_the_checksum_and_downloaded_anew(tmp_path: Path) -> None:
    with serving({PATH: BODY}) as site:
        (tmp_path / "a.bin.part").write_bytes(OTHER[:20_000])
        notes = {"etag": site.etag_of(PATH), "modified": None, "total": len(BODY)}
        (tmp_path / "a.bin.part.json").write_text(json.dumps(notes))
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH, sha256=_sha256(BODY))))


@pytest.mark.parametrize("notes", ["", "[]", '{"etag": 3}', '{"etag": ["x"], "modified": {}, "total": "many"}'])
def test_a_part_without_readable_notes_is_nobodys(tmp_path: Path, notes: str) -> None:
    (tmp_path / "a.bin.part").write_bytes(OTHER[:20_000])
    (tmp_path / "a.bin.part.json").write_text(notes)
    with serving({PATH: BODY}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert "range" not in site.asked(PATH)[0]


# What never becomes a file


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


def test_every_source_is_tried_and_named(tmp_path: Path) -> None:
    with serving({"/z/a.bin": BODY}, {}) as site, _dead_port() as dead:
        site.then = {"/x": Fault(status=410), "/z/a.bin": Fault(page=True)}
        urls = (f"{site.url}/x", f"http://127.0.0.1:{dead}/y", "http://no-such-host.invalid/y")
        text = sentence(fetch(tmp_path, asset(*urls, holds="annotations"), mirror=site.url + "/z/"))
    assert "a web page came instead of the file; " in text
    assert "410" in text and f"127.0.0.1:{dead}: no connection, 3 times" in text and "no-such-host.invalid: " in text
    assert "--annotations DIR" in text and "--mirror URL" in text
    assert list(tmp_path.iterdir()) == []


def test_a_stalled_connection_is_broken_off_and_gone_on_with(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(pause=3.0), Fault(cut=500, drip=0.05)]}) as site:
        started = time.monotonic()
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH), timeout_seconds=0.3))
        assert time.monotonic() - started < 2.5
        assert [headers.get("range", "bytes=0-") for headers in site.asked(PATH)][1] == "bytes=25000-"


def test_servers_that_only_stall_or_drip_are_given_up(tmp_path: Path) -> None:
    for fault, words in (
        (Fault(pause=3.0, status=200), "it stopped sending"),
        (Fault(drip=0.05), "less than 1 kB a se"),
    ):
        with serving({PATH: BODY}) as site:
            site.then[PATH] = fault
            started = time.monotonic()
            text = sentence(fetch(tmp_path, asset(site.url + PATH), timeout_seconds=0.2, retries=1))
            assert words in text and time.monotonic() - started < 2.5


def test_a_head_that_never_ends_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def drip() -> None:
            try:
                with server.accept()[0] as connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                    for _ in range(25):
                        connection.sendall(b"a")
                        time.sleep(0.05)
            except OSError:
                pass

        threads = [threading.Thread(target=drip, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        started = time.monotonic()
        wanted = asset(f"http://127.0.0.1:{port}/a", size=9)
        assert "no answer in time" in sentence(fetch(tmp_path, wanted, timeout_seconds=0.1, retries=1))
        assert time.monotonic() - started < 2
        for thread in threads:
            thread.join()


def test_a_body_that_breaks_off_without_an_announced_length_is_not_taken(tmp_path: Path) -> None:
    archive = _zip({"clip.mp4": BODY})
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
    with serving({"/a.json": b'{"a": 1}\n{"a": 2}\n', "/a.zip": _zip({})}) as site:
        assert fetch(tmp_path, *(asset(site.url + "/" + n, name=n) for n in ("a.json", "a.zip"))).failures == {}


# What is there


def test_a_file_that_somebody_put_there_is_taken_if_it_is_the_right_one(tmp_path: Path) -> None:
    listener = Listener()
    with serving({PATH: BODY}) as site:
        for known in ({}, {"size": len(BODY)}, {"sha256": _sha256(BODY)}):
            (tmp_path / "a.bin").write_bytes(BODY)
            (tmp_path / "a.bin.part").write_bytes(BODY[:9])
            assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH, **known)))
            (tmp_path / RECEIPTS_NAME).unlink()
        assert site.requests == []
        for known in ({"size": len(BODY)}, {"sha256": _sha256(BODY)}):
            (tmp_path / "a.bin").write_bytes(OTHER[:-1])
            assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH, **known), watcher=listener))
            assert "not the file that was wanted" in listener.words[-1]
        (tmp_path / "a.bin").write_bytes(OTHER)  # after it was downloaded
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH), watcher=listener))
        assert "changed since" in listener.words[-1]


def test_verify_reads_everything_again(tmp_path: Path) -> None:
    with serving({"/1": BODY, "/2": BODY, "/3": BODY}) as site:
        fetch(tmp_path, *(asset(f"{site.url}/{i}", name=f"{i}.bin") for i in (1, 2, 3)))
    assert verify_downloads(tmp_path) == []
    (tmp_path / "1.bin").unlink()
    (tmp_path / "2.bin").write_bytes(OTHER)
    (tmp_path / "3.bin").write_bytes(BODY[:-1])
    found = dict(verify_downloads(tmp_path))
    assert found["1.bin"] == "it is gone" and "not what came" in found["2.bin"] and "49,999" in found["3.bin"]
    (tmp_path / RECEIPTS_NAME).write_text('{"1.bin": 3, "2.bin": {}}')
    assert verify_downloads(tmp_path) == []


def test_the_plan_says_what_is_there_and_what_would_come(tmp_path: Path) -> None:
    with serving({"/1": BODY, "/2": BODY, "/3": BODY, "/4": BODY}) as site:
        site.head = True
        assets = [asset(f"{site.url}/{i}", name=f"{i}.bin") for i in (1, 2, 3, 4)]
        fetch(tmp_path, assets[0])
        (tmp_path / "2.bin.part").write_bytes(BODY[:100])
        del site.files["/4"]
        asked = len(site.requests)
        plans = plan_downloads(assets, tmp_path)
        assert [(p.state, p.bytes_there, p.size) for p in plans] == [
            ("there", 50_000, 50_000), ("partial", 100, None), ("missing", 0, None), ("missing", 0, None),
        ]  # fmt: skip
        assert len(site.requests) == asked and plans[2].url == f"{site.url}/3"
        plans = plan_downloads(assets, tmp_path, ask=True, mirror=f"{site.url}/mirror")
        assert [p.bytes_missing for p in plans] == [0, 49_900, 50_000, None]
        assert plans[3].url == f"{site.url}/mirror/4.bin"
    assert [p.size for p in plan_downloads(assets, tmp_path, ask=True, timeout_seconds=1)] == [50_000, None, None, None]
    assert not (tmp_path / "3.bin").exists()


# From where, with what


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_mirror_may_be_a_folder(tmp_path: Path, form: str) -> None:
    share, folder = tmp_path / "share with a space", tmp_path / "here"
    share.mkdir()
    (share / "a.bin").write_bytes(BODY)
    mirror = form.format(str(share).replace(" ", "%20") if "file" in form else share)
    assert is_whole(folder, fetch(folder, asset("http://no-such-host.invalid/a"), mirror=mirror))
    (folder / "a.bin").unlink()
    (folder / "a.bin.part").write_bytes(b"x")  # of something else
    assert is_whole(folder, fetch(folder, asset("http://no-such-host.invalid/a"), mirror=mirror))
    (folder / "a.bin").unlink()
    (share / "a.bin").unlink()
    with serving({PATH: BODY}) as site:
        assert is_whole(folder, fetch(folder, asset(site.url + PATH), mirror=mirror))


def test_a_mirror_is_asked_first_with_the_password_of_its_address_and_nobody_else_sees_that(tmp_path: Path) -> None:
    with serving({}) as site, serving({PATH: BODY}) as own:
        site.files, site.head = {"/m/a%20b.bin": BODY}, True
        mirror = site.url.replace("http://", "http://me:secret@") + "/m"
        fetched = fetch(tmp_path, asset(own.url + PATH, name="a b.bin"), mirror=mirror)
        assert is_whole(tmp_path, fetched, name="a b.bin") and own.requests == []
        assert site.asked("/m/a%20b.bin")[0]["authorization"] == "Basic bWU6c2VjcmV0"
        assert "secret" not in (tmp_path / RECEIPTS_NAME).read_text()
        site.files.clear()
        (tmp_path / "a b.bin").unlink()
        own.files.clear()
        text = sentence(fetch(tmp_path, asset(own.url + PATH, name="a b.bin"), mirror=mirror), "a b.bin")
        assert "secret" not in text


def test_the_hub_s_token_goes_to_the_hub_and_not_where_it_redirects(tmp_path: Path, monkeypatch) -> None:
    with serving({"/org/set/a.bin": BODY}) as hub, serving({"/cdn": BODY, PATH: BODY}) as other:
        monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        hub.then["/org/set/a.bin"] = Fault(redirect=other.url + "/cdn")
        at_hub = asset("https://huggingface.co/org/set/a.bin")
        assert "HF_HUB_OFFLINE is set" in sentence(fetch(tmp_path, at_hub))
        monkeypatch.delenv("HF_HUB_OFFLINE")
        elsewhere = asset(other.url + PATH, name="b.bin")
        assert fetch(tmp_path, at_hub, elsewhere).failures == {}
    assert hub.asked("/org/set/a.bin")[0]["authorization"] == "Bearer hf_secret"
    assert all("authorization" not in headers for _, _, headers in other.requests)


def test_a_proxy_of_the_environment_is_used_and_no_proxy_heeded(tmp_path: Path, monkeypatch) -> None:
    with serving({}) as proxy, serving({PATH: BODY}) as site:
        proxy.files["http://files.example/a.bin"] = BODY
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assets = [asset("http://files.example/a.bin"), asset(site.url + PATH, name="b.bin")]
        assert fetch(tmp_path, *assets).failures == {}
        assert {at for _, at, _ in proxy.requests} == {"http://files.example/a.bin"}


# Many, and the disk


def test_several_come_at_once_and_one_failure_is_not_all(tmp_path: Path) -> None:
    listener = Listener()
    files = {f"/{i}": random.Random(i).randbytes(700_000) for i in range(6)}
    with serving(files) as site:
        site.head = True
        for i in range(6):
            site.then[f"/{i}"] = Fault(pause=0.3)
        site.then["/5"] = Fault(status=404)
        started = time.monotonic()
        assets = [asset(f"{site.url}/{i}", name=f"{i}.bin") for i in range(6)]
        fetched = fetch(tmp_path, *assets, connections=6, watcher=listener)
        assert time.monotonic() - started < 1.4  # one after another they would take 1.5 s and more
    assert sorted(fetched.paths) == [f"{i}.bin" for i in range(5)] and list(fetched.failures) == ["5.bin"]
    assert all(path.read_bytes() == files[f"/{path.stem}"] for path in fetched.paths.values())
    assert listener.bars == [["downloading, MB", 4, 3]]  # 6 x 0.7 announced, 5 x 0.7 came


def test_a_disk_without_room_is_a_sentence_before_anything_is_asked_for(tmp_path: Path) -> None:
    with serving({PATH: BODY}) as site:
        with pytest.raises(DataError, match=r"has .* left and 1,000,000\.0 TB are still to come: make room"):
            fetch(tmp_path, asset(site.url + PATH, size=10**18))
        assert site.asked(PATH) == []
        site.then[PATH] = Fault(announce=10**18)
        text = sentence(fetch(tmp_path, asset(site.url + PATH)))
        assert "make room" in text and "--from" not in text


@pytest.mark.skipif(not shutil.which("mount") or os.name == "nt" or os.geteuid() != 0, reason="needs a small disk")
def test_a_disk_that_fills_up_on_the_way_keeps_what_came(tmp_path: Path, monkeypatch) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("no small disk can be made here")
    try:
        monkeypatch.setattr("tvrkit.prepare.room.Room.check", lambda self, more: None)  # somebody else fills it
        body = random.Random(3).randbytes(3_000_000)
        with serving({PATH: body}) as site:
            text = sentence(fetch(tmp_path, asset(site.url + PATH)))
            assert "is full" in text and "the next run goes on" in text
            assert body.startswith((tmp_path / "a.bin.part").read_bytes()) and not (tmp_path / "a.bin").exists()
            subprocess.run(["mount", "-o", "remount,size=8m", tmp_path], check=True)
            assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)), body)
            assert "range" in site.asked(PATH)[-1]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_folder_that_cannot_be_made_and_a_second_process_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be made"):
        fetch(tmp_path / "file" / "folder", asset("http://127.0.0.1:9/a"))
    fcntl = pytest.importorskip("fcntl")
    with serving({PATH: BODY}) as site, (tmp_path / "a.bin.part").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process is downloading" in sentence(fetch(tmp_path, asset(site.url + PATH)))


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\\b", ".hidden", "C:x", "a\x00b", " a"])
def test_a_name_that_is_no_file_name_is_no_asset(name: str) -> None:
    with pytest.raises(ValueError, match="no plain file name"):
        asset("http://127.0.0.1/a", name=name)


def test_assets_refuse_other_addresses_and_are_chosen_by_split() -> None:
    for wrong in ({"url": "ftp://x/a"}, {"sha256": "12"}, {"size": 0}):
        with pytest.raises(ValueError, match=r"a\.bin"):
            asset(wrong.pop("url", "http://x/a"), **wrong)
    some = (asset(name="a"), asset(name="b", splits=("9k",)), asset(name="c", holds="annotations"))
    assert [a.name for a in assets_of(some, split="7k", holds="videos")] == ["a"]
    assert [a.name for a in assets_of(some, split="9k", holds="videos")] == ["a", "b"]


# Being stopped

PROGRAM = """
import sys
from tvrkit.prepare.assets import Asset
from tvrkit.prepare.download import download_all
print(download_all([Asset("a.bin", "videos", (sys.argv[1],))], sys.argv[2], backoff_seconds=.01).failures)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_stopped_leaves_a_part_that_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    body = random.Random(5).randbytes(4_000_000)
    with serving({PATH: body}) as site:
        for i in range(3):
            site.faults[PATH] = [Fault(pause=60.0, cut=2_000_000)]
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, site.url + PATH, str(tmp_path)],
                env=clean_environment(tmp_path),
                cwd=REPO,
                stderr=subprocess.DEVNULL,
            )
            part, before = tmp_path / "a.bin.part", _size(tmp_path / "a.bin.part")
            deadline = time.monotonic() + 30
            while _size(part) <= before and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.2)
            process.send_signal(how)
            assert process.wait(timeout=5) != 0
            assert not (tmp_path / "a.bin").exists() and body.startswith(part.read_bytes()), i
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)), body)
        assert "range" in site.asked(PATH)[-1]


# Everything at once

FAULTS = st.sampled_from(
    [
        Fault(),
        Fault(cut=0),
        Fault(cut=1),
        Fault(cut=1500),
        Fault(cut=700, chunked=True),
        Fault(chunked=True),
        Fault(cut=900, ranges=False),
        Fault(cut=900, if_range=False),
        Fault(replace=OTHER[:3000], cut=800),
        Fault(replace=OTHER[:3000], cut=800, if_range=False),
        Fault(replace=OTHER[:2500]),
        Fault(announce=5000),
        Fault(shift=3),
        Fault(at_most=400),
        Fault(at_most=400, cut=100),
        Fault(status=404),
        Fault(status=416),
        Fault(status=429, retry_after="0"),
        Fault(status=503),
        Fault(status=204),
        Fault(page=True),
        Fault(packed=True, cut=500),
        Fault(packed=True),
        Fault(redirect="/data/a.bin"),
    ]
)


SEQUENCES = (
    st.lists(FAULTS, max_size=8),
    st.lists(FAULTS, max_size=4),
    st.booleans(),
    st.sampled_from(["etag", "date", ""]),
)


@settings(max_examples=25, deadline=None)
@given(*SEQUENCES)
def test_any_sequence_of_faults_ends_in_the_exact_bytes_or_in_no_file(
    first: list[Fault], second: list[Fault], known: bool, mark: str
) -> None:
    _survives(first, second, known, mark)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(*SEQUENCES)
def test_hundreds_of_sequences_of_faults_end_so(
    first: list[Fault], second: list[Fault], known: bool, mark: str
) -> None:
    _survives(first, second, known, mark)


def _survives(first: list[Fault], second: list[Fault], known: bool, mark: str) -> None:
    states = [BODY[:3000], OTHER[:3000], OTHER[:2500]]
    with tempfile.TemporaryDirectory() as name, serving({PATH: states[0], "/2": states[0]}) as site:
        folder = Path(name)
        site.faults = {PATH: list(first), "/2": list(second)}
        if mark != "etag":
            site.etags = {PATH: None, "/2": None}
        if mark == "date" and all(fault.replace is None for fault in (*first, *second)):
            site.modified = "Mon, 02 Nov 2026 10:00:00 GMT"
        checksum = _sha256(states[0]) if known else None
        wanted = asset(site.url + PATH, site.url + "/2", name="a.mp4", sha256=checksum)
        for _ in range(2):
            fetched = fetch(folder, wanted)
            if fetched.failures:
                assert not (folder / "a.mp4").exists()
                assert fetched.failures["a.mp4"].endswith(".")
            else:
                assert fetched.paths["a.mp4"].read_bytes() in (states[:1] if known else states)


def _sha256(body: bytes) -> str:
    import hashlib

    return hashlib.sha256(body).hexdigest()


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _dead_port():
    """A port of this machine that nobody listens on, for as long as the context lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]

"""What is there already, from where the rest comes, and with whose password."""

from __future__ import annotations

from pathlib import Path

import pytest
from prepare.downloads.broken_server import Fault, serving
from prepare.downloads.fetching import (
    BODY,
    OTHER,
    PATH,
    Listener,
    asset,
    fetch,
    is_whole,
    sentence,
    sha256,
)

from tvrkit.prepare.downloads.download import plan_downloads, verify_downloads
from tvrkit.prepare.downloads.receipts import RECEIPTS_NAME


def test_a_file_that_somebody_put_there_is_taken_if_it_is_the_right_one(tmp_path: Path) -> None:
    listener = Listener()
    with serving({PATH: BODY}) as site:
        for known in ({}, {"size": len(BODY)}, {"sha256": sha256(BODY)}):
            (tmp_path / "a.bin").write_bytes(BODY)
            (tmp_path / "a.bin.part").write_bytes(BODY[:9])
            assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH, **known)))
            (tmp_path / RECEIPTS_NAME).unlink()
        assert site.requests == []
        for known in ({"size": len(BODY)}, {"sha256": sha256(BODY)}):
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

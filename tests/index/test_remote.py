from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
from searching import make_clips
from webserver import put, s3_server, web_server

from tvrkit.errors import ConfigError, DataError, InstallError, VideoError
from tvrkit.index.remote import fetched, fetched_ahead, list_remote

NAMES = ("a.mp4", "b.webm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_clips(tmp_path_factory.mktemp("web"), NAMES)
    (folder / "words.txt").write_text("no video")
    (folder / ".hidden.mp4").write_bytes(b"x")
    return folder


def test_videos_of_a_web_server_are_listed_without_being_read(folder: Path) -> None:
    with web_server(folder) as base:
        files = list_remote(base)
        assert [file.path for file in files] == [base + name for name in NAMES]
        for file, name in zip(files, NAMES, strict=True):
            status = (folder / name).stat()
            assert file.stamp.split()[0] == str(status.st_size)
            assert abs(file.modified - status.st_mtime) <= 1
        assert len({file.identity for file in files}) == 2
        assert list_remote(base + "a.mp4") == files[:1]


def test_another_time_of_change_is_another_identity(folder: Path) -> None:
    with web_server(folder) as base:
        before = list_remote(base)
        os.utime(folder / "a.mp4", (1e9, 1e9))
        after = list_remote(base)
    assert before[0].identity != after[0].identity and before[1] == after[1]
    assert after[0].modified == 1e9


def test_a_copy_lies_here_as_long_as_the_block_lasts(folder: Path) -> None:
    with web_server(folder) as base:
        with fetched(base + "b.webm") as copy:
            assert copy.suffix == ".webm" and copy.read_bytes() == (folder / "b.webm").read_bytes()
        assert not copy.exists()
        with pytest.raises(VideoError, match=r"none\.mp4: is not there any more"), fetched(base + "none.mp4"):
            pass


def test_copies_come_in_order_and_few_lie_around(folder: Path) -> None:
    with web_server(folder) as base:
        local = str(folder / "a.mp4")
        wanted = [base + "a.mp4", base + "none.mp4", local, *[base + "b.webm"] * 12]
        most, got = 0, []
        with fetched_ahead(wanted, ahead=2) as copies:
            for copy in copies:
                if isinstance(copy, VideoError):
                    got.append(copy.path)
                    continue
                got.append(hashlib.sha1(copy.read_bytes()).hexdigest())
                if str(copy) != local:
                    most = max(most, len(list(copy.parent.parent.iterdir())))
                    temporary = copy.parent.parent
        a, b = (hashlib.sha1((folder / name).read_bytes()).hexdigest() for name in NAMES)
        assert got == [a, base + "none.mp4", a, *[b] * 12]
        assert 1 <= most <= 2 * 2 + 1 + 2  # those that a reader may still have, and those on their way
        assert not temporary.exists() and Path(local).exists()


@pytest.mark.parametrize(
    ("place", "kind", "words"),
    [
        ("http://127.0.0.1:1/videos/", DataError, "http://127.0.0.1:1/videos/"),
        ("zork://a/b", ConfigError, "Protocol not known: zork"),
        ("file:///tmp", ConfigError, "plain path"),
        ("zip://a::http://127.0.0.1:1/b.zip", ConfigError, "one plain address"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_sentence(place: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=".") as caught:
        list_remote(place)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_without_the_package_the_line_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InstallError, match=r"pip install 'tvrkit\[remote\]'"):
        list_remote("s3://bucket/videos")


@pytest.mark.slow
def test_s3_names_contents_so_a_copy_has_the_same_identity(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(tmp_path / "log") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        put(
            environment,
            "clips",
            {"a.mp4": folder / "a.mp4", "deep/er/copy.mp4": folder / "a.mp4", "b.webm": folder / "b.webm"},
        )
        files = list_remote("s3://clips")
        assert [file.path for file in files] == [f"s3://clips/{n}" for n in ("a.mp4", "b.webm", "deep/er/copy.mp4")]
        assert files[0].identity == files[2].identity != files[1].identity
        assert list_remote("s3://clips/deep") == files[2:]
        with fetched("s3://clips/deep/er/copy.mp4") as copy:
            assert copy.read_bytes() == (folder / "a.mp4").read_bytes()
        with pytest.raises(DataError, match="s3://nothing"):
            list_remote("s3://nothing")

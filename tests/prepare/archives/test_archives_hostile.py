"""Archives that would write elsewhere, fill the disk or the memory, or are damaged anywhere."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepare.archives.archived import CLIPS, KINDS, found, make, tar_of
from prepare.downloads.fetching import Listener

from tvrkit.errors import DataError
from tvrkit.prepare.archives.tars import open_tar
from tvrkit.prepare.archives.unpack import unpack
from tvrkit.prepare.downloads.content import not_whole


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder in a folder, so that what leads out of it can be seen."""
    return tmp_path / "a" / "b" / "here"


OUT = [
    "../out.mp4",
    "/tmp/tvrkit-out.mp4",
    "..\\out.mp4",
    "C:\\out.mp4",
    "c:out.mp4",
    "videos/../../out.mp4",
    "a\nb.mp4",
]


def test_nothing_is_written_outside_the_folder(tmp_path: Path, here: Path) -> None:
    inside = {"./videos//ok.mp4": b"fine", "back\\slash.mp4": b"fine", "dots..mp4": b"fine"}
    for name in ("a.zip", "a.tar"):
        listener, folder = Listener(), here / name
        archive = make(tmp_path / name, {**dict.fromkeys(OUT, b"evil"), **inside})
        assert unpack(archive, folder, watcher=listener) == 3
        assert sorted(found(folder)) == ["back/slash.mp4", "dots..mp4", "videos/ok.mp4"]
        assert len(listener.words) == 1 and listener.words[0].startswith(f"7 members of {name} left out")
    everywhere = [path for path in tmp_path.rglob("*") if path.is_file() and here not in path.parents]
    assert sorted(path.name for path in everywhere) == ["a.tar", "a.zip"]
    assert not Path("/tmp/tvrkit-out.mp4").exists()


def test_links_and_devices_are_left_out_and_nothing_follows_them(tmp_path: Path, here: Path) -> None:
    infos = []
    for kind, name, target in (
        (tarfile.SYMTYPE, "link.mp4", "/etc/passwd"),
        (tarfile.SYMTYPE, "folder.mp4", "../.."),
        (tarfile.LNKTYPE, "hard.mp4", "../../secret"),
        (tarfile.FIFOTYPE, "pipe.mp4", ""),
        (tarfile.CHRTYPE, "device.mp4", ""),
        (tarfile.BLKTYPE, "disk.mp4", ""),
        (tarfile.REGTYPE, "folder.mp4/out.mp4", ""),
    ):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        infos.append(info)
    listener = Listener()
    assert unpack(tar_of(tmp_path / "a.tar", *infos), here, watcher=listener) == 1
    assert list(found(here)) == ["folder.mp4/out.mp4"] and not (here / "folder.mp4").is_symlink()
    assert listener.words[0].startswith("6 members")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link.mp4")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert unpack(tmp_path / "a.zip", here, watcher=listener) == 0
    assert not (here / "link.mp4").exists() and listener.words[-1].startswith("1 member of a.zip")


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path, here: Path) -> None:
    zeros = {"a.mp4": bytes(3_000_000), "b.mp4": bytes(3_000_000)}
    for name in KINDS:
        archive = make(tmp_path / name, zeros)
        with pytest.raises(DataError, match=f"{name} is not unpacked: it unpacks to"):
            unpack(archive, here / name, max_bytes=5_000_000)
        assert sum(map(len, found(here / name).values())) <= 5_000_000
        assert unpack(archive, here / name, max_bytes=6_000_000) in (1, 2)


def test_by_default_two_hundred_times_and_a_gigabyte_are_the_most(tmp_path: Path, here: Path) -> None:
    info = tarfile.TarInfo("a.mp4")
    info.size = 1 << 40
    (tmp_path / "a.tar").write_bytes(info.tobuf() + bytes(2048))
    with pytest.raises(DataError, match=r"unpacks to 1\.1 TB, and 1 GB is the most"):
        unpack(tmp_path / "a.tar", here)
    # What nobody wants is read over, to where it really ends, or to the bound.
    info.name, info.size = "core.dump", 1 << 60
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as packed:
        packed.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(3_000_000))
    with pytest.raises(DataError, match="in the middle of a member"):
        unpack(tmp_path / "a.tar.gz", here)
    assert found(here) == {}
    with (
        pytest.raises(DataError, match=r"more than 2 MB"),
        (tmp_path / "a.tar.gz").open("rb") as file,
        open_tar(file, 2_000_000) as members,
    ):
        list(members)


def test_a_tar_that_leads_back_into_itself_ends(tmp_path: Path, here: Path) -> None:
    first, again = tarfile.TarInfo("first.dump"), tarfile.TarInfo("again.dump")
    again.size = -512  # the next header is this one
    for name in ("a.tar", "a.tar.gz"):
        raw = first.tobuf() + again.tobuf(tarfile.GNU_FORMAT) + bytes(10240)
        (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
        with pytest.raises(DataError, match="damaged.*a negative size"):
            unpack(tmp_path / name, here)


def test_a_header_cannot_fill_the_memory(tmp_path: Path, here: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        info = tarfile.TarInfo("long")
        info.type, info.size = kind, 50_000_000
        with pytest.raises(DataError, match="a header of 50 MB"):
            unpack(tar_of(tmp_path / "a.tar", info), here)


def test_a_zip_that_lies_about_its_sizes_is_damaged(tmp_path: Path, here: Path) -> None:
    archive = make(tmp_path / "a.zip", {"a.mp4": bytes(100_000)})
    raw = archive.read_bytes()
    archive.write_bytes(raw.replace((100_000).to_bytes(4, "little"), (99_000).to_bytes(4, "little")))
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, here)
    assert found(here) == {}


def test_archives_in_an_archive_stay_packed_and_the_user_is_told(tmp_path: Path, here: Path) -> None:
    listener = Listener()
    archive = make(tmp_path / "a.tar", {"inner.zip": b"PK\x03\x04", "clip.mp4": b"1"})
    assert unpack(archive, here, watcher=listener) == 1
    assert listener.words == ["a.tar holds 1 further archive, left packed: inner.zip."]


@pytest.mark.parametrize("name", KINDS)
def test_an_archive_that_ends_anywhere_too_early_is_never_complete(tmp_path: Path, here: Path, name: str) -> None:
    whole = make(tmp_path / name, CLIPS).read_bytes()
    end = len(whole.rstrip(b"\0")) if name == "a.tar" else len(whole)
    step = 512 if name == "a.tar" else 1499
    for length in [*range(0, end, step), end - 1]:
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"{name} is damaged or is no zip or tar") as caught:
            unpack(tmp_path / name, here)
        assert "\n" not in str(caught.value)
        assert all(CLIPS[place] == content for place, content in found(here).items())
        assert not_whole(tmp_path / name, name) is not None
    os.utime((tmp_path / name).write_bytes(whole) and tmp_path / name, ns=(1, 1))
    unpack(tmp_path / name, here)
    assert found(here) == CLIPS and not_whole(tmp_path / name, name) is None


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(KINDS), st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_any_flipped_byte_ends_in_a_sentence_or_in_whole_members(kind: str, flips: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        archive, folder = make(Path(name, kind), CLIPS), Path(name, "a", "here")
        raw = bytearray(archive.read_bytes())
        for place, value in flips:
            raw[place % len(raw)] = value
        archive.write_bytes(raw)
        try:
            unpack(archive, folder)
        except DataError as error:
            assert str(error).endswith(".") and "\n" not in str(error)
        outside = [path for path in Path(name).rglob("*") if path.is_file() and folder not in path.parents]
        assert outside == [archive]
        # A plain tar has no checksum of its contents; everything else notices.
        if kind != "a.tar":
            assert set(found(folder).values()) <= set(CLIPS.values())


def test_locked_or_strange_archives_say_what_to_do(tmp_path: Path, here: Path) -> None:
    archive = make(tmp_path / "a.zip", {"a.mp4": b"12345"})
    raw = bytearray(archive.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    with pytest.raises(DataError, match="locked with a password; unpack it by hand into"):
        unpack(archive, here)
    raw[6], raw[raw.index(b"PK\x01\x02") + 8] = 0, 0
    raw[8] = raw[raw.index(b"PK\x01\x02") + 10] = 9  # deflate64
    archive.write_bytes(raw)
    with pytest.raises(DataError, match="cannot be read by Python"):
        unpack(archive, here)
    (tmp_path / "b.zip").touch()
    (tmp_path / "b.z01").touch()
    with pytest.raises(DataError, match="zip -s 0"):
        unpack(tmp_path / "b.zip", here)
    for name, words in (("c.tar", "no zip or tar"), ("gone.zip", "is not there")):
        (tmp_path / "c.tar").write_bytes(b"<!doctype html>" * 100)
        with pytest.raises(DataError, match=words):
            unpack(tmp_path / name, here)


def test_a_folder_in_the_way_is_a_sentence(tmp_path: Path, here: Path) -> None:
    archive = make(tmp_path / "a.zip", {"a.mp4/b.mp4": b"1", "c.mp4": b"2"})
    here.mkdir(parents=True)
    (here / "a.mp4").write_bytes(b"a file")
    with pytest.raises(DataError, match=r"a\.zip cannot be unpacked into .*: (File exists|Not a directory)"):
        unpack(archive, here)


@pytest.mark.skipif(not shutil.which("mount") or os.name == "nt" or os.geteuid() != 0, reason="needs a small disk")
def test_a_disk_without_room_is_a_sentence(tmp_path: Path, here: Path) -> None:
    here.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", here], capture_output=True).returncode:
        pytest.skip("no small disk can be made here")
    try:
        for name in ("a.zip", "a.tar.gz"):
            with pytest.raises(DataError, match="are still to come: make room"):
                unpack(make(tmp_path / name, {"a.mp4": bytes(3_000_000)}), here)
        assert found(here) == {}
    finally:
        subprocess.run(["umount", here], check=True)

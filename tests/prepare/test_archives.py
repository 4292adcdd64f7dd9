"""Archives, honest and not: real zips and tars, damaged, hostile, cut into parts, and unpacked twice."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepare.test_download import Listener
from support import REPO, clean_environment

from tvrkit.errors import DataError
from tvrkit.prepare.archives import unpack
from tvrkit.prepare.content import not_whole
from tvrkit.prepare.joined import Joined, is_archive, parts_of, whole_name
from tvrkit.prepare.tars import open_tar

CLIPS = {f"videos/clip{i}.mp4": random.Random(i).randbytes(3000 + 777 * i) for i in range(6)}
KINDS = ("a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz")


def make(path: Path, members: dict[str, bytes]) -> Path:
    """An archive of that name's kind."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    packing = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix, "")
    with tarfile.open(path, f"w:{packing}") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o7777
            archive.addfile(info, io.BytesIO(content))
    return path


def tar_of(path: Path, *infos: tarfile.TarInfo) -> Path:
    """A tar with those headers; a file's content is zeros."""
    with tarfile.open(path, "w") as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def cut(path: Path, names: list[str]) -> list[Path]:
    """The file cut into as many parts as there are names, and no longer there itself."""
    content = path.read_bytes()
    step = -(-len(content) // len(names))
    parts = [path.with_name(name) for name in names]
    for i, part in enumerate(parts):
        part.write_bytes(content[i * step : (i + 1) * step])
    path.unlink()
    return parts


def found(folder: Path) -> dict[str, bytes]:
    """What lies in the folder, but for the small file that says so."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".unpacked.json"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder in a folder, so that what leads out of it can be seen."""
    return tmp_path / "a" / "b" / "here"


# Honest ones


@pytest.mark.parametrize("name", KINDS)
def test_what_is_useful_is_unpacked_and_a_second_run_is_free(tmp_path: Path, here: Path, name: str) -> None:
    rest = {
        "README.md": b"no",
        "videos/notes.json": b"{}",
        "__MACOSX/videos/._clip0.mp4": b"x",
        "videos/._clip0.mp4": b"x",
    }
    archive = make(tmp_path / name, {**CLIPS, **rest})
    assert unpack(archive, here) == 7
    assert found(here) == {**CLIPS, "videos/notes.json": b"{}"}
    path = here / "videos" / "clip1.mp4"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o7777 == 0o666 & ~umask  # the archive asked for 7777
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert unpack(archive, here) == 0
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_the_caller_says_what_is_wanted_and_more_wanted_later_is_unpacked_then(tmp_path: Path, here: Path) -> None:
    for name in ("a.zip", "a.tar"):
        archive, folder = make(tmp_path / name, CLIPS), here / name
        assert unpack(archive, folder, wanted=lambda name: name.endswith("1.mp4")) == 1
        assert unpack(archive, folder, wanted=lambda name: name.endswith("1.mp4")) == 0
        assert unpack(archive, folder) == 5 and found(folder) == CLIPS
        assert unpack(archive, folder, wanted=lambda name: name.endswith("1.mp4")) == 0


def test_what_was_taken_away_or_cut_short_is_unpacked_again(tmp_path: Path, here: Path) -> None:
    for name in ("a.zip", "a.tar.gz"):
        archive, folder = make(tmp_path / name, CLIPS), here / name
        unpack(archive, folder)
        (folder / "videos" / "clip2.mp4").unlink()
        (folder / "videos" / "clip3.mp4").write_bytes(b"x")
        assert unpack(archive, folder) == 2 and found(folder) == CLIPS


def test_another_archive_of_the_same_name_replaces_what_the_old_one_left(tmp_path: Path, here: Path) -> None:
    archive = make(tmp_path / "a.zip", CLIPS)
    unpack(archive, here)
    changed = {name: content[::-1] for name, content in CLIPS.items()}  # of the same sizes
    os.utime(make(archive, changed), ns=(1, 1))
    assert unpack(archive, here) == 6 and found(here) == changed


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("a.tar", ["a.tar.partaa", "a.tar.partab", "a.tar.partac"]),
        ("a.tar", ["a.tar.part-00", "a.tar.part-01", "a.tar.part-02"]),
        ("a.tar.gz", ["a.tar.gz.aa", "a.tar.gz.ab"]),
        ("a.tar.gz", ["a.tar.gz.part1", "a.tar.gz.part2"]),
        ("a.zip", ["a.zip.001", "a.zip.002", "a.zip.003"]),
        ("a.zip", [f"a.part{i}.zip" for i in range(1, 12)]),
        ("a.zip", [f"a_part_{i:02}.zip" for i in range(3)]),
    ],
)
def test_an_archive_in_parts_is_one_and_a_missing_part_is_named(
    tmp_path: Path, here: Path, kind: str, names: list[str]
) -> None:
    parts = cut(make(tmp_path / kind, CLIPS), names)
    assert parts_of(parts[-1]) == parts == parts_of(parts[0])
    assert all(is_archive(name) for name in names) and len({whole_name(part) for part in parts}) == 1
    assert unpack(parts[1], here) == 6 and found(here) == CLIPS
    assert unpack(parts[0], here) == 0  # whichever part is named
    parts[-1].rename(tmp_path / "aside")
    with pytest.raises(DataError, match="damaged|is missing"):
        unpack(parts[0], here)
    (tmp_path / "aside").rename(parts[-1])
    parts[0].unlink()
    with pytest.raises(DataError, match=r"is missing|damaged|is not there"):
        unpack(parts[1], here)


def test_a_number_at_the_end_does_not_make_a_part_of_an_archive() -> None:
    for name in ("clip.001", "a.mp4", "videos.part1", "a.json", "frames.aa"):
        assert not is_archive(name)
    assert whole_name(Path("x/a.tar.gz")) == "a.tar.gz"


@settings(max_examples=50)
@given(
    st.lists(st.binary(max_size=9), min_size=1, max_size=5), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)))
)
def test_joined_files_read_as_one(pieces: list[bytes], reads: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, str(i)) for i in range(len(pieces))]
        for path, piece in zip(paths, pieces, strict=True):
            path.write_bytes(piece)
        with Joined(paths) as raw, io.BufferedReader(raw, 4) as joined:
            plain = io.BytesIO(b"".join(pieces))
            for place, size in reads:
                assert joined.seek(place) == plain.seek(place)
                assert joined.read(size) == plain.read(size)


def test_names_in_other_encodings_come_out_readable(tmp_path: Path, here: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("grüße.mp4".encode().decode("cp437"))  # UTF-8 without the flag that says so
        archive.writestr(info, b"1")
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    wrong, right = info.filename.encode(), "grüße.mp4".encode()
    assert wrong in raw  # Python sets the flag and writes the letters: make it what other tools write
    by_hand = _zip_without_flag(right, b"1")
    (tmp_path / "a.zip").write_bytes(by_hand)
    info = tarfile.TarInfo("caf\udce9.mp4")  # Latin-1 in a tar of today
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(b""))
    unpack(tmp_path / "a.zip", here)
    unpack(tmp_path / "a.tar", here)
    assert sorted(found(here)) == ["café.mp4", "grüße.mp4"]


# Hostile ones


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
    info = tarfile.TarInfo("a.mp4")
    info.size = -1024
    for name in ("a.tar", "a.tar.gz"):
        raw = info.tobuf(tarfile.GNU_FORMAT) + bytes(10240)
        (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
        with pytest.raises(DataError, match="damaged"):
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


# Damaged ones


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


# Being stopped

PROGRAM = "import sys; from tvrkit.prepare.archives import unpack; print(unpack(sys.argv[1], sys.argv[2]))"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_killed_unpacking_leaves_whole_members_and_goes_on(tmp_path: Path, here: Path, name: str) -> None:
    many = {f"v/{i}.mp4": random.Random(i).randbytes(300_000) for i in range(120)}
    archive = make(tmp_path / name, many)
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, archive, here], cwd=REPO, env=clean_environment(tmp_path)
        )
        before, deadline = len(found(here)), time.monotonic() + 30
        while len(found(here)) < before + 10 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        process.wait()
        whole = {place: content for place, content in found(here).items() if not place.endswith(".tmp")}
        assert whole.items() <= many.items()
    assert 10 < len(whole) < 120
    assert unpack(archive, here) == 120 - len(whole)
    assert found(here) == many


def _zip_without_flag(name: bytes, content: bytes) -> bytes:
    """A stored zip of one member whose name is these bytes, written by hand from the format's description."""
    import struct
    import zlib

    crc, size = zlib.crc32(content), len(content)
    shared = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, crc, size, size, len(name), 0)
    local = b"PK\x03\x04" + shared + name + content
    central = b"PK\x01\x02" + struct.pack("<H", 20) + shared + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return local + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)

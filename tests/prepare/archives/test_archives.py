"""Honest archives: real zips and tars, in parts, unpacked twice, broken off and gone on with."""

from __future__ import annotations

import io
import os
import random
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
from prepare.archives.archived import CLIPS, KINDS, cut, found, make, zip_without_flag
from support import REPO, clean_environment

from tvrkit.errors import DataError
from tvrkit.prepare.archives.joined import Joined, is_archive, parts_of, whole_name
from tvrkit.prepare.archives.unpack import unpack


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder in a folder, so that what leads out of it can be seen."""
    return tmp_path / "a" / "b" / "here"


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
    by_hand = zip_without_flag(right, b"1")
    (tmp_path / "a.zip").write_bytes(by_hand)
    info = tarfile.TarInfo("caf\udce9.mp4")  # Latin-1 in a tar of today
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(b""))
    unpack(tmp_path / "a.zip", here)
    unpack(tmp_path / "a.tar", here)
    assert sorted(found(here)) == ["café.mp4", "grüße.mp4"]


PROGRAM = "import sys; from tvrkit.prepare.archives.unpack import unpack; print(unpack(sys.argv[1], sys.argv[2]))"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_killed_unpacking_leaves_whole_members_and_goes_on(tmp_path: Path, here: Path, name: str) -> None:
    many = {f"v/{i}.mp4": random.Random(i).randbytes(300_000) for i in range(120)}
    archive = make(tmp_path / name, many)
    for _ in range(2):
        before, deadline = len(list(here.rglob("*.mp4"))), time.monotonic() + 120
        arguments = [sys.executable, "-c", PROGRAM, archive, here]
        with subprocess.Popen(arguments, cwd=REPO, env=clean_environment(tmp_path)) as process:
            # Names alone are looked at: a file may have another one by the time it is opened.
            while len(list(here.rglob("*.mp4"))) < before + 10:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.002)
            process.kill()
        whole = {place: content for place, content in found(here).items() if not place.endswith(".tmp")}
        assert whole.items() <= many.items()
    assert 10 < len(whole) < 120
    assert unpack(archive, here) == 120 - len(whole)
    assert found(here) == many

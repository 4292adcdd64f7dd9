"""Which videos are there, and that a file is known again, or not, as it should be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import tvrkit.index.scan as scan_module
from tvrkit.errors import DataError
from tvrkit.index.scan import scan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files that need only be files: a scan decodes nothing."""
    for name in ("b.mp4", "a.mkv", "sub/c.webm", "sub/.hidden.mp4", "notes.txt"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100)
    return tmp_path / "videos"


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "identities.sqlite"


def identities(folder: Path, memory: Path | None = None) -> dict[str, str]:
    return {str(file.path.relative_to(folder)): file.identity for file in scan([folder], memory).files}


def test_videos_are_found_below_and_sorted(folder: Path) -> None:
    assert list(identities(folder)) == ["a.mkv", "b.mp4", os.path.join("sub", "c.webm")]


def test_places_may_overlap_and_may_be_files(folder: Path) -> None:
    found = scan([folder, folder / "sub", folder / "b.mp4"])
    assert [file.path.name for file in found.files] == ["a.mkv", "b.mp4", "c.webm"]


def test_what_was_seen_is_not_opened_again(folder: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = identities(folder, memory)
    opened = []
    real = scan_module.file_identity
    monkeypatch.setattr(scan_module, "file_identity", lambda path: opened.append(path) or real(path))
    assert identities(folder, memory) == first and opened == []
    (folder / "b.mp4").write_bytes(b"other content")
    again = identities(folder, memory)
    assert opened == [folder / "b.mp4"]
    assert again["b.mp4"] != first["b.mp4"] and again["a.mkv"] == first["a.mkv"]


def test_a_change_that_keeps_size_and_time_is_noticed(folder: Path, memory: Path) -> None:
    first, path = identities(folder, memory), folder / "b.mp4"
    status = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns and path.stat().st_size == status.st_size
    assert identities(folder, memory)["b.mp4"] != first["b.mp4"]


def test_moved_deleted_and_added_files(folder: Path, memory: Path) -> None:
    first = identities(folder, memory)
    (folder / "b.mp4").rename(folder / "sub" / "renamed.mp4")
    (folder / "a.mkv").unlink()
    (folder / "new.avi").write_bytes(b"new")
    again = identities(folder, memory)
    assert list(again) == ["new.avi", os.path.join("sub", "c.webm"), os.path.join("sub", "renamed.mp4")]
    assert again[os.path.join("sub", "renamed.mp4")] == first["b.mp4"]


def test_a_file_that_cannot_be_opened_is_named(folder: Path, memory: Path) -> None:
    (folder / "gone.mp4").symlink_to(folder / "nothing.mp4")
    os.mkfifo(folder / "pipe.mp4")
    found = scan([folder], memory)
    assert [file.path.name for file in found.files] == ["a.mkv", "b.mp4", "c.webm"]
    assert "No such file" in found.unreadable[folder / "gone.mp4"]
    assert found.unreadable[folder / "pipe.mp4"] == "is not a plain file" and len(found.unreadable) == 2


@pytest.mark.parametrize("name", [b"\xff\xfe.mp4", b"new\nline.mp4", "emoji 🏄.mp4".encode(), b"<script>.mp4"])
def test_strange_names_are_remembered(folder: Path, memory: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))
    path.write_bytes(b"x")
    assert identities(folder, memory) == identities(folder, memory)
    assert path in [file.path for file in scan([folder], memory).files]


def test_memory_that_is_garbage_or_cannot_be_used_only_costs_time(folder: Path, tmp_path: Path) -> None:
    expected = identities(folder)
    garbage = tmp_path / "garbage.sqlite"
    garbage.write_bytes(b"not sqlite" * 1000)
    assert identities(folder, garbage) == expected
    assert identities(folder, garbage) == expected
    assert garbage.read_bytes().startswith(b"SQLite format 3")  # it was made anew
    assert identities(folder, tmp_path / "garbage.sqlite" / "below" / "a file") == expected
    (tmp_path / "folder.sqlite").mkdir()
    assert identities(folder, tmp_path / "folder.sqlite") == expected


def test_places_without_videos_are_errors(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="there is no folder or file .*nowhere"):
        scan([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no video lies in .*empty.*\.mp4"):
        scan([tmp_path / "empty"])


def test_a_copy_is_another_video_unless_it_keeps_the_time(folder: Path) -> None:
    shutil.copy2(folder / "b.mp4", folder / "kept.mp4")
    found = identities(folder)
    assert found["kept.mp4"] == found["b.mp4"]

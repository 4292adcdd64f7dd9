from __future__ import annotations

import hashlib
import os
import shutil

import pytest

from tvrkit.errors import DataError, VideoError
from tvrkit.frames.identity import content_hash, file_identity, find_videos


def test_a_move_keeps_the_identity_and_a_change_does_not(video, tmp_path):
    path = shutil.copy2(video("h264.mp4"), tmp_path / "a.mp4")
    first = file_identity(path)
    moved = os.path.join(tmp_path, "b.mkv")
    os.rename(path, moved)
    assert file_identity(moved) == first
    content = bytearray((tmp_path / "b.mkv").read_bytes())
    content[len(content) // 2] ^= 1
    times = os.stat(moved).st_atime_ns, os.stat(moved).st_mtime_ns
    (tmp_path / "b.mkv").write_bytes(content)
    os.utime(moved, ns=times)  # same size, same time, other content
    assert file_identity(moved) != first
    content[len(content) // 2] ^= 1
    (tmp_path / "b.mkv").write_bytes(content)
    os.utime(moved, ns=times)
    assert file_identity(moved) == first
    os.utime(moved, ns=(times[0], times[1] + 1_000_000))
    assert file_identity(moved) != first


def test_head_middle_and_tail_of_a_large_file_count(tmp_path):
    path = tmp_path / "large.mp4"
    seen = set()
    for place in (None, 10, 1_000_000, 1_999_990):
        content = bytearray(2_000_000)
        if place is not None:
            content[place] = 1
        path.write_bytes(content)
        os.utime(path, ns=(0, 0))
        seen.add(file_identity(path))
    assert len(seen) == 4


def test_the_hash_of_a_content_knows_neither_names_nor_times(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "a.mp4").write_bytes(content)
    (tmp_path / "copy\udcff.mkv").write_bytes(content)
    os.utime(tmp_path / "a.mp4", ns=(0, 0))
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    assert content_hash(tmp_path / "a.mp4") == content_hash(tmp_path / "copy\udcff.mkv") == digest
    for place in (0, 1_500_000, 2_999_999):  # every byte counts
        other = bytearray(content)
        other[place] ^= 1
        (tmp_path / "a.mp4").write_bytes(other)
        assert content_hash(tmp_path / "a.mp4") != digest
    for bad in (tmp_path / "gone.mp4", tmp_path, "a\0.mp4"):
        with pytest.raises(VideoError, match="cannot be opened"):
            content_hash(bad)


def test_what_cannot_be_read_is_an_error_with_its_path(tmp_path):
    with pytest.raises(VideoError, match=r"gone.mp4: cannot be opened \(No such file"):
        file_identity(tmp_path / "gone.mp4")
    with pytest.raises(VideoError, match="null byte"):
        file_identity("a\0.mp4")


def test_videos_are_found_at_any_depth_and_in_order(tmp_path):
    for name in ("b/x.MP4", "a.gif", "b/c/d.webm", ".hidden/y.mp4", "b/.part.mp4", "notes.txt", "b/app.ts"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import a from 'b';")
    (tmp_path / "b" / "real.ts").write_bytes(b"G" + bytes(187))
    (tmp_path / "b" / "broken-link.mkv").symlink_to(tmp_path / "nowhere.mkv")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found = [str(path.relative_to(tmp_path)) for path in find_videos(tmp_path)]
    assert found == ["a.gif", "b/broken-link.mkv", "b/c/d.webm", "b/real.ts", "b/x.MP4"]
    assert find_videos(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    with pytest.raises(DataError, match="no folder or file"):
        find_videos(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_entered_is_named(tmp_path, monkeypatch, caplog):
    (tmp_path / "a.mp4").touch()
    # Too deep a path is refused to everybody, root included, which a missing permission is not.
    monkeypatch.chdir(tmp_path)
    for _ in range(21):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    assert find_videos(tmp_path) == [tmp_path / "a.mp4"]
    (record,) = caplog.records
    assert "cannot be entered (File name too long)" in record.getMessage()

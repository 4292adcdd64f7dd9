"""What lies somewhere now, seen without opening it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tvrkit.index.scan import find, is_below, sight


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files that need only be files: a scan opens none."""
    for name in ("b.mp4", "a.mkv", "sub/c.webm", "sub/.hidden.mp4", ".folder/d.mp4", "notes.txt"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100)
    return tmp_path / "videos"


def names(folder: Path, *places: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in find([str(place) for place in places or (folder,)]).files]


def test_videos_are_found_below_and_sorted(folder: Path) -> None:
    assert names(folder) == ["a.mkv", "b.mp4", "sub/c.webm"]


def test_places_may_overlap_and_may_be_files(folder: Path) -> None:
    assert names(folder, folder, folder / "sub", folder / "b.mp4", folder / "notes.txt") == [
        "a.mkv",
        "b.mp4",
        "notes.txt",
        "sub/c.webm",
    ]


def test_places_are_absolute_however_they_are_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for place in (".", "sub/..", str(folder), f"{folder}/"):
        found = find([place])
        assert found.places == (str(folder),) and list(found.files)[0] == str(folder / "a.mkv")


def test_a_stamp_tells_every_change(folder: Path) -> None:
    path = folder / "b.mp4"
    first = sight(path)
    assert sight(path) == first and first.size == 500 and first.modified == path.stat().st_mtime
    status = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns and path.stat().st_size == status.st_size
    assert sight(path).stamp != first.stamp


def test_what_must_not_be_opened_has_a_reason(folder: Path) -> None:
    (folder / "gone.mp4").symlink_to(folder / "nothing.mp4")
    os.mkfifo(folder / "pipe.mp4")
    found = find([str(folder)]).files
    assert "No such file" in found[str(folder / "gone.mp4")].reason
    assert found[str(folder / "pipe.mp4")].reason == "is not a plain file"
    assert sum(bool(file.reason) for file in found.values()) == 2


def test_what_is_absent_or_closed_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find([str(folder), str(folder / "nowhere")]).absent == (str(folder / "nowhere"),)
    scandir = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)  # root may enter any folder
    found = find([str(folder)])
    assert found.closed == (str(folder / "sub"),) and len(found.files) == 2


@pytest.mark.parametrize(
    ("path", "place", "below"),
    [
        ("/v/a", "/v", True),
        ("/v", "/v", True),
        ("/video", "/v", False),
        ("/v/a", "/", True),
        ("s3://b/v/x", "s3://b/v", True),
        ("s3://b/v2/x", "s3://b/v", False),
        ("s3://b/x", "s3://b/", True),
    ],
)
def test_below(path: str, place: str, below: bool) -> None:
    assert is_below(path, place) is below

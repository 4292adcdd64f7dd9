"""The table of files: any names, places, other processes, damage."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from tvrkit.errors import StoreError
from tvrkit.index.files_table import FILES, FilesTable
from tvrkit.index.video_index import FileRow


def row(path: str, identity: str = "i", **changes: object) -> FileRow:
    return FileRow(**{"path": path, "stamp": "1 2 3", "modified": 1.5, "identity": identity} | changes)  # type: ignore[arg-type]


def paths(rows: list[FileRow]) -> list[str]:
    return [r.path for r in rows]


@pytest.fixture
def table(tmp_path: Path):
    with_table = FilesTable(tmp_path)
    yield with_table
    with_table.close()


def test_rows_come_back_by_path_and_the_last_one_counts(table: FilesTable, tmp_path: Path) -> None:
    rows = [
        row("/b"),
        row("/a", "", reason="cannot be opened (\udcff)"),
        row("s3://x/y.mp4", modified=1.7e9 + 0.123456),
    ]
    table.put(rows)
    table.put([row("/b", "other", stamp="new")])
    table.close()
    again = FilesTable(tmp_path).rows()
    assert again == [
        row("/a", "", reason="cannot be opened (\\udcff)"),
        row("/b", "other", stamp="new"),
        row("s3://x/y.mp4", modified=1.7e9 + 0.123456),
    ]


def test_dropping(table: FilesTable) -> None:
    table.put([row("/a"), row("/b")])
    table.drop(["/a", "/nothing"])
    assert paths(table.rows()) == ["/b"]


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.mp4", b"new\nline.mp4", "🏄 é".encode(), b"%_'\"; DROP TABLE files;--", b"a" * 255]
)
def test_any_name_is_kept_byte_for_byte(table: FilesTable, name: bytes) -> None:
    path = os.fsdecode(b"/videos/" + name)
    table.put([row(path)])
    assert paths(table.rows()) == [path] == paths(table.rows(["/videos"])) == paths(table.rows([path]))


@pytest.mark.parametrize(
    ("inside", "found"),
    [
        (["/v"], ["/v/a", "/v/sub/b", "/v/\udcff"]),
        (["/v/sub"], ["/v/sub/b"]),
        (["/v/a"], ["/v/a"]),
        (["/"], ["/v/a", "/v/sub/b", "/v/\udcff", "/v.mp4", "/video/c"]),
        (["/v/a", "/v", "/video"], ["/v/a", "/v/sub/b", "/v/\udcff", "/video/c"]),
        (["s3://bucket/v"], ["s3://bucket/v/x"]),
        (["s3://bucket/"], ["s3://bucket/v/x", "s3://bucket/v2/y"]),
        (["/nowhere"], []),
        ([], []),
    ],
)
def test_places(table: FilesTable, inside: list[str], found: list[str]) -> None:
    table.put(
        [row(p) for p in ("/v/a", "/v/sub/b", "/v/\udcff", "/v.mp4", "/video/c", "s3://bucket/v/x", "s3://bucket/v2/y")]
    )
    assert sorted(paths(table.rows(inside))) == sorted(found)


def test_folders_to_look_in(table: FilesTable) -> None:
    table.set_places(["/b", "/a\udcff", "/b"])
    assert table.places() == ["/a\udcff", "/b"]
    before = table.changes()
    table.set_places(["/a\udcff", "/b"])
    assert table.changes() == before  # nothing to write
    table.set_places(["/c"])
    assert table.places() == ["/c"]


def test_changes_are_seen_by_others(table: FilesTable, tmp_path: Path) -> None:
    other = FilesTable(tmp_path)
    before = other.changes()
    assert other.changes() == before
    table.put([row("/a")])
    assert other.changes() != before
    other.close()


def test_a_damaged_table_is_made_anew_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILES).write_bytes(b"not sqlite at all" * 500)
    table = FilesTable(tmp_path)
    assert table.rows() == [] and "tvrkit index DIR" in caplog.text
    table.put([row("/a")])
    assert table.check() == []
    table.close()


def test_damage_in_its_middle_is_found_by_a_check(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = FilesTable(tmp_path)
    table.put([row(f"/a long name of a video/{i:06d}") for i in range(2000)])
    table.close()
    data = bytearray((tmp_path / FILES).read_bytes())
    data[-60_000:] = os.urandom(60_000)
    (tmp_path / FILES).write_bytes(data)
    table = FilesTable(tmp_path)
    (problem,) = table.check()
    assert "was damaged" in problem and table.rows() == []
    table.close()


def test_a_locked_table_is_a_sentence(tmp_path: Path) -> None:
    table = FilesTable(tmp_path, busy_seconds=0.05)
    other = sqlite3.connect(tmp_path / FILES, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="cannot write to the index .*locked"):
        table.put([row("/a")])
    other.execute("ROLLBACK")
    other.close()
    table.put([row("/a")])
    table.close()

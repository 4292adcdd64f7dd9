"""Shards become one index, however often and in whatever order they are merged."""

from __future__ import annotations

from pathlib import Path

import pytest
from indexing import assert_same, make_meta, make_moments, open_new, rows_of

from tvrkit.errors import ConfigError, DataError
from tvrkit.index.merge import Merged, find_indexes, merge
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.tally import tally
from tvrkit.index.video_index import FileRow


def row(path: str, identity: str, modified: float = 1.0, reason: str = "") -> FileRow:
    return FileRow(path, f"stamp {modified}", modified, identity, reason)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    with open_new(tmp_path / "shards/1-of-2") as index:
        index.put({f"{i:02d}": make_moments(i) for i in range(6)})
        index.put_failures({"bad": "no picture", "09": "timed out"})
        index.put_files([row(f"/v/{i}.mp4", f"{i:02d}") for i in range(6)])
        index.put_files([row("/v/bad.mp4", "bad"), row("/v/closed.mp4", "", reason="cannot be opened")])
        index.set_places(["/v"])
    with open_new(tmp_path / "shards/2-of-2") as index:
        index.put({f"{i:02d}": make_moments(i) for i in range(4, 10)})
        index.put_files([row(f"/v/{i}.mp4", f"{i:02d}") for i in range(6, 10)])
        index.put_files([row("/v/5.mp4", "04", modified=2.0), row("/w/9.mp4", "09"), row("/v/blank.mp4", "blank")])
        index.put({"blank": make_moments(1, moments=0)})
        index.set_places(["/v", "/w"])
    return tmp_path / "shards"


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0, 1)])
def test_all_of_all_shards(shards: Path, tmp_path: Path, order: tuple[int, ...]) -> None:
    found = find_indexes(str(shards))
    with open_new(tmp_path / "whole") as whole:
        for number in order:
            with SegmentIndex(found[number]) as shard:
                merge(whole, shard)
        wanted = {f"{i:02d}": make_moments(i) for i in range(10)} | {"blank": make_moments(1, moments=0)}
        assert_same(rows_of(whole), wanted)
        assert whole.failures() == {"bad": "no picture"}  # what one shard could read is no failure
        assert whole.places() == ["/v", "/w"]
        rows = {r.path: r for r in whole.files()}
        assert len(rows) == 14 and rows["/v/5.mp4"].identity == "04"  # the later look counts
        counts = tally(whole.files(), whole)
        assert (counts.files, counts.ok, counts.failed, counts.blank, counts.pending) == (14, 11, 2, 1, 0)
        assert str(counts) == "14 files = 11 ok (2 of them copies) + 2 failed + 1 blank"


def test_merging_again_changes_nothing(shards: Path, tmp_path: Path) -> None:
    with open_new(tmp_path / "whole") as whole, SegmentIndex(str(shards / "1-of-2")) as shard:
        assert merge(whole, shard) == Merged(videos=6, known=0, failures=2, files=8)
        before = whole.generation()
        assert merge(whole, shard) == Merged(videos=6, known=6, failures=2, files=8)
        assert whole.generation() == before


def test_indexes_that_were_made_otherwise_are_refused(shards: Path, tmp_path: Path) -> None:
    with open_new(tmp_path / "whole", make_meta(fingerprint="e" * 32)) as whole:
        with SegmentIndex(str(shards / "1-of-2")) as shard, pytest.raises(ConfigError, match="cannot be mixed"):
            merge(whole, shard)
        assert whole.identities() == [] and whole.files() == []


def test_what_holds_no_index(shards: Path, tmp_path: Path) -> None:
    assert find_indexes(str(shards / "1-of-2")) == [str(shards / "1-of-2")]
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="no index lies there"):
            find_indexes(str(place))

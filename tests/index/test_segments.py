"""The index in a folder: what is put comes back to the bit, and is never mixed with anything else's."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from indexing import assert_same, make_meta, make_moments, open_new, rows_of

from tvrkit.errors import ConfigError, DataError, StoreError
from tvrkit.frames.moment_request import Cutting
from tvrkit.index.opening import open_index, read_meta, renew_index
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.verify import fault, verify
from tvrkit.index.video_index import FileRow

VIDEOS = {"aa": make_moments(1), "bb": make_moments(2, moments=5, frames=1), "cc": make_moments(3, moments=0)}


def row(path: str, identity: str, reason: str = "") -> FileRow:
    return FileRow(path, "stamp", 1.0, identity, reason)


def test_what_is_put_comes_back(tmp_path: Path) -> None:
    with open_new(tmp_path / "a/b") as index:
        assert index.missing(["cc", "aa", "cc", ""]) == ["cc", "aa"]
        index.put(VIDEOS)
        index.put({"dd": make_moments(4)})
    with SegmentIndex(str(tmp_path / "a/b")) as index:
        assert index.meta == make_meta()
        assert_same(rows_of(index), VIDEOS | {"dd": make_moments(4)})
        assert_same(dict(index.iter_videos(["dd", "nothing", "aa"])), {"aa": VIDEOS["aa"], "dd": make_moments(4)})
        assert index.identities() == ["aa", "bb", "cc", "dd"]
        assert index.moments() == {"aa": 2, "bb": 5, "cc": 0, "dd": 2}
        assert index.notes() == {"aa": "odd 1", "cc": "odd 3"}
        assert index.missing(["zz", "aa"]) == ["zz"]


def test_the_last_put_counts_and_ends_a_failure(tmp_path: Path) -> None:
    with open_new(tmp_path) as index:
        index.put_failures({"aa": "broken \udcff", "bb": "broken"})
        assert index.missing(["aa", "zz"]) == ["zz"] and index.failures() == {"aa": "broken \\udcff", "bb": "broken"}
        index.put({"aa": make_moments(1)})
        index.put({"aa": make_moments(5)})
        assert_same(rows_of(index), {"aa": make_moments(5)})
        assert index.failures() == {"bb": "broken"}
        index.forget(["aa", "bb"], failures_only=True)
        assert index.missing(["aa", "bb"]) == ["bb"]
        index.forget(["aa"], failures_only=False)
        assert index.missing(["aa"]) == ["aa"] and rows_of(index) == {}


def test_parts_are_what_lies_on_disk(tmp_path: Path) -> None:
    with open_new(tmp_path) as index:
        index.put(VIDEOS)
        index.put({"dd": make_moments(4)})
        index.forget(["aa"], failures_only=False)
        parts = list(index.iter_parts())
        index.put({"bb": make_moments(9)})  # what was given out stays as it was
    found = {}
    for part in parts:
        for i, key in enumerate(part.keys):
            moments = slice(int(part.first_moment[i]), int(part.first_moment[i] + part.moments[i]))
            frames = slice(int(part.first_frame[i]), int(part.first_frame[i] + part.frames[i]))
            wanted = (VIDEOS | {"dd": make_moments(4)})[key]
            assert torch.equal(part.pooled[moments], wanted.pooled) and torch.equal(part.spans[moments], wanted.spans)
            assert torch.equal(part.counts[moments], wanted.counts)
            assert torch.equal(part.frame_features[frames], wanted.frame_features)
            assert torch.equal(part.nearest_frame[frames], wanted.nearest_frame)
            assert part.duration_seconds[i] == wanted.duration_seconds
            found[key] = len(wanted)
    assert found == {"bb": 5, "cc": 0, "dd": 2}


def test_status_counts_each_video_once(tmp_path: Path) -> None:
    with open_new(tmp_path) as index:
        index.put(VIDEOS | {"gone": make_moments(6)})
        index.put_failures({"ff": "no picture"})
        index.put_files(
            [row("/1", "aa"), row("/2", "aa"), row("/3", "bb"), row("/4", "cc"), row("/5", "ff"), row("/6", "pending")]
        )
        index.put_files([row("/7", "", "cannot be opened")])
        status = index.status()
    assert (status.files, status.videos, status.moments, status.pending) == (7, 3, 7, 1)
    assert (status.without_file, status.blank) == (1, 1)
    assert status.failures == {"/5": "no picture", "/7": "cannot be opened"}
    assert status.bytes == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())


def test_the_generation_changes_with_every_change(tmp_path: Path) -> None:
    with open_new(tmp_path) as index, open_new(tmp_path) as other:
        seen = [other.generation()]
        for change in (
            lambda: index.put({"aa": VIDEOS["aa"]}),
            lambda: index.put_files([row("/1", "aa")]),
            lambda: index.forget(["aa"], failures_only=False),
            lambda: index.drop_files(["/1"]),
            lambda: other.put({"aa": VIDEOS["aa"]}),
        ):
            change()
            seen.append(other.generation())
            rows_of(other)
            assert other.generation() == index.generation() == seen[-1]  # reading is no change
        assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"fingerprint": "e" * 32, "model": "other/one"}, "made by the model some/model .* not by other/one"),
        ({"cutting": Cutting("whole")}, "shots of 2 to 20 s.*not by whole videos"),
        ({"cutting": Cutting("fixed", max_seconds=5)}, "not by windows of 5 s"),
        ({"num_frames": 4}, "at most 3 frames.*at most 4 frames"),
        ({"format": 2}, "has format 1"),
    ],
)
def test_nothing_is_mixed(tmp_path: Path, other: dict, words: str) -> None:
    with open_new(tmp_path) as index:
        index.put(VIDEOS)
    wanted = make_meta(**other)
    with pytest.raises(ConfigError, match=words) as error:
        SegmentIndex(str(tmp_path), wanted, create=True)
    assert "--index" in str(error.value) and "--rebuild" in str(error.value) and str(tmp_path) in str(error.value)
    renew_index(str(tmp_path), make_meta(), wanted)
    with SegmentIndex(str(tmp_path), wanted) as index:
        assert index.identities() == []
    assert len(list(tmp_path.glob("moments-*"))) == 1


def test_another_name_of_the_same_model_is_no_other_model(tmp_path: Path) -> None:
    with open_new(tmp_path) as index:
        index.put(VIDEOS)
        index.put_files([row("/1", "aa")])
    renew_index(str(tmp_path), make_meta(), make_meta(model="moved"))
    with SegmentIndex(str(tmp_path), make_meta(model="moved")) as index:
        assert len(index.identities()) == 3 and index.meta.model == "some/model"


def test_features_of_another_length_are_refused(tmp_path: Path) -> None:
    with open_new(tmp_path) as index, pytest.raises(StoreError, match="keeps 8 numbers a frame"):
        index.put({"aa": make_moments(1, dim=9)})


def test_what_is_not_there_or_not_an_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no index at .*`tvrkit index DIR`"):
        open_index(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no index"):
        open_index(str(tmp_path / "nowhere"), make_meta())
    assert not (tmp_path / "nowhere").exists() and read_meta(str(tmp_path)) is None
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot make the index"):
        open_index(str(tmp_path / "file"), make_meta(), create=True)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(StoreError, match="cannot be read"):
        open_index(str(tmp_path))
    with pytest.raises(ConfigError, match="can only be searched"):
        open_index("qdrant:http://localhost/x")


def test_a_lost_index_json_is_written_anew_and_finds_its_own_rows_only(tmp_path: Path) -> None:
    with open_new(tmp_path) as index:
        index.put(VIDEOS)
    (tmp_path / "index.json").unlink()
    with open_new(tmp_path, make_meta(fingerprint="e" * 32)) as index:
        assert index.identities() == []
    (tmp_path / "index.json").unlink()
    with open_new(tmp_path) as index:
        assert_same(rows_of(index), VIDEOS)
    assert json.loads((tmp_path / "index.json").read_text())["tvrkit_index"] == 1


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as silent as a disk's own mistake


def test_every_flipped_bit_is_found_by_verify(tmp_path: Path) -> None:
    with open_new(tmp_path) as index:
        index.put(VIDEOS)
        index.put({"dd": make_moments(4)})
        first, second = sorted(tmp_path.glob("moments-*/*.safetensors"))
        assert verify(index).problems == ()
        for path in (first, second):
            os.utime(path, (1e9, 1e9))  # long settled, so that its checksum is remembered
        _flip(first)
    with SegmentIndex(str(tmp_path)) as index:
        checked = verify(index)
        assert len(checked.problems) == 1 and str(first) in checked.problems[0]
        assert (checked.videos, checked.moments, checked.frames) == (1, 2, 6)
        assert index.missing([*VIDEOS, "dd"]) == list(VIDEOS)
        index.put(VIDEOS)
        assert verify(index).problems == () and verify(index).videos == 4


def test_rows_that_make_no_sense_are_found_by_verify(tmp_path: Path) -> None:
    good = make_moments(2)
    assert fault(good, make_meta()) is None
    wrong = {
        "shape": replace(good, frame_features=good.frame_features[:-1], pts_seconds=good.pts_seconds[:-1]),
        "nan": replace(good, pooled=good.pooled * float("nan")),
        "long": replace(good, frame_features=good.frame_features * 2),
        "frames": replace(good, counts=torch.tensor([6, 0])),
        "neighbour": replace(good, nearest_frame=good.nearest_frame + 3),
        "time": replace(good, pts_seconds=good.pts_seconds * float("inf")),
    }
    with open_new(tmp_path) as index:
        index.put(wrong | {"good": good})
        assert len(verify(index).problems) == len(wrong)
        assert index.identities() == ["good"]


def test_rows_that_the_catalogue_names_and_nothing_holds(tmp_path: Path) -> None:
    with open_new(tmp_path) as index:
        index.put(VIDEOS)
        with index.store._catalogue.writing() as db:
            db.execute("UPDATE items SET row = 77 WHERE key = 'aa'")
            db.execute("INSERT INTO items VALUES ('ghost', 99, 0)")
        assert "2 rows that are nowhere" in verify(index).problems[0]
        assert index.missing(["aa", "bb", "ghost"]) == ["aa", "ghost"]


def test_room_is_given_back(tmp_path: Path) -> None:
    many = {f"{i:03d}": make_moments(i, moments=4) for i in range(300)}
    with open_new(tmp_path) as index:
        index.put(many)
        full = index.status().bytes
        index.forget([identity for identity in many if identity != "007"], failures_only=False)
        index.store.compact()
        assert index.status().bytes < full / 2
        assert_same(rows_of(index), {"007": many["007"]})


def test_checksums_are_computed_once_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tvrkit.store import segment

    with open_new(tmp_path) as index:
        index.put(VIDEOS)
    (path,) = tmp_path.glob("moments-*/*.safetensors")
    os.utime(path, (1e9, 1e9))
    read: list[Path] = []
    checksum_of = segment.checksum_of
    monkeypatch.setattr(segment, "checksum_of", lambda path: read.append(path) or checksum_of(path))
    for _ in range(3):
        with SegmentIndex(str(tmp_path)) as index:
            assert len(rows_of(index)) == 3
    assert read == [path]
    os.utime(path, (1e9, 2e9 - 1e9 + 1))
    with SegmentIndex(str(tmp_path)) as index:
        rows_of(index)
    assert read == [path, path]

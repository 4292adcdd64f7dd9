"""`--compress`: small copies take the place of the originals in the manifest, and stand in when these are gone."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from media import make_video
from small_msvd import put

from tvrkit.frames.reading import Reading
from tvrkit.manifest import read_manifest
from tvrkit.prepare.check import check_prepared
from tvrkit.prepare.copies import copy_of
from tvrkit.prepare.folder import FolderOptions, prepare_folder

HERE = Reading(workers=0)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Two seconds, 25 frames each, large enough that a copy is worth it."""
    return make_video(tmp_path_factory.mktemp("large") / "large.mp4", num_frames=50, size=(480, 360), noise=30)


def test_the_manifest_points_to_the_copies(prepare_named, large, lists, tmp_path):
    videos = put(large, tmp_path / "videos", "a_0_5.mp4", "deep/d_0_5.mkv", "e_1_2.mp4")
    (videos / "f_3_9.avi").write_bytes(b"no video")
    given = {"videos": (videos,), "annotations": (lists,), "compress": True}
    report, records, lines = prepare_named(**given)
    folder = tmp_path / "data/msvd"
    assert {video_id: record.path for video_id, record in records.items()} == {
        video_id: f"compressed/{video_id}.mp4" for video_id in ("a_0_5", "d_0_5", "e_1_2")
    }
    with av.open(str(folder / "compressed/a_0_5.mp4")) as container:
        stream = container.streams.video[0]
        assert min(stream.width, stream.height) == 224 and stream.average_rate == 3
    assert lines["a_0_5"]["height"] == "224" and lines["a_0_5"]["path"] == "compressed/a_0_5.mp4"
    assert (folder / "compressed/a_0_5.mp4").stat().st_size < large.stat().st_size / 3
    assert any(note.startswith("Compressed: 3 videos from ") and "3 now, 0 before" in note for note in report.notes)
    assert records["a_0_5"].duration_seconds == pytest.approx(2.0, abs=0.35)
    assert report.problem_counts() == {"missing file": 2, "unreadable clip": 1}

    times = {path: path.stat().st_mtime_ns for path in (folder / "compressed").glob("*.mp4")}
    again, _, _ = prepare_named(**given)
    assert any("0 now, 3 before" in note for note in again.notes)
    assert times == {path: path.stat().st_mtime_ns for path in (folder / "compressed").glob("*.mp4")}

    (videos / "a_0_5.mp4").unlink()
    without, records, _ = prepare_named(**given)
    assert "a_0_5" in records and any("originals are gone: 1 video." in note for note in without.notes)
    assert check(folder) == ["incomplete split"] * 3

    (folder / "compressed/e_1_2.mp4").unlink()
    (folder / "compressed/d_0_5.mp4").write_bytes(b"no video")
    report = check_prepared(folder, name="msvd", reading=HERE)
    mends = {fault.where: fault.mend for fault in report.faults}
    command = f"tvrkit prepare msvd --from {videos} --annotations {lists} --compress"
    assert mends["e_1_2"] == command
    assert mends["d_0_5"] == f"remove {folder}/compressed/d_0_5.mp4 and run {command}"
    (folder / "compressed/d_0_5.mp4").unlink()
    _, records, _ = prepare_named(**given)
    assert set(records) == {"a_0_5", "d_0_5", "e_1_2"} and check(folder) == ["incomplete split"] * 3


def check(folder: Path) -> list[str]:
    return [fault.kind for fault in check_prepared(folder, name="msvd", reading=HERE).faults]


def test_a_folder_with_spans(large, tmp_path):
    """Spans of one file share its copy and keep their seconds."""
    clips = put(large, tmp_path / "clips", "A dog?.mp4", "B.mp4")
    lines = ["path,caption,start,end", "A dog?.mp4,one,0,1", "A dog?.mp4,two,1,2", "B.mp4,three,,"]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    options = FolderOptions(captions=tmp_path / "captions.csv", compress=True, reading=HERE)
    folder = tmp_path / "data/mine"
    prepare_folder(clips, folder, name="mine", options=options)
    records = {record.video_id: record for record in read_manifest(folder / "manifest.jsonl").records}
    assert records["A dog?@0-1"].path == records["A dog?@1-2"].path != records["B"].path
    assert (records["A dog?@1-2"].start_seconds, records["A dog?@1-2"].end_seconds) == (1.0, 2.0)
    assert len(list((folder / "compressed").glob("*.mp4"))) == 2
    assert json.loads((folder / "report.json").read_text())["settings"]["compress"] is True
    assert check_prepared(folder, name="mine", reading=HERE).ok


def test_names_of_copies(tmp_path):
    """Safe on every file system: ids that differ in case alone, and ids that are no file names, keep apart."""
    names = [copy_of(video_id, tmp_path).name for video_id in ("aB", "ab", "Ab", "a/b", "a\\b", "..", "x" * 300, "a_b")]
    assert len({name.lower() for name in names}) == len(names)
    assert (
        names[1] == "ab.mp4" and names[-1] == "a_b.mp4" and all(len(name) < 150 and "/" not in name for name in names)
    )

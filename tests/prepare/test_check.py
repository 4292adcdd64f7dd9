"""`check_prepared`: every fault that a data set can come to have is named, with the command that mends it."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from media import make_video

from tvrkit.errors import DataError
from tvrkit.frames.reading import Reading
from tvrkit.prepare.check import check_prepared
from tvrkit.prepare.downloads.receipts import Receipts, sha256_of
from tvrkit.prepare.folder import FolderOptions, prepare_folder

HERE = Reading(workers=0)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Three clips with captions, prepared."""
    base = tmp_path_factory.mktemp("original")
    (base / "clips").mkdir()
    for name in ("a", "b", "c"):
        make_video(base / f"clips/{name}.mp4", num_frames=10, fps=10)
    (base / "captions.csv").write_text("path,caption\na.mp4,a dog\nb.mp4,a cat\nc.mp4,a cow\n")
    return base


@pytest.fixture
def prepared(original, tmp_path):
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    options = FolderOptions(captions=tmp_path / "captions.csv", reading=HERE)
    prepare_folder(tmp_path / "clips", tmp_path / "data/mine", name="mine", options=options)
    return tmp_path


def check(base, **options):
    return check_prepared(base / "data/mine", name="mine", reading=HERE, **options)


def test_all_is_well(prepared):
    report = check(prepared)
    assert report.ok and (report.checked, report.downloads, report.protocol) == (3, 0, "folder")
    assert report.splits["test"].videos == 3 and report.to_json()["ok"]


def test_videos_that_are_gone_torn_or_others(prepared):
    (prepared / "clips/a.mp4").unlink()
    (prepared / "clips/b.mp4").write_bytes(b"no video")
    make_video(prepared / "clips/c.mp4", num_frames=30, fps=10)
    report = check(prepared)
    assert not report.ok
    assert {fault.where: fault.kind for fault in report.faults} == {
        "a": "missing file",
        "b": "unreadable clip",
        "c": "other duration",
    }
    assert "has 3 s and had 1 s" in next(fault.reason for fault in report.faults if fault.where == "c")
    assert all("tvrkit prepare folder" in fault.mend and "--name mine" in fault.mend for fault in report.faults)
    assert (report.splits["test"].missing, report.splits["test"].unreadable, report.splits["test"].videos) == (1, 1, 1)


def test_what_is_remembered_is_not_believed(prepared):
    """A file that rots without a change of its size and time is noticed all the same."""
    clip = prepared / "clips/a.mp4"
    status = clip.stat()
    content = bytearray(clip.read_bytes())
    content[:] = bytes(len(content))
    clip.write_bytes(content)
    os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [fault.kind for fault in check(prepared).faults] == ["unreadable clip"]


@pytest.mark.parametrize("content", [None, "", "{", '{"tvrkit_manifest": 99}\n', "[]\n"])
def test_a_manifest_that_is_gone_or_damaged(prepared, content):
    path = prepared / "data/mine/manifest.jsonl"
    path.unlink()
    if content is not None:
        path.write_text(content)
    report = check(prepared)
    assert [fault.kind for fault in report.faults] == ["manifest"] and not report.splits
    assert "tvrkit prepare folder" in report.faults[0].mend


@pytest.mark.parametrize("content", [None, "", "[]", '{"settings": 1, "splits": [], "annotations": 3}'])
def test_a_report_that_is_gone_or_damaged(prepared, content):
    path = prepared / "data/mine/report.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    report = check(prepared)
    assert len(report.splits) == 1
    assert [fault.mend for fault in report.faults if fault.kind == "report"] in ([], ["tvrkit prepare mine"])


def test_annotations_that_changed(prepared):
    (prepared / "captions.csv").write_text("path,caption\na.mp4,another dog\n")
    assert [fault.kind for fault in check(prepared).faults] == ["changed annotations"]
    (prepared / "captions.csv").unlink()
    assert check(prepared).ok  # it did its work


def test_downloads_that_are_gone_or_changed(prepared):
    downloads = prepared / "data/downloads/mine"
    downloads.mkdir(parents=True)
    for name in ("one.txt", "two.txt", "three.txt"):
        (downloads / name).write_text(name)
        Receipts(downloads).add(name, None, sha256_of(downloads / name))
    report = check(prepared, downloads=downloads)
    assert report.ok and report.downloads == 3
    (downloads / "one.txt").unlink()
    (downloads / "two.txt").write_text("TWO.txt")
    report = check(prepared, downloads=downloads)
    assert [fault.kind for fault in report.faults] == ["download", "download"]


def test_a_split_that_is_not_the_protocols(prepared):
    """The counts of a protocol, by the manifest's own word for it."""
    path = prepared / "data/mine/manifest.jsonl"
    lines = path.read_text().splitlines()
    header = {**json.loads(lines[0]), "protocol": "msvd"}
    path.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    report = check(prepared)
    assert [(fault.kind, fault.where) for fault in report.faults] == [("incomplete split", "test")]
    assert "3 of 670 videos, 3 of 27,763 captions of msvd" in report.faults[0].reason
    assert report.faults[0].mend.startswith("its annotation files list 3: get the whole ones")


def test_no_data_set(tmp_path):
    with pytest.raises(DataError, match=r"run `tvrkit prepare mine` first"):
        check(tmp_path)

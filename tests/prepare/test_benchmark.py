"""`prepare_benchmark`: real video files under the benchmarks' names, real lists, real archives and a real server."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from media import make_video, truncate
from support import clean_environment

from tvrkit.errors import ConfigError, DataError
from tvrkit.manifest import read_manifest
from tvrkit.prepare import probes
from tvrkit.prepare.benchmark import default_name, prepare_benchmark
from tvrkit.prepare.benchmarks import BENCHMARKS
from tvrkit.prepare.examine import Reading
from tvrkit.prepare.material import BenchmarkOptions

MSVD = BENCHMARKS["msvd"]
TRAIN, VAL, TEST = ("a_0_5", "b_1_9", "c_2_4"), ("d_0_5",), ("e_1_2", "f_3_9")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """One second of video."""
    return make_video(tmp_path_factory.mktemp("clip") / "clip.avi", num_frames=10, fps=10, codec="mpeg4", size=(64, 48))


@pytest.fixture
def lists(tmp_path):
    """A small MSVD in the field's own formats."""
    return write_lists(tmp_path / "lists")


def write_lists(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for split, ids in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        (folder / f"{split}_list.txt").write_text("\n".join(ids) + "\n")
    captions = {video_id: [f"a dog {video_id}", "a dog runs"] for video_id in (*TRAIN, *VAL, *TEST)}
    (folder / "captions_msvd.json").write_text(json.dumps(captions))
    return folder


def put(clip: Path, folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / name)
    return folder


@pytest.fixture
def prepare(tmp_path):
    """Prepare a benchmark, decoding in this process; gives (report, records by id, lines of videos.csv by id)."""

    def run(benchmark=MSVD, name="msvd", **options):
        options.setdefault("reading", Reading(workers=0))
        folder = tmp_path / "data" / name
        report = prepare_benchmark(benchmark, folder, name=name, options=BenchmarkOptions(**options))
        manifest = read_manifest(report.manifest)
        with (folder / "videos.csv").open(encoding="utf-8", newline="") as file:
            lines = {line["video_id"]: line for line in csv.DictReader(file)}
        assert all(manifest.file_of(record).is_file() for record in manifest.records)
        return report, {record.video_id: record for record in manifest.records}, lines

    return run


def test_videos_and_lists_by_hand(prepare, clip, lists, tmp_path):
    videos = put(clip, tmp_path / "videos", "a_0_5.avi", "deep/er/b_1_9.MP4", "D_0_5.avi", "e_1_2.avi.mp4", "x.avi")
    (videos / "f_3_9.avi").write_bytes(b"no video")
    report, records, lines = prepare(videos=(videos,), annotations=(lists,))
    assert {video_id: record.split for video_id, record in records.items()} == {
        "a_0_5": "train",
        "b_1_9": "train",
        "d_0_5": "val",  # D_0_5: upper and lower case, where nothing else fits
        "e_1_2": "test",
    }
    assert records["a_0_5"].captions == ("a dog a_0_5", "a dog runs") and records["a_0_5"].key_words
    assert records["a_0_5"].duration_seconds == pytest.approx(1.0, abs=0.11)
    counts = {
        split: (c.listed, c.videos, c.missing, c.unreadable, c.captions, c.lost) for split, c in report.splits.items()
    }
    assert counts == {"train": (3, 2, 1, 0, 4, 2), "val": (1, 1, 0, 0, 2, 0), "test": (2, 1, 0, 1, 2, 2)}
    assert {split: count.expected for split, count in report.splits.items()} == {"train": 1200, "val": 100, "test": 670}
    assert not any(count.complete for count in report.splits.values())
    assert {(p.kind, p.where.split()[0]) for p in report.problems} == {
        ("missing file", "c_2_4"),
        ("unreadable clip", "f_3_9"),
    }
    assert any("x.avi" in note for note in report.notes)
    assert Counter(line["state"] for line in lines.values()) == {"present": 4, "missing": 1, "unreadable": 1}
    line = lines["a_0_5"]
    assert (line["split"], line["frames"], line["width"], line["height"], line["codec"]) == (
        "train",
        "10",
        "64",
        "48",
        "mpeg4",
    )
    assert (line["captions"], line["bytes"]) == ("2", str(clip.stat().st_size))
    assert "cannot be opened" in lines["f_3_9"]["reason"]
    written = json.loads((tmp_path / "data/msvd/report.json").read_text())
    assert {Path(file["path"]).name for file in written["annotations"]} == {
        "captions_msvd.json",
        "train_list.txt",
        "val_list.txt",
        "test_list.txt",
    }
    assert all(len(file["sha256"]) == 64 for file in written["annotations"])
    assert (written["protocol"], written["splits"]["test"]["lost"], written["versions"]["av"]) == (
        "msvd", 2, probes_version(),
    )  # fmt: skip
    manifest = read_manifest(tmp_path / "data/msvd/manifest.jsonl")
    assert (manifest.protocol, manifest.preset) == ("msvd", "msvd-b32")


def probes_version() -> str:
    from importlib.metadata import version

    return version("av")


def test_strict_and_nothing_usable(prepare, clip, lists, tmp_path):
    videos = put(clip, tmp_path / "videos", "a_0_5.avi")
    with pytest.raises(DataError, match=r"--strict: 5 problems \(missing file 5\).*report\.json names them all"):
        prepare(videos=(videos,), annotations=(lists,), strict=True)
    assert not (tmp_path / "data/msvd/manifest.jsonl").exists()
    (videos / "a_0_5.avi").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"not one video can be used \(unreadable clip 1, missing file 5\)"):
        prepare(videos=(videos,), annotations=(lists,))
    other = put(clip, tmp_path / "other", "holiday.avi")
    with pytest.raises(DataError, match=r"none of the 1 video file \(holiday\.avi\) is called as MSVD's .*a_0_5"):
        prepare(videos=(other,), annotations=(lists,))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no video file in .*empty"):
        prepare(videos=(tmp_path / "empty",), annotations=(lists,))


def test_videos_that_come_later_complete_the_set(prepare, clip, lists, tmp_path, monkeypatch):
    videos = put(clip, tmp_path / "videos", "a_0_5.avi", "e_1_2.avi")
    assert prepare(videos=(videos,), annotations=(lists,))[0].new == 2
    decoded = []

    class Counting(probes.DecodePool):
        def imap(self, requests):
            requests = list(requests)
            decoded.extend(Path(request.path).name for request in requests)
            return super().imap(requests)

    monkeypatch.setattr(probes, "DecodePool", Counting)
    put(clip, videos, "b_1_9.avi", "f_3_9.avi")
    report, records, _ = prepare(videos=(videos,), annotations=(lists,))
    assert (report.new, report.kept, sorted(decoded)) == (2, 2, ["b_1_9.avi", "f_3_9.avi"])
    assert set(records) == {"a_0_5", "b_1_9", "e_1_2", "f_3_9"}
    assert report.splits["test"].lost == 0
    decoded.clear()
    report, _, _ = prepare(videos=(videos,), annotations=(lists,))
    assert (report.new, decoded) == (0, [])


def test_several_files_of_one_name(prepare, clip, lists, tmp_path):
    """The first that can be read: a torn copy at the top does not hide a whole one below."""
    videos = put(clip, tmp_path / "videos", "a_0_5.avi", "again/a_0_5.mkv", "b_1_9.avi", "again/b_1_9.avi")
    truncate(videos / "a_0_5.avi", 0.1)
    report, records, lines = prepare(videos=(videos,), annotations=(lists,))
    assert records["a_0_5"].path.endswith("again/a_0_5.mkv")
    assert records["b_1_9"].path == str(videos / "b_1_9.avi")
    assert any("Several files of one name" in note and "2 videos" in note for note in report.notes)
    assert lines["a_0_5"]["state"] == "present" and "unreadable clip" not in report.problem_counts()


def test_ids_that_differ_in_case_alone(prepare, clip, lists, tmp_path):
    """Ids of YouTube do: a file of another video's very name is not taken."""
    captions = {"aB_0_5": ["one"], "Ab_0_5": ["two"], "xY_0_5": ["three"]}
    (lists / "captions_msvd.json").write_text(json.dumps(captions))
    for split, video_id in zip(("train", "val", "test"), captions, strict=True):
        (lists / f"{split}_list.txt").write_text(video_id)
    videos = put(clip, tmp_path / "videos", "aB_0_5.avi", "xy_0_5.avi")
    _, records, _ = prepare(videos=(videos,), annotations=(lists,))
    assert {video_id: Path(record.path).name for video_id, record in records.items()} == {
        "aB_0_5": "aB_0_5.avi",
        "xY_0_5": "xy_0_5.avi",
    }


def test_archives_given_by_hand(prepare, clip, tmp_path):
    """Unpacked among the downloads, never into the user's own folder; annotations may come in them."""
    inside = put(clip, tmp_path / "inside/YouTubeClips", *(f"{name}.avi" for name in (*TRAIN, *VAL, *TEST)))
    write_lists(tmp_path / "inside/lists")
    given = tmp_path / "given"
    given.mkdir()
    with tarfile.open(given / "YouTubeClips.tar", "w") as archive:
        archive.add(inside, "YouTubeClips")
    shutil.make_archive(str(given / "msvd_data"), "zip", tmp_path / "inside/lists")
    before = {path: path.stat().st_mtime_ns for path in given.rglob("*")}
    report, records, _ = prepare(videos=(given,))
    assert len(records) == 6 and not report.problems
    assert before == {path: path.stat().st_mtime_ns for path in given.rglob("*")}
    unpacked = tmp_path / "data/downloads/msvd/unpacked"
    assert all(Path(record.path).is_relative_to(unpacked) for record in records.values())
    assert prepare(videos=(given,))[0].new == 0
    (unpacked / "YouTubeClips.tar/YouTubeClips/a_0_5.avi").unlink()
    assert not prepare(videos=(given,))[0].problems  # unpacked again
    # An archive by its own name.
    report, records, _ = prepare(name="again", videos=(given / "YouTubeClips.tar",), annotations=(tmp_path / "inside",))
    assert len(records) == 6


@pytest.fixture
def served(tmp_path):
    """A folder on a real server; gives its address and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()
    thread.join()


def serve_msvd(folder: Path, clip: Path) -> None:
    videos = put(clip, folder.parent / "to_pack", *(f"{name}.avi" for name in (*TRAIN, *VAL, *TEST)))
    with tarfile.open(folder / "YouTubeClips.tar", "w") as archive:
        archive.add(videos, "YouTubeClips")
    lists = write_lists(folder.parent / "to_serve")
    for name in ("train", "val", "test"):
        shutil.copy(lists / f"{name}_list.txt", folder)
    captions = json.loads((lists / "captions_msvd.json").read_text())
    lines = [f"{video_id} {caption}" for video_id, its in captions.items() for caption in its]
    (folder / "AllVideoDescriptions.txt").write_text("# MSVD\n\n" + "\n".join(lines) + "\n")
    shutil.make_archive(str(folder / "msvd_data"), "zip", lists)


def test_downloads(prepare, clip, served, tmp_path):
    address, folder = served
    serve_msvd(folder, clip)
    report, records, _ = prepare(mirror=address)
    assert len(records) == 6 and not report.problems
    downloads = tmp_path / "data/downloads/msvd"
    assert (downloads / "YouTubeClips.tar").is_file() and (downloads / "unpacked").is_dir()
    for path in folder.iterdir():
        path.unlink()  # what is there is not asked for again
    assert prepare(mirror=address)[0].new == 0


def test_no_annotations(prepare, clip, tmp_path):
    videos = put(clip, tmp_path / "videos", "a_0_5.avi")
    with pytest.raises(DataError, match=r"there is no captions_msvd\.json.*--annotations"):
        prepare(videos=(videos,), annotations=(videos,))
    with pytest.raises(
        DataError, match=r"LSMDC's videos have no public address: sign .*--from VIDEOS --annotations LISTS"
    ):
        prepare(BENCHMARKS["lsmdc"], "lsmdc")
    for wrong in ({"videos": (tmp_path / "none",)}, {"annotations": (tmp_path / "none",)}):
        with pytest.raises(DataError, match="there is no folder"):
            BenchmarkOptions(**wrong)
    assert not (tmp_path / "data").exists()


def test_a_part_of_train_for_val(prepare, clip, tmp_path):
    """Drawn by name, so that more videos move none; what the protocol expects of train shrinks by it."""
    charades = BENCHMARKS["charades"]
    lists = tmp_path / "lists"
    lists.mkdir()
    ids = [f"V{number:04d}" for number in range(40)]
    head = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
    for split, its in (("train", ids), ("test", ["T0001"])):
        rows = "".join(f"{i},S,Kitchen,6,7,Yes,A person walks {i}.,dog,A person runs.,c001 0 1,1.0\n" for i in its)
        (lists / f"Charades_v1_{split}.csv").write_text(head + rows)
    videos = put(clip, tmp_path / "videos", "T0001.mp4", *(f"{i}.mp4" for i in ids[:20]))
    few, records, _ = prepare(charades, "charades", videos=(videos,), annotations=(lists,), val_fraction=0.25)
    put(clip, videos, *(f"{i}.mp4" for i in ids[20:]))
    report, more_records, _ = prepare(charades, "charades", videos=(videos,), annotations=(lists,), val_fraction=0.25)
    assert all(more_records[video_id].split == record.split for video_id, record in records.items())
    train, val = report.splits["train"], report.splits["val"]
    assert val.videos + train.videos == 40 and 3 <= val.videos <= 18
    assert (train.expected, val.expected) == (7985 - val.videos, val.videos)
    assert val.complete and not train.complete and few.splits["val"].expected == val.videos
    with pytest.raises(ConfigError, match="msvd has a val split of its own"):
        prepare(videos=(videos,), val_fraction=0.1)
    with pytest.raises(ConfigError, match="from 0 to 1|0 to 1"):
        BenchmarkOptions(val_fraction=1.0)


def test_splits_and_names(prepare, clip, lists, tmp_path):
    assert default_name(BENCHMARKS["msrvtt"], None) == default_name(BENCHMARKS["msrvtt"], "9k") == "msrvtt"
    assert default_name(BENCHMARKS["msrvtt"], "7k") == "msrvtt-7k"
    with pytest.raises(ConfigError, match="--split 8k: MSR-VTT has 9k, 7k, full"):
        prepare(BENCHMARKS["msrvtt"], split="8k")
    videos = put(clip, tmp_path / "videos", "a_0_5.avi")
    prepare(videos=(videos,), annotations=(lists,))
    with pytest.raises(DataError, match=r"holds another data set \(msvd\): choose another name with --name"):
        prepare(BENCHMARKS["vatex"], "msvd", videos=(videos,), annotations=(lists,))


@pytest.mark.slow
def test_interrupted_and_run_again(lists, clip, tmp_path):
    """Ctrl-C while videos are looked into: no manifest, no traceback, and what was looked into is not again."""
    ids = [f"x_{number}_{number + 1}" for number in range(3000)]
    (lists / "train_list.txt").write_text("\n".join(ids))
    captions = json.loads((lists / "captions_msvd.json").read_text())
    (lists / "captions_msvd.json").write_text(json.dumps({**captions, **{video_id: ["a dog"] for video_id in ids}}))
    videos = put(clip, tmp_path / "videos", *(f"{video_id}.avi" for video_id in ids))
    command = [sys.executable, "-m", "tvrkit", "prepare", "msvd", "--from", videos, "--annotations", lists]
    env = clean_environment(tmp_path)
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, start_new_session=True) as process:
        while b"Annotations" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(2.5)
        os.killpg(process.pid, signal.SIGINT)
        words = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130 and "Traceback" not in words, words
    assert not (tmp_path / "data/msvd/manifest.jsonl").exists()
    known = len(json.loads((tmp_path / "data/msvd/probes.json").read_text()))
    assert 0 < known < 3000
    done = subprocess.run([*command, "--json"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert (report["new"], report["kept"]) == (3000 - known, known)


@pytest.mark.slow
def test_all_of_msvd(run_cli, clip, shared, tmp_path):
    """1,970 avi files under their real names and the real lists, with one command."""
    lists = shared / "annotations/msvd"
    ids = [line for split in ("train", "val", "test") for line in (lists / f"{split}_list.txt").read_text().split()]
    videos = tmp_path / "YouTubeClips"
    videos.mkdir()
    for video_id in ids:
        shutil.copy(clip, videos / f"{video_id}.avi")
    given = ("prepare", "msvd", "--from", videos, "--annotations", lists)
    done = run_cli(*given)
    assert done.code == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["train", "1,200", "1,200", "1,200", "0", "0", "48,774", "0"] in rows
    assert ["val", "100", "100", "100", "0", "0", "4,290", "0"] in rows
    assert ["test", "670", "670", "670", "0", "0", "27,763", "0"] in rows
    assert "1,970 videos looked into, 0 known from before." in done.stderr and "Warning" not in done.stderr
    assert "refuses" not in done.stderr
    assert read_manifest(tmp_path / "data/msvd/manifest.jsonl").splits() == {"train": 1200, "val": 100, "test": 670}

    again = json.loads(run_cli(*given, "--json").stdout)
    assert (again["new"], again["kept"]) == (0, 1970) and all(count["complete"] for count in again["splits"].values())
    check = run_cli("prepare", "msvd", "--check")
    assert check.code == 0 and "1,970 videos decoded again" in check.stderr

    gone, torn = ids[-5:], ids[:3]
    for video_id in gone:
        (videos / f"{video_id}.avi").unlink()
    for video_id in torn:
        truncate(videos / f"{video_id}.avi", 0.1)
    check = run_cli("prepare", "msvd", "--check", "--json")
    faults = json.loads(check.stdout)["faults"]
    assert check.code == 1
    assert {f["where"] for f in faults} == {*gone, *torn, "train", "test"}
    rest = json.loads(run_cli(*given, "--json").stdout)
    assert {p["where"] for p in rest["problems"] if p["kind"] == "missing file"} == set(gone)
    assert {p["where"].split()[0] for p in rest["problems"] if p["kind"] == "unreadable clip"} == set(torn)
    assert (rest["splits"]["test"]["videos"], rest["splits"]["train"]["unreadable"]) == (665, 3)
    for video_id in (*gone, *torn):
        shutil.copy(clip, videos / f"{video_id}.avi")
    run_cli(*given)
    assert run_cli("prepare", "msvd", "--check").code == 0


@pytest.mark.parametrize(
    ("name", "split", "folder", "suffix", "expected"),
    [
        ("msvd", "official", "msvd", ".avi", {"train": 1200, "val": 100, "test": 670}),
        ("msrvtt", "9k", "msrvtt", ".mp4", {"train": 9000, "test": 1000}),
        pytest.param("msrvtt", "full", "msrvtt", ".mp4", {"val": 497, "test": 2990}, marks=pytest.mark.slow),
        pytest.param("didemo", "official", "didemo", ".mp4", {"val": 1065, "test": 1004}, marks=pytest.mark.slow),
        pytest.param(
            "activitynet", "val_1", "activitynet", ".mkv", {"train": 10009, "test": 4917}, marks=pytest.mark.slow
        ),
        ("lsmdc", "official", "lsmdc", ".avi", {"test": 1000}),
        ("vatex", "official", "vatex", ".mp4", {"test": 1500}),
    ],
)
def test_real_lists(prepare, clip, shared, tmp_path, name, split, folder, suffix, expected):
    """The benchmarks' own files, and the first two test videos under their real names."""
    from tvrkit.prepare.benchmarks.sources import AnnotationFiles

    benchmark = BENCHMARKS[name]
    lists = shared / "annotations" / folder
    items = benchmark.read(AnnotationFiles([lists]), split).split("test")
    names = [(item.names[0] if item.names and name == "lsmdc" else item.video_id) for item in items[:2]]
    videos = put(clip, tmp_path / "videos", *(f"{video}{suffix}" for video in names))
    report, records, lines = prepare(benchmark, name, split=split, videos=(videos,), annotations=(lists,))
    assert set(records) == {item.video_id for item in items[:2]}
    assert {s: count.listed for s, count in report.splits.items() if s in expected} == expected
    assert report.splits["test"].missing == expected["test"] - 2
    assert report.splits["test"].captions == sum(len(item.captions) for item in items[:2])
    assert len(lines) == sum(count.listed for count in report.splits.values())

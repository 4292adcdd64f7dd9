"""`prepare_folder` on real files: whole, torn and empty ones, spans, ids, splits, and what is remembered."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter

import pytest
from media import make_audio, make_video, truncate

from tvrkit.errors import ConfigError, DataError
from tvrkit.frames.reading import Reading
from tvrkit.keywords import TAGGER
from tvrkit.manifest import read_manifest
from tvrkit.prepare import probes
from tvrkit.prepare.folder import FolderOptions, prepare_folder


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Two seconds of video in three containers."""
    folder = tmp_path_factory.mktemp("originals")
    for name in ("a.mp4", "sub/b.mkv", "c.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        make_video(folder / name, num_frames=20, fps=10)
    return folder


@pytest.fixture
def clips(originals, tmp_path):
    return shutil.copytree(originals, tmp_path / "clips")


@pytest.fixture
def prepare(clips, tmp_path):
    """Prepare `clips` with lines of CSV, decoding in this process; gives (report, records by id)."""

    def run(lines=None, *, name="captions.csv", **options):
        if lines is not None:
            options["captions"] = tmp_path / name
            options["captions"].write_text("\n".join(lines), encoding="utf-8")
        options.setdefault("reading", Reading(workers=0))
        report = prepare_folder(clips, tmp_path / "data/mine", name="mine", options=FolderOptions(**options))
        manifest = read_manifest(report.manifest)
        assert (manifest.name, manifest.preset, manifest.tagger) == ("mine", "folder", TAGGER)
        assert manifest.protocol == report.protocol == "folder"
        assert all(manifest.file_of(record).is_file() for record in manifest.records)
        return report, {record.video_id: record for record in manifest.records}

    return run


def test_csv(prepare):
    report, records = prepare(
        [
            "path,caption,start,end,split",
            "a.mp4,A dog runs.,,,train",
            "a.mp4,A brown dog.,,,train",
            "sub/b.mkv,One.,0,1,val",
            "sub/b.mkv,Two.,1,2,val",
            "c.mp4,A cat.,0.5,,Testing",
        ]
    )
    assert list(records) == ["a", "sub/b@0-1", "sub/b@1-2", "c"]
    assert records["a"].captions == ("A dog runs.", "A brown dog.")
    assert [records["a"].captions[0][s:e] for s, e in records["a"].key_words[0]] == ["dog", "runs"]
    assert (records["sub/b@1-2"].start_seconds, records["sub/b@1-2"].end_seconds) == (1.0, 2.0)
    assert (records["c"].split, records["c"].start_seconds, records["c"].end_seconds) == ("test", 0.5, None)
    assert records["a"].duration_seconds == pytest.approx(2.0, abs=0.11)
    assert not report.problems
    assert {name: (c.videos, c.captions) for name, c in report.splits.items()} == {
        "train": (1, 2),
        "val": (2, 2),
        "test": (1, 1),
    }
    assert report.splits["val"].hours == pytest.approx(2 / 3600, abs=1e-4)


def test_everything_wrong_at_once_is_named_and_not_fatal(prepare, clips, tmp_path):
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "text.mp4").write_text("no video")
    make_audio(clips / "sound.mp4")
    shutil.copy(clips / "a.mp4", clips / "torn.mp4")
    truncate(clips / "torn.mp4", 0.05)
    (tmp_path / "secret.mp4").write_bytes((clips / "a.mp4").read_bytes())
    lines = [
        "video_id,path,caption,start,end,split",
        "one,a.mp4,A dog.,,,train",
        "one,c.mp4,The same id for another file.,,,train",
        "one,a.mp4,A dog.,,,train",
        "one,a.mp4,A dog in another split.,,,test",
        ",none.mp4,Nowhere.,,,",
        ",other/a.mp4,In another folder.,,,",
        f",{tmp_path / 'secret.mp4'},Outside.,,,",
        ",../secret.mp4,Outside.,,,",
        ",/dev/zero,A device.,,,",
        ",empty.mp4,Nothing.,,,",
        ",text.mp4,Words.,,,",
        ",sound.mp4,Sound.,,,",
        ",torn.mp4,Half.,,,",
        ",c.mp4,,,,",
        ",c.mp4,Too late.,99,,",
        ",c.mp4,Backwards.,2,1,",
    ]
    report, records = prepare(lines)
    assert list(records) == ["one"]
    assert records["one"].captions == ("A dog.", "A dog in another split.")
    assert report.problem_counts() == {
        "no caption": 1,
        "bad span": 1,
        "duplicate id": 1,
        "repeated caption": 1,
        "two splits": 1,
        "missing file": 2,
        "outside the folder": 3,
        "unreadable clip": 5,
    }
    reasons = {p.where: p.reason for p in report.problems if p.kind == "unreadable clip"}
    late = "c.mp4 (captions.csv, line 16)"
    assert set(reasons) == {"empty.mp4", "text.mp4", "sound.mp4", "torn.mp4", late}
    assert "0 bytes" in reasons["empty.mp4"] and "99" in reasons[late]
    assert "b.mkv" in report.notes[0]
    written = json.loads((report.manifest.parent / "report.json").read_text())
    assert Counter(p["kind"] for p in written["problems"]) == report.problem_counts()

    with pytest.raises(DataError, match=r"--strict: 15 problems .*report\.json names them all"):
        prepare(lines, strict=True)


def test_strict_leaves_no_manifest(prepare, tmp_path):
    with pytest.raises(DataError, match="--strict: 1 problem "):
        prepare(["path,caption", "a.mp4,A dog.", "none.mp4,Nothing."], strict=True)
    assert not (tmp_path / "data/mine/manifest.jsonl").exists()
    assert (tmp_path / "data/mine/report.json").exists()


def test_no_usable_video(prepare):
    with pytest.raises(DataError, match=r"not one video can be used \(missing file 1\)"):
        prepare(["path,caption", "none.mp4,Nothing."])


def test_sidecars(prepare, clips):
    (clips / "a.txt").write_text("A dog.\nA brown dog.\n")
    (clips / "sub/b.mkv.txt").write_text("A cat.")
    report, records = prepare()
    assert {name: record.captions for name, record in records.items()} == {
        "a": ("A dog.", "A brown dog."),
        "sub/b": ("A cat.",),
    }
    assert report.notes == ("Left out because no caption mentions them: 1 of 3 videos (c.mp4).",)


def test_a_video_that_is_gone_with_its_captions_is_said(prepare, clips):
    for name in ("a", "c"):
        (clips / f"{name}.txt").write_text("a caption", encoding="utf-8")
    assert not [note for note in prepare()[0].notes if "any more" in note]
    (clips / "c.mp4").unlink()
    report, records = prepare()
    assert list(records) == ["a"]
    assert "Prepared before and not there any more: 1 video (c)." in report.notes


def test_no_captions_at_all(prepare, clips):
    with pytest.raises(DataError, match='no captions for the 3 videos.*tvrkit query "a dog surfing" --videos'):
        prepare()
    (clips / "captions.csv").write_text("path,caption\n")
    with pytest.raises(DataError, match=r"captions\.csv lies there"):
        prepare()
    with pytest.raises(DataError, match="holds no captions"):
        prepare(["path,caption"])


def test_a_folder_that_is_not_there_or_empty(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        prepare_folder(tmp_path / "none", tmp_path / "out", name="x")
    with pytest.raises(DataError, match="no video in"):
        prepare_folder(tmp_path, tmp_path / "out", name="x")


def test_videos_by_name(prepare, clips, tmp_path):
    """Benchmarks name videos and not files; two files of one name are not guessed at."""
    (clips / "again").mkdir()
    shutil.copy(clips / "c.mp4", clips / "again/c.mp4")
    report, records = prepare(["video_id,sentence", "b,A cat.", "a,A dog.", "c,Which one?", "d,None."])
    assert list(records) == ["b", "a"]
    assert report.problem_counts() == {"missing file": 2}
    assert "again/c.mp4" in str(report.problems[0]) and "may be any of" in str(report.problems[0])
    assert "2 lines" in report.notes[0]


def test_paths_relative_to_the_caption_file(prepare):
    _, records = prepare(["path,caption", "clips/a.mp4,A dog."])
    assert list(records) == ["a"]


def test_files_that_differ_in_their_suffix_alone(prepare, clips):
    make_video(clips / "a.mkv", num_frames=10, fps=10)
    _, records = prepare(["path,caption", "a.mp4,A dog.", "a.mkv,A cat.", "a.mkv,A part.,", 'c.mp4,"Three"'])
    assert list(records) == ["a.mp4", "a.mkv", "c"]


def test_spans_that_share_an_id(prepare):
    _, records = prepare(["id,file,text,begin,to", "x,a.mp4,All.,,", "x,a.mp4,Start.,0,0.5", "x,a.mp4,Rest.,0:00.5,"])
    assert list(records) == ["x", "x@0-0.5", "x@0.5-"]


def test_spans_in_several_splits_are_said(prepare):
    report, _ = prepare(["path,caption,start,end,split", "a.mp4,One.,0,1,train", "a.mp4,Two.,1,2,test"])
    assert "In several splits with different spans: 1 video (a.mp4)." in report.notes


def test_fractions_depend_on_the_name_alone(prepare, clips):
    for number in range(30):
        os.link(clips / "a.mp4", clips / f"{number}.mp4")
    names = [f"{number}.mp4" for number in range(30)]
    lines = ["path,caption,split", *(f"{name},A dog.," for name in names), "a.mp4,A dog.,mine"]
    _, few = prepare(lines[:12], val_fraction=0.2, test_fraction=0.3)
    _, all_of_them = prepare(lines, val_fraction=0.2, test_fraction=0.3)
    splits = Counter(record.split for record in all_of_them.values())
    assert splits["mine"] == 1 and splits["train"] > splits["val"] > 0 and splits["test"] > 0
    assert all(all_of_them[name].split == record.split for name, record in few.items())
    _, none = prepare(lines)
    assert Counter(record.split for record in none.values()) == {"test": 30, "mine": 1}
    for wrong in ({"val_fraction": -0.1}, {"val_fraction": 0.6, "test_fraction": 0.6}):
        with pytest.raises(ConfigError, match="--val-fraction"):
            FolderOptions(**wrong)


def test_only_what_is_new_or_changed_is_decoded_again(prepare, clips, monkeypatch):
    lines = ["path,caption", "a.mp4,A dog.", "sub/b.mkv,A cat.", "c.mp4,A cow."]
    assert prepare(lines)[0].new == 3
    decoded = []

    class Counting(probes.DecodePool):
        def imap(self, requests):
            requests = list(requests)
            decoded.extend(request.path for request in requests)
            return super().imap(requests)

    monkeypatch.setattr(probes, "DecodePool", Counting)
    report, before = prepare(lines)
    assert (report.new, report.kept, decoded) == (0, 3, [])
    make_video(clips / "c.mp4", num_frames=30, fps=10)
    (clips / "a.mp4").rename(clips / "moved.mp4")
    make_video(clips / "new.mp4", num_frames=10, fps=10)
    (clips / "bad.mp4").write_bytes(b"no video")
    lines[1] = "moved.mp4,A dog."
    lines += ["new.mp4,A bird.", "bad.mp4,A fish."]
    report, after = prepare(lines)
    assert sorted(os.path.basename(path) for path in decoded) == ["bad.mp4", "c.mp4", "new.mp4"]
    assert after["c"].duration_seconds == pytest.approx(before["c"].duration_seconds + 1)
    decoded.clear()
    prepare(lines)
    assert [os.path.basename(path) for path in decoded] == ["bad.mp4"]  # it may be mended by now
    (report.manifest.parent / "probes.json").write_text("[")
    assert prepare(lines)[0].new == 5


def test_another_kind_of_data_set_is_not_written_over(prepare, tmp_path):
    folder = tmp_path / "data/mine"
    folder.mkdir(parents=True)
    (folder / "manifest.jsonl").write_text('{"tvrkit_manifest": 1, "name": "mine"}\n')
    for report in (None, "{", "[]", '{"settings": {"seed": 0}}'):
        if report is not None:
            (folder / "report.json").write_text(report)
        with pytest.raises(DataError, match="another data set"):
            prepare(["path,caption", "a.mp4,A dog."])


def test_names_of_files_that_are_no_text(prepare, clips):
    raw = os.fsencode(clips) + b"/caf\xe9.mp4"
    try:
        os.link(clips / "a.mp4", raw)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (clips / "a.txt").write_text("A dog.")
    (clips / os.fsdecode(b"caf\xe9.txt")).write_text("A cafe.")
    report, records = prepare()
    assert list(records) == ["a"] and report.problem_counts() == {"bad file name": 1}
    json.loads((report.manifest.parent / "report.json").read_text())


@pytest.mark.slow
def test_real_clips(shared, tmp_path):
    """The caption file of 107 web videos in mixed containers, as it is."""
    folder = shared / "clips"
    options = FolderOptions(captions=folder / "captions.jsonl")
    report = prepare_folder(folder, tmp_path / "data", name="clips", options=options)
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    with_captions = [row for row in rows if row["captions"]]
    unreadable = report.problem_counts().get("unreadable clip", 0)
    assert report.splits["test"].videos == len(with_captions) - unreadable and unreadable <= 2
    again = prepare_folder(folder, tmp_path / "data", name="clips", options=options)
    assert again.new == unreadable


@pytest.mark.slow
def test_thousands_of_captions(shared, tmp_path):
    """4,351 videos with their own splits; a part of them, so that it does not take minutes."""
    folder = shared / "msrvtt-mini"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    rows = (folder / "captions.jsonl").read_text().splitlines()[::20]
    captions = tmp_path / "captions.jsonl"
    captions.write_text("\n".join(rows))
    report = prepare_folder(folder, tmp_path / "data", name="mini", options=FolderOptions(captions=captions))
    assert not report.problems and set(report.splits) == {"train", "val"}
    assert sum(count.videos for count in report.splits.values()) == len(rows)

"""`tvrkit prepare` as a user types it."""

from __future__ import annotations

import json

import pytest
from media import make_video

from tvrkit.manifest import read_manifest


@pytest.mark.slow
def test_shapes(run_cli, tmp_path):
    done = run_cli("prepare", "shapes", "--scale", "0.002", "--seed", "3", "--name", "few")
    assert done.code == 0, done.stderr
    assert read_manifest(tmp_path / "data/few/manifest.jsonl").splits() == {"train": 8, "val": 8, "test": 8, "hard": 8}
    assert "Rendering clips 32/32" in done.stderr and "32 clips rendered." in done.stderr
    assert "tvrkit train --data few" in done.stderr and "tvrkit eval --data few" in done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["train", "8", "0", "0", "32", "0", "0.0044"] in rows and ["hard", "8", "0", "0", "8", "0", "0.0044"] in rows
    check = run_cli("prepare", "shapes", "--check", "--name", "few")
    assert check.code == 0 and "few is as it should be: 32 videos decoded again" in check.stderr

    again = run_cli("prepare", "shapes", "--scale", "0.002", "--seed", "3", "--name", "few", "--json")
    assert json.loads(again.stdout)["kept"] == 32 and "nothing to do" in again.stderr
    other = run_cli("prepare", "shapes", "--scale", "0.003", "--name", "few")
    assert other.code == 1 and "other settings" in other.stderr and "Traceback" not in other.stderr


@pytest.mark.slow
def test_folder(run_cli, tmp_path):
    (tmp_path / "clips").mkdir()
    for name in ("dog", "cat", "cow", "hen", "pig"):
        make_video(tmp_path / f"clips/{name}.mp4", num_frames=10, fps=10)
    (tmp_path / "clips").joinpath("broken.mp4").write_bytes(b"no video")
    lines = ["path,caption", *(f"{name}.mp4,a {name}" for name in ("dog", "cat", "cow", "hen", "pig", "broken"))]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    done = run_cli("prepare", "folder", "clips", "--captions", "captions.csv")
    assert done.code == 0, done.stderr
    assert read_manifest(tmp_path / "data/clips/manifest.jsonl").splits() == {"test": 5}
    assert "Warning: unreadable clip: 1" in done.stderr and "broken.mp4: " in done.stderr
    assert "6 videos looked into, 0 known from before." in done.stderr
    assert "tvrkit eval --data clips --model" in done.stderr

    again = run_cli("prepare", "folder", "clips", "--captions", "captions.csv", "--test-fraction", "0.4", "--json")
    assert "1 video looked into, 5 known from before." in again.stderr
    report = json.loads(again.stdout)
    assert sum(split["videos"] for split in report["splits"].values()) == 5
    assert report["problems"][0]["where"] == "broken.mp4"

    strict = run_cli("prepare", "folder", "clips", "--captions", "captions.csv", "--strict")
    assert strict.code == 1 and "--strict: 1 problem (unreadable clip 1)" in strict.stderr


def lists(folder):
    """A small MSVD in the field's own formats."""
    ids = {"train": ["a_0_5", "b_1_9"], "val": ["c_2_4"], "test": ["d_0_5", "e_1_2"]}
    folder.mkdir()
    for split, its in ids.items():
        (folder / f"{split}_list.txt").write_text("\n".join(its))
    captions = {video_id: ["a dog", "a dog runs"] for its in ids.values() for video_id in its}
    (folder / "captions_msvd.json").write_text(json.dumps(captions))


def test_a_benchmark_by_hand(run_cli, tmp_path):
    lists(tmp_path / "lists")
    (tmp_path / "videos").mkdir()
    for name in ("a_0_5", "c_2_4", "d_0_5"):
        make_video(tmp_path / f"videos/{name}.avi", num_frames=10, fps=10, codec="mpeg4")
    given = ("prepare", "msvd", "--from", "videos", "--annotations", "lists", "--workers", "0")
    done = run_cli(*given)
    assert done.code == 0, done.stderr
    words = done.stderr.splitlines()
    assert words[0].startswith("MSVD: https://") and words[1].startswith("Terms: Microsoft Research")
    assert not any(line.startswith("To download") for line in words)
    assert "Annotations: 5 videos, 10 captions." in words and "3 videos looked into, 0 known from before." in words
    assert "Warning: missing file: 2" in words and "  b_1_9: no file of that name" in words
    assert "  tvrkit train --data msvd" in words and "  tvrkit eval --data msvd" in words
    assert "test has 1 of 670 videos and 2 captions of msvd: eval refuses it" in words[-1]
    assert max(map(len, done.stdout.splitlines())) <= 80
    rows = [line.split() for line in done.stdout.splitlines()]
    head = ["split", "protocol", "listed", "videos", "missing", "unreadable", "captions", "lost"]
    assert head in rows and ["train", "1,200", "2", "1", "1", "0", "2", "2"] in rows
    manifest = read_manifest(tmp_path / "data/msvd/manifest.jsonl")
    assert manifest.protocol == "msvd" and all(manifest.file_of(record).is_file() for record in manifest.records)

    again = run_cli(*given, "--json")
    report = json.loads(again.stdout)
    assert (report["new"], report["kept"], report["splits"]["test"]["missing"]) == (0, 3, 1)
    assert report["settings"]["command"].endswith(f"--from {tmp_path}/videos --annotations {tmp_path}/lists")
    strict = run_cli(*given, "--strict")
    assert strict.code == 1 and "--strict: 2 problems (missing file 2)" in strict.stderr

    plan = run_cli(*given, "--dry-run", "--name", "other", "--json")
    assert plan.code == 0 and (json.loads(plan.stdout)["annotated"], json.loads(plan.stdout)["located"]) == (5, 3)
    assert not (tmp_path / "data/other").exists()


def test_check(run_cli, tmp_path):
    """Under the benchmark's own command, under the set's own name, and what a name without --check says."""
    lists(tmp_path / "lists")
    (tmp_path / "videos").mkdir()
    for name in ("a_0_5", "b_1_9", "c_2_4", "d_0_5", "e_1_2"):
        make_video(tmp_path / f"videos/{name}.avi", num_frames=10, fps=10, codec="mpeg4")
    (tmp_path / "captions.csv").write_text("path,caption\na_0_5.avi,a dog\nb_1_9.avi,a cat\n")
    made = run_cli("prepare", "folder", "videos", "--captions", "captions.csv", "--name", "mine", "--workers", "0")
    assert made.code == 0, made.stderr
    good = run_cli("prepare", "mine", "--check", "--workers", "0")
    assert good.code == 0 and "mine is as it should be: 2 videos decoded again" in good.stderr
    assert ["test", "2", "0", "0", "2", "0", "0.0006"] in [line.split() for line in good.stdout.splitlines()]

    (tmp_path / "videos/a_0_5.avi").unlink()
    (tmp_path / "videos/b_1_9.avi").write_bytes(b"no video")
    bad = run_cli("prepare", "mine", "--check", "--workers", "0", "--json")
    faults = {fault["where"]: fault for fault in json.loads(bad.stdout)["faults"]}
    assert bad.code == 1 and set(faults) == {"a_0_5", "b_1_9"}
    command = f"tvrkit prepare folder {tmp_path}/videos --captions {tmp_path}/captions.csv --name mine"
    assert faults["a_0_5"]["mend"] == f"put it back and run {command}"

    wrong = run_cli("prepare", "mine")
    assert wrong.code == 1 and "'mine' is a data set that is prepared in" in wrong.stderr
    assert f"`{command}` prepares it again" in wrong.stderr and len(wrong.stderr.splitlines()) == 1
    none = run_cli("prepare", "msvd", "--check")
    assert none.code == 1 and "run `tvrkit prepare msvd` first" in none.stderr


def test_a_dry_run_writes_nothing(run_cli, tmp_path):
    done = run_cli("prepare", "msvd", "--dry-run", "--mirror", tmp_path)
    assert done.code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "YouTubeClips.tar" in done.stdout and "unknown" in done.stdout
    assert "Annotations: not there yet." in done.stderr and "GB free" in done.stderr
    assert "Nothing was written." in done.stderr and not (tmp_path / "data").exists()


def test_what_cannot_be_downloaded_is_one_sentence(run_cli, tmp_path):
    """LSMDC has no public address at all."""
    done = run_cli("prepare", "lsmdc")
    assert done.code == 1 and done.stderr.splitlines()[1].startswith("Terms: Only for research")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: LSMDC's videos have no public address: sign the agreement")
    assert "`tvrkit prepare lsmdc --from VIDEOS --annotations LISTS`" in last


@pytest.mark.slow
def test_without_a_network(run_cli, tmp_path):
    """One of the four lines of the README, in a place whose proxy leads nowhere."""
    nowhere = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    done = run_cli("prepare", "msvd", env=nowhere)
    assert done.code == 1 and "Traceback" not in done.stderr
    assert "To download: YouTubeClips.tar" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: MSVD could not be downloaded: there is no AllVideoDescriptions.txt, ")
    for words in ("huggingface.co", "YouTubeClips.tar from www.cs.utexas.edu", "--from VIDEOS --annotations LISTS"):
        assert words in last


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a:b", "downloads"])
def test_names_that_are_no_folder(run_cli, name):
    done = run_cli("prepare", "shapes", "--name", name)
    assert done.code == 2 and "--name" in done.stderr and "Traceback" not in done.stderr


def test_mistakes_are_sentences(run_cli, tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "list.txt").write_text("a_0_5")
    wrong = {
        ("folder", "none"): "there is no folder none",
        ("folder", "clips"): "no video in",
        ("folder", "clips", "--captions", "none.csv"): "cannot read the captions in none.csv",
        ("folder", "clips", "--val-fraction", "2"): "--val-fraction",
        ("nothing",): "No such command 'nothing'",
        ("msdv", "--from", "clips"): "did you mean msvd?",
        ("downloads", "--check"): "No such command 'downloads'",
        ("msrvtt", "--split", "8k"): "'9k', '7k', 'full'",
        ("msvd", "--from", "none"): "there is no folder or archive none",
        ("msvd", "--from", "list.txt"): "list.txt is neither a folder nor a zip or tar",
        ("msvd", "--annotations", "none"): "there is no folder none",
        ("msvd", "--mirror", "none"): "there is no folder none: --mirror names",
        ("msvd", "--val-fraction", "0.1"): "--val-fraction: msvd has a val split of its own",
    }
    for arguments, words in wrong.items():
        done = run_cli("prepare", *arguments)
        assert done.code in (1, 2) and words in done.stderr and "Traceback" not in done.stderr


def test_folders_that_are_named_from_another_place(run_cli, tmp_path):
    """`..` in a folder's name: paths of the caption file still lie inside it, and the manifest has plain paths."""
    (tmp_path / "clips/sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    make_video(tmp_path / "clips/sub/a_0_5.avi", num_frames=10, fps=10, codec="mpeg4")
    (tmp_path / "captions.csv").write_text("path,caption\nsub/a_0_5.avi,a dog\n")
    done = run_cli("prepare", "folder", "other/../clips", "--captions", "other/../captions.csv", "--workers", "0")
    assert done.code == 0, done.stderr
    manifest = read_manifest(tmp_path / "data/clips/manifest.jsonl")
    assert [str(manifest.file_of(record)) for record in manifest.records] == [str(tmp_path / "clips/sub/a_0_5.avi")]

    lists(tmp_path / "lists")
    (tmp_path / "clips/b_1_9.avi").symlink_to(tmp_path / "nowhere.avi")
    given = ("--from", "other/../clips", "--annotations", "other/../lists", "--mirror", "other/../other")
    done = run_cli("prepare", "msvd", *given, "--workers", "0")
    assert done.code == 0, done.stderr
    assert "Checking clips 2/2" in done.stderr and "2 videos looked into" in done.stderr
    command = f"--from {tmp_path}/clips --annotations {tmp_path}/lists --mirror {tmp_path}/other"
    written = (tmp_path / "data/msvd/report.json").read_text()
    assert command in written and ".." not in written
    check = run_cli("prepare", "msvd", "--check", "--workers", "0")
    rows = [line.split() for line in check.stdout.splitlines()]
    assert ["split", "protocol", "prepared", "videos", "missing", "unreadable", "captions", "lost"] in rows
    assert ["train", "1,200", "1", "1", "0", "0", "2", "0"] in rows

"""`tvrkit datasets` as a user types it."""

from __future__ import annotations

import json

from media import make_video

from tvrkit.prepare.benchmarks import BENCHMARKS


def test_what_there_is(run_cli, tmp_path):
    done = run_cli("datasets")
    assert done.code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "Nothing is prepared in data" in done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["msvd", "msvd", "1,200/48,774", "100/4,290", "670/27,763"] in rows
    assert ["msrvtt", "msrvtt-full", "6,513/130,260", "497/9,940", "2,990/59,800"] in rows
    assert ["shapes", "shapes", "4,800/19,200", "300/300", "500/500"] in rows
    assert {row[0] for row in rows if row} >= {*BENCHMARKS, "shapes"}

    (tmp_path / "clips").mkdir()
    for name in ("a", "b"):
        make_video(tmp_path / f"clips/{name}.mp4", num_frames=10, fps=10)
        (tmp_path / f"clips/{name}.txt").write_text("a dog")
    assert run_cli("prepare", "folder", "clips", "--name", "mine", "--workers", "0").code == 0
    (tmp_path / "data/downloads/msvd").mkdir(parents=True)
    (tmp_path / "data/broken").mkdir()
    (tmp_path / "data/broken/manifest.jsonl").write_text("{")
    shown = run_cli("datasets")
    assert ["mine", "folder", "folder", "test", "2"] in [line.split() for line in shown.stdout.splitlines()]
    assert "Warning: broken: " in shown.stderr and "Traceback" not in shown.stderr
    listed = json.loads(run_cli("datasets", "--json").stdout)
    assert [benchmark["name"] for benchmark in listed["benchmarks"]] == list(BENCHMARKS)
    assert [it["name"] for it in listed["prepared"]] == ["mine"] and list(listed["unreadable"]) == ["broken"]
    assert listed["benchmarks"][1]["splits"]["official"]["sizes"]["test"] == {"videos": 670, "captions": 27763}

    mine = run_cli("datasets", "mine")
    assert mine.code == 0 and "here: mine: test 2" in mine.stdout and "tvrkit prepare folder" in mine.stdout


def test_one_benchmark(run_cli):
    done = run_cli("datasets", "msvd")
    assert done.code == 0 and "Not prepared in data: tvrkit prepare msvd" in done.stderr
    for words in ("terms: Microsoft Research", "captions_msvd.json", "YouTubeClips.tar: videos", "by hand: "):
        assert words in done.stdout
    assert any(line.startswith("  https://www.cs.utexas.edu/") for line in done.stdout.splitlines())
    for name in ("lsmdc", "shapes"):
        assert json.loads(run_cli("datasets", name, "--json").stdout)["name"] == name
    wrong = run_cli("datasets", "nothing")
    assert wrong.code == 1 and "there is no data set 'nothing'" in wrong.stderr and len(wrong.stderr.splitlines()) == 1

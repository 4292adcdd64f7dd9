"""`tvrkit query`, as a user types it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from media import frame_number, make_video, numbered_frame
from PIL import Image
from support import Result

ROW = re.compile(
    r"^ *(\d+) +(?:(\d+ %)(?: \?)?|-?\d\.\d{3}) +(\S.*?) +(\d\d:\d\d)-(\d\d:\d\d) +(\d\d:\d\d) +(\d\d:\d\d) *$", re.M
)
KEYS = {
    *("rank", "score", "confidence", "confident", "video", "path", "other_paths"),
    *("duration_seconds", "best_seconds", "moments"),
}

Query = Callable[..., Result]


def rows_of(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def names_of(result: Result) -> list[str]:
    return [Path(row["path"]).name for row in rows_of(result)]


def test_the_line_of_the_readme(clips: Path, search_world, run_cli: Callable[..., Result]) -> None:
    """Typed exactly so; the newest run on real videos is chosen by itself."""
    run = clips.parent / "runs" / "20250101-000000-cats-tiny"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"name": run.name, "dataset": "cats"}))
    shutil.copytree(search_world.model, run / "checkpoints" / "best")
    first = run_cli("query", "a dog surfing", "--videos", "./clips")
    assert first.code == 0, first.stderr
    assert [row[0] for row in ROW.findall(first.stdout)] == ["1", "2", "3", "4"]
    assert {row[2] for row in ROW.findall(first.stdout)} == {
        "clips/a.mp4",
        "clips/d.mov",
        "clips/sub/b.mkv",
        "clips/sub/deep/c.webm",
    }
    assert max(map(len, first.stdout.splitlines())) <= 80
    assert f"runs/{run.name}, the newest run" in first.stderr.replace("\\", "/")
    assert "Encoding videos 4/4" in first.stderr
    again = run_cli("query", "a dog surfing", "--videos", "./clips")
    assert again.stdout == first.stdout and "Encoding" not in again.stderr


def test_only_data_goes_to_stdout(clips: Path, query: Query) -> None:
    (clips / "broken.mp4").write_bytes(b"broken")
    result = query("a dog", "--videos", "clips", "--json", "--top", "3")
    rows = rows_of(result)
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    for row in rows:
        assert set(row) == KEYS and Path(row["path"]).is_file() and Path(row["path"]).is_absolute()
        assert 0 <= row["confidence"] <= 1 and isinstance(row["confident"], bool)
        (moment,) = row["moments"]
        assert 0 == moment["start_seconds"] <= moment["best_seconds"] <= moment["end_seconds"]
        assert moment["end_seconds"] <= row["duration_seconds"]
    assert "broken.mp4" in result.stderr and "Encoding videos 5/5" in result.stderr


def test_copies_are_one_hit(clips: Path, query: Query) -> None:
    shutil.copyfile(clips / "d.mov", clips / "sub" / "copy.mov")
    everywhere = query("a dog", "--videos", "clips", "--json")
    (hit,) = (row for row in rows_of(everywhere) if row["other_paths"])
    assert {hit["path"], *hit["other_paths"]} == {str(clips / "d.mov"), str(clips / "sub" / "copy.mov")}
    (inside,) = (row for row in rows_of(query("a dog", "--in", "clips/sub", "--json")) if row["other_paths"])
    assert inside["path"] == str(clips / "sub" / "copy.mov") and inside["score"] == hit["score"]


def test_filters(clips: Path, query: Query) -> None:
    """The clips last 1, 1.5, 2 and 2.5 seconds."""
    for i, name in enumerate(("a.mp4", "sub/b.mkv", "sub/deep/c.webm", "d.mov")):
        os.utime(clips / name, (1_600_000_000 + i * 100_000_000,) * 2)  # September 2020, and 1157 days later each
    query("a dog", "--videos", "clips")

    def found(*options: str) -> set[str]:
        return set(names_of(query("a dog", "--json", *options)))

    assert found() == {"a.mp4", "b.mkv", "c.webm", "d.mov"}
    assert found("--in", "clips/sub") == {"b.mkv", "c.webm"}
    assert found("--in", "clips/sub/deep", "--in", "clips/a.mp4") == {"a.mp4", "c.webm"}
    assert found("--longer", "1.8") == {"c.webm", "d.mov"}
    assert found("--longer", "1.2s", "--shorter", "0:02.2") == {"b.mkv", "c.webm"}
    assert found("--after", "2021", "--before", "2025-01-01") == {"b.mkv"}
    assert found("--videos", "clips/sub") == {"b.mkv", "c.webm"}
    nowhere = query("a dog", "--in", "elsewhere")
    assert nowhere.code == 1 and "nothing in the index lies in" in nowhere.stderr and "elsewhere" in nowhere.stderr
    none = query("a dog", "--longer", "1h")
    assert none.code == 1 and none.stdout == "" and "leave one out" in none.stderr


def test_what_nothing_fits_is_said(clips: Path, query: Query) -> None:
    """A model with random weights is sure of nothing."""
    result = query("a dog", "--videos", "clips")
    assert result.code == 0 and "No confident match" in result.stderr
    assert re.findall(r"\d+ % \?", result.stdout) and len(ROW.findall(result.stdout)) == 4
    none = query("a dog", "--min-confidence", "0.99")
    assert none.code == 1 and none.stdout == "" and "Nothing is that sure" in none.stderr
    assert len(rows_of(query("a dog", "--min-confidence", "0", "--json"))) == 4


def test_parts_and_their_weights(clips: Path, query: Query, tmp_path: Path) -> None:
    query("a dog", "--videos", "clips")
    plain = query("a dog", "--json")
    summed = query("a dog^2", "--also", "a cat^0.5", "--avoid", "a horse", "--json")
    assert len(rows_of(summed)) == 4 and all(row["confidence"] is None for row in rows_of(summed))
    scores = {Path(row["path"]).name: row["score"] for row in rows_of(summed)}
    parts = {
        words: {
            Path(row["path"]).name: row["score"] for row in rows_of(query(f"{words}", "--also", "x^.000001", "--json"))
        }
        for words in ("a dog", "a cat", "a horse")
    }
    for name, score in scores.items():  # each part's standard score, weighted
        expected = 2 * parts["a dog"][name] + 0.5 * parts["a cat"][name] - 0.5 * parts["a horse"][name]
        assert score == pytest.approx(expected, abs=1e-3)
    assert names_of(query("a dog^7", "--json")) == names_of(plain)  # alone, a weight changes no order
    picture = tmp_path / "picture.png"
    Image.fromarray(numbered_frame(3)).save(picture)
    assert len(rows_of(query("--image", f"{picture}^0.5", "--json"))) == 4
    refused = query("--image", picture, "--min-confidence", "0.5")
    assert refused.code == 2 and "--min-confidence" in refused.stderr


def test_a_video_finds_its_like(clips: Path, query: Query, tmp_path: Path) -> None:
    make_video(tmp_path / "near.mov", times=[i / 10 for i in range(24)], fps=10, size=(112, 64), noise=66)
    query("x", "--videos", "clips")
    assert names_of(query("--like", "near.mov", "--json", "--in", "clips"))[0] == "d.mov"
    itself = query("--like", clips / "d.mov", "--json")
    assert set(names_of(itself)) == {"a.mp4", "b.mkv", "c.webm"}
    (tmp_path / "broken.mp4").write_bytes(b"x")
    broken = query("--like", tmp_path / "broken.mp4", "--in", "clips")
    assert broken.code == 1 and broken.stdout == "" and "broken.mp4" in broken.stderr.splitlines()[-1]


def test_explanations(clips: Path, query: Query) -> None:
    table = query("a dog surfing", "--videos", "clips", "--explain", "--top", "2")
    for word in ("a", "dog", "surfing"):
        assert len(re.findall(rf"^ *{word}  \S.*  -?0\.\d\d at \d\d:\d\d$|^ *{word}  .*◆", table.stdout, re.M)) >= 2
    assert max(map(len, table.stdout.splitlines())) <= 80
    for row in rows_of(query("a dog surfing", "--explain", "--json")):
        told = row["explanation"]
        assert told["words"] == ["a", "dog", "surfing"] and len(told["similarity"]) == 3
        assert len(told["pts_seconds"]) == len(told["similarity"][0]) == 4  # the model's number of frames
    assert "--explain needs words" in query("--like", clips / "a.mp4", "--explain").stderr


def test_long_paths_fit_80_columns(search_world, query: Query, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / ("a long name " * 8) / ("another_long_name" * 6)
    folder.mkdir(parents=True)
    shutil.copy(search_world.clips / "a.mp4", folder / "x.mp4")
    shutil.copy(search_world.clips / "d.mov", tmp_path / "d.mov")
    result = query("a dog", "--videos", tmp_path, "--videos", folder / "x.mp4")
    assert max(map(len, result.stdout.splitlines())) <= 80
    cells = [line[15:60].strip() for line in result.stdout.splitlines()]
    assert "x.mp4" in "".join(cells) and "00:0" in result.stdout


def test_the_page_shows_the_best_moments(query: Query, tmp_path: Path) -> None:
    make_video(tmp_path / "video.mp4", num_frames=80, fps=20, size=(320, 240))
    words = "a <b>dog</b>"
    (row,) = rows_of(query(words, "--videos", "video.mp4", "--json", "--page", "out.html", "--explain"))
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'data:image/jpeg;base64,([^"]+)"', text)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert frame_number(picture) == round(row["best_seconds"] * 20)
    assert "a &lt;b&gt;dog&lt;/b&gt;" in text and "<table" in text


@pytest.mark.parametrize(
    "name", [b"new\nline.mp4", "🏄 犬.mp4".encode(), b"bytes \xff\xfe.mp4", b"\x1b[31m.mp4", b"<b>.mp4"]
)
def test_strange_names(search_world, query: Query, tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "strange"
    folder.mkdir()
    shutil.copy(search_world.clips / "a.mp4", os.path.join(os.fsencode(folder), name))
    table = query("a dog", "--videos", "strange", "--page", "out.html", "--cut", "cuts", "--explain")
    assert table.code == 0 and len(ROW.findall(table.stdout)) == 1 and "\x1b" not in table.stdout
    (row,) = rows_of(query("a dog", "--videos", "strange", "--json"))
    assert os.fsencode(row["path"]) == os.fsencode(folder) + b"/" + name and Path(row["path"]).is_file()
    (cut,) = (tmp_path / "cuts").iterdir()
    assert re.fullmatch(r"01-1-[\w.-]+-00m00s\.mp4", cut.name)
    (folder / os.fsdecode(b"broken " + name)).write_bytes(b"x")
    broken = query("a dog", "--videos", "strange", "--json")
    assert "broken" in broken.stderr and "\x1b[31m" not in broken.stderr and len(rows_of(broken)) == 1


def test_a_long_query_is_cut_with_a_note(clips: Path, query: Query) -> None:
    assert "only its beginning counts" in query("dog " * 200, "--videos", "clips").stderr
    assert "beginning" not in query("a dog", "--videos", "clips").stderr


def test_bad_input_is_one_sentence(clips: Path, query: Query, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (clips / "not a video.mp4").mkdir()
    here = ("--videos", "clips")
    cases: list[tuple[tuple[str, ...], int, str]] = [
        (("", *here), 2, "the query is empty"),
        ((" \n", *here), 2, "the query is empty"),
        (here, 2, "say what to look for: words, as in"),
        (("--avoid", "x", *here), 2, "say what to look for: words, as in"),
        (("x", "--queries", "q.txt"), 2, "say what to look for: words, as in"),
        (("x^0",), 2, "weight"),
        (("x", "--videos", "nowhere"), 1, "nowhere"),
        (("x", "--videos", "empty"), 1, "no video lies in"),
        (("x", "--videos", "nosuch://a/b"), 2, "nosuch"),
        (("--like", "nowhere.mp4", *here), 1, "there is no video nowhere.mp4"),
        (("--image", "nowhere.png^2", *here), 1, "there is no picture nowhere.png"),
        (("--image", "", *here), 2, "is missing"),
        (("x", *here, "--page", "nowhere/out.html"), 1, "--page nowhere/out.html"),
        (("x", *here, "--page", "clips"), 1, "--page clips"),
        (("x", *here, "--cut", "clips/a.mp4"), 1, "--cut clips/a.mp4: it must be a folder"),
        (("x", *here, "--top", "0"), 2, "--top"),
        (("x", *here, "--longer", "long"), 2, "--longer: 'long' is no length of time"),
        (("x", *here, "--after", "soon"), 2, "--after: 'soon' is no date"),
        (("x", *here, "--longer", "2m", "--shorter", "1m"), 2, "swap the two"),
        (("x", "--rebuild"), 2, "need --videos"),
        (("x", *here, "--device", "tpu9"), 2, "--device tpu9"),
        (("--queries", "q.txt", "--cut", "x"), 2, "are for one question"),
    ]
    for arguments, code, words in cases:
        result = query(*arguments)
        assert (result.code, result.stdout) == (code, ""), (arguments, result)
        assert words in result.stderr.replace("\n", " "), result.stderr
    for model, words in (("nowhere", "nowhere"), (str(clips), "holds no model"), ("ViT-B-32/openai", "be downloaded")):
        result = query("x", *here, "--model", model, model=False)
        assert result.code == 1 and words in result.stderr


@pytest.mark.slow
def test_the_shared_clips(shared: Path, search_world, query: Query) -> None:
    """107 real files in mixed containers: none crashes it, none is lost without a word."""
    arguments = ("a dog surfing", "--videos", shared / "clips" / "clips", "--json", "--top", "500")
    result = query(*arguments, "--page", "out.html")
    assert result.code == 0, result.stderr
    found = {path for row in rows_of(result) for path in (row["path"], *row["other_paths"])}
    failed = re.search(r"(\d+) of (\d+) videos cannot be read", result.stderr)
    assert len(found) + (int(failed[1]) if failed else 0) == len(list((shared / "clips" / "clips").iterdir()))
    assert len(found) >= 100
    again = query(*arguments)
    assert again.stdout == result.stdout and "Encoding" not in again.stderr

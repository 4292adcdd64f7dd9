"""What follows on an answer: clips that are cut out, a player that is opened, and many questions at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from media import frame_number, make_video
from support import Result

Query = Callable[..., Result]


@pytest.fixture
def long_video(tmp_path: Path) -> Path:
    """50 seconds in three windows, a keyframe every 5 s."""
    (tmp_path / "films").mkdir()
    return make_video(tmp_path / "films" / "a film.mp4", num_frames=250, fps=5, gop=25)


def numbers_of(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [frame_number(np.asarray(frame.to_image())) for frame in container.decode(video=0)]


def test_moments_become_clips(long_video: Path, query: Query, tmp_path: Path) -> None:
    told = query("a dog", "--videos", "films", "--cut", "cuts/of it", "--cut-mode", "encode", "--json")
    (row,) = [json.loads(line) for line in told.stdout.splitlines()]
    clips = sorted((tmp_path / "cuts" / "of it").iterdir())
    assert told.code == 0 and len(clips) == len(row["moments"]) >= 2 and f"Clips: {len(clips)}" in told.stderr
    for place, (clip, moment) in enumerate(zip(clips, row["moments"], strict=True), start=1):
        seconds = int(moment["start_seconds"])
        assert clip.name == f"01-{place}-a_film-00m{seconds:02d}s.mp4"
        shown = numbers_of(clip)
        assert abs(shown[0] - moment["start_seconds"] * 5) <= 1 and abs(shown[-1] - moment["end_seconds"] * 5) <= 1


def test_no_file_is_overwritten(long_video: Path, query: Query, tmp_path: Path) -> None:
    arguments = ("a dog", "--videos", "films", "--cut", "cuts", "--moments", "1")
    query(*arguments)
    (first,) = (tmp_path / "cuts").iterdir()
    first.write_bytes(b"mine")
    query(*arguments)
    assert first.read_bytes() == b"mine"
    assert sorted(path.name for path in (tmp_path / "cuts").iterdir()) == [f"{first.stem}-2.mp4", first.name]


def test_a_video_that_is_gone_cannot_be_cut_or_opened(clips: Path, query: Query) -> None:
    query("a dog", "--videos", "clips")
    for name in ("a.mp4", "d.mov"):
        (clips / name).unlink()
    some = query("a dog", "--cut", "cuts")
    assert some.code == 0 and "Clips: 2 in cuts" in some.stderr and some.stderr.count("Warning: clips/") == 2
    none = query("a dog", "--in", "clips/a.mp4", "--cut", "none")
    assert none.code == 1 and "no moment could be written" in none.stderr
    opened = query("a dog", "--in", "clips/a.mp4", "--open")
    assert opened.code == 1 and "a.mp4 is not there any more" in opened.stderr


@pytest.mark.skipif(os.name != "posix", reason="a player that is a shell script")
def test_the_best_is_played_from_its_moment(
    long_video: Path, query: Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    blind = query("a dog", "--videos", "films", "--open")
    assert blind.code == 1 and "no display" in blind.stderr and "a film.mp4" in blind.stdout
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("DISPLAY", ":0")
    assert "no player" in query("a dog", "--open").stderr
    player = tmp_path / "bin" / "mpv"
    asked = tmp_path / "asked"
    player.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{asked}.part"\n/bin/mv "{asked}.part" "{asked}"\n')
    player.chmod(0o755)
    told = query("a dog", "--open", "--json")
    assert told.code == 0 and "Opened with mpv" in told.stderr
    deadline = time.monotonic() + 120
    while not asked.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    start = json.loads(told.stdout)["moments"][0]["start_seconds"]
    assert asked.read_text().splitlines() == [f"--start={start:.2f}", "--", str(long_video)]


def test_many_questions(clips: Path, query: Query, tmp_path: Path) -> None:
    query("x", "--videos", "clips")
    lines = ["a dog", "", "  a cat  ", '{"query": "a dog", "avoid": "a cat^0.3", "in": ["clips/sub"], "top": 1}']
    lines.append('{"query": "a dog", "longer": 1.8, "moments": 1}')
    lines.append('{"query": "a dog", "longer": "1h"}')
    (tmp_path / "q.txt").write_text("\n".join(lines), encoding="utf-8")
    result = query("--queries", "q.txt", "--json", "--top", "3")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["number"] for answer in answers] == [1, 2, 3, 4, 5]
    assert [len(answer["hits"]) for answer in answers] == [3, 3, 1, 2, 0]
    assert answers[0]["query"] == "a dog" and answers[2]["query"] == "a dog, without a cat"
    for words, answer in (("a dog", answers[0]), ("a cat", answers[1])):
        alone = [json.loads(line) for line in query(words, "--json", "--top", "3").stdout.splitlines()]
        assert [hit["video"] for hit in answer["hits"]] == [hit["video"] for hit in alone]
        assert [hit["score"] for hit in answer["hits"]] == pytest.approx([hit["score"] for hit in alone], abs=1e-5)
    table = query("--queries", "q.txt", "--explain")
    assert table.stdout.count("Rank ") == 4 and "3. a dog, without a cat" in table.stdout and "◆" in table.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "there is no question in it"),
        (b" \n\n", "there is no question in it"),
        (b"a dog\n{no json}", "line 2: it begins with { and is no JSON"),
        (b'{"words": "a dog"}', "line 1: there is no key 'words'; there are query, also"),
        (b'{"query": 5}', "line 1: query must be a text"),
        (b'{"query": "a dog", "in": [1]}', "line 1: in must be a text, or a list of texts"),
        (b'{"query": "a dog", "top": 0}', "line 1: top must be a whole number"),
        (b'{"avoid": "a dog"}', "line 1: a query of nothing but what is not wanted"),
        (b'{"query": "a dog", "after": "soon"}', "line 1: --after: 'soon' is no date"),
        (b"a dog\n\xff\xfe", "line 2: it is no UTF-8"),
    ],
)
def test_a_file_of_questions_that_is_wrong(query: Query, tmp_path: Path, text: bytes, words: str) -> None:
    """It is said before a model is loaded."""
    (tmp_path / "q.txt").write_bytes(text)
    result = query("--queries", "q.txt")
    assert result.code == 1 and words in result.stderr and "Model" not in result.stderr


def test_a_file_of_questions_that_is_not_there(query: Query) -> None:
    assert "--queries q.txt: No such file" in query("--queries", "q.txt").stderr

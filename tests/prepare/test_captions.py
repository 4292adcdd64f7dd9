"""Caption files as they come: other words in the header, other encodings, broken lines."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvrkit.errors import DataError
from tvrkit.prepare.captions import read_captions, read_sidecars
from tvrkit.prepare.entries import NAMES, Entry, check_entry, seconds


def read(tmp_path, content, name="captions.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_captions(path)


def kinds(found):
    return Counter(problem.kind for problem in found.problems)


def test_plain_csv(tmp_path):
    text = 'path,caption,start,end,split,video_id\na.mp4,"a dog, running",1.5,1:02,train,x\nb.mp4,a cat,,,,\n'
    found = read(tmp_path, text)
    assert found.entries == [
        Entry("captions.csv, line 2", "a.mp4", "x", ("a dog, running",), "train", 1.5, 62.0),
        Entry("captions.csv, line 3", "b.mp4", None, ("a cat",)),
    ]
    assert not found.problems and not found.notes


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_delimiters_and_encodings(tmp_path, delimiter, encoding):
    rows = [("File Name", "unknown", "SENTENCE"), ("a.mp4", "1", "a café; at noon"), ("b.mp4", "2", "né")]
    text = "\r\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    found = read(tmp_path, text.encode(encoding))
    assert [(e.path, e.captions) for e in found.entries] == [("a.mp4", ("a café; at noon",)), ("b.mp4", ("né",))]
    assert bool(found.notes) == (encoding == "cp1252")


@pytest.mark.parametrize("field", NAMES)
def test_every_documented_header(tmp_path, field):
    values = {"path": "a.mp4", "caption": "a dog", "start": "1", "end": "9", "split": "val", "video_id": "7"}
    others = {"path": "a.mp4", "caption": "a dog"} | {field: values[field]}
    for name in NAMES[field].split():
        row = {name if key == field else key: value for key, value in others.items()}
        found = read(tmp_path, ",".join(row) + "\n" + ",".join(row.values()))
        wanted = {"start": 1.0, "end": 9.0, "caption": ("a dog",)}.get(field, values[field])
        names = {"start": "start_seconds", "end": "end_seconds", "caption": "captions"}
        assert getattr(found.entries[0], names.get(field, field)) == wanted


def test_split_words():
    rows = {"Validation": "val", "dev": "val", "training": "train", "testing": "test", "hard": "hard", "val_1": "val_1"}
    for word, split in rows.items():
        assert check_entry("here", {"path": "a", "caption": "b", "split": word}, []).split == split


def test_bad_csv_lines_are_named_and_the_rest_is_read(tmp_path):
    text = (
        "path,caption,start,end\n"
        "a.mp4,one,,\n"
        "\n"
        "b.mp4,two, with a comma,,\n"
        "c.mp4,,,\n"
        "d.mp4,   ,,\n"
        ",three,,\n"
        "e.mp4,four,soon,\n"
        "f.mp4,five,9,3\n"
        "g.mp4,six,-1,\n"
        "h.mp4,seven,nan,\n"
        "i.mp4\n"
        "j.mp4,last,0,2.5\n"
    )
    found = read(tmp_path, text)
    assert [entry.path for entry in found.entries] == ["a.mp4", "j.mp4"]
    assert kinds(found) == {"bad row": 6, "no caption": 2, "bad span": 1}
    named = {problem.where: problem.reason for problem in found.problems}
    assert "needs quotes" in named["captions.csv, line 4"]
    assert "'soon' is no time" in named["captions.csv, line 8"]
    assert "names no video" in named["captions.csv, line 7"]


def test_a_quote_that_is_never_closed_is_named(tmp_path):
    lines = ["path,caption", "a.mp4,one", 'b.mp4,"two', *(f"c{i}.mp4,more" for i in range(50))]
    found = read(tmp_path, "\n".join(lines))
    assert [entry.path for entry in found.entries] == ["a.mp4"]
    assert kinds(found) == {"bad row": 1} and "quote" in found.problems[0].reason


def test_a_field_too_long_for_csv(tmp_path):
    found = read(tmp_path, "path,caption\na.mp4," + "x" * 200_000 + "\nb.mp4,fine\n")
    assert [entry.path for entry in found.entries] == ["b.mp4"] and kinds(found) == {"bad row": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.mp4,a dog\nb.mp4,a cat\n", "path and caption.*let the first line name them"),
        ("path,colour\na.mp4,red\n", "called caption"),
        ("colour,caption\nred,a dog\n", "called path"),
    ],
)
def test_a_header_without_what_is_needed(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        read(tmp_path, text)


def test_json_lines(tmp_path):
    rows = [
        {"video_id": "v", "path": "a.mp4", "captions": ["one", " ", "two"], "split": "test", "source": "x", "n": 3},
        {"path": "b.mp4", "caption": "three", "start_seconds": 2, "end": "00:01:04.5", "captions": None},
        {"id": 7, "text": "four"},
        {"path": "c.mp4", "captions": []},
        {"path": "c.mp4", "captions": [1]},
        {"path": ["c.mp4"], "caption": "five"},
        {"path": "d.mp4", "caption": "six", "start": True},
        ["e.mp4", "seven"],
    ]
    text = "\n".join(["", *(json.dumps(row) for row in rows), "{broken", '{"path": "f.mp4", "caption": "\\ud800 x"}'])
    found = read(tmp_path, text, "captions.jsonl")
    assert found.entries == [
        Entry("captions.jsonl, line 2", "a.mp4", "v", ("one", "two"), "test", tags=(("source", "x"),)),
        Entry("captions.jsonl, line 3", "b.mp4", None, ("three",), None, 2.0, 64.5),
        Entry("captions.jsonl, line 4", None, "7", ("four",)),
        Entry("captions.jsonl, line 11", "f.mp4", None, ("? x",)),
    ]
    assert kinds(found) == {"empty caption": 1, "no caption": 1, "bad row": 5}


def test_a_json_array(tmp_path):
    found = read(tmp_path, '[{"path": "a.mp4", "caption": "one"}, 3]', "captions.json")
    assert [entry.path for entry in found.entries] == ["a.mp4"]
    assert found.problems[0].where == "captions.json, item 2"
    for wrong in ('{"a": 1}', "[" * 100_000):
        with pytest.raises(DataError, match="list of objects|no valid JSON"):
            read(tmp_path, wrong, "captions.json")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"end in \.csv"):
        read(tmp_path, "", "captions.xlsx")
    with pytest.raises(DataError, match="cannot read the captions"):
        read_captions(tmp_path / "none.csv")


def test_sidecars(tmp_path):
    videos = [tmp_path / name for name in ("a.mp4", "sub/b.mov", "c.mp4", "d.mp4")]
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("one\r\n\n  two \n")
    (tmp_path / "sub/b.mov.txt").write_bytes("\ufeffthree".encode())
    (tmp_path / "c.txt").write_text(" \n")
    found = read_sidecars(videos, tmp_path)
    assert [(entry.where, entry.captions) for entry in found.entries] == [
        ("a.txt", ("one", "two")),
        ("sub/b.mov.txt", ("three",)),
    ]
    assert kinds(found) == {"empty caption": 1}


@pytest.mark.parametrize(
    ("value", "wanted"), [("", None), (None, None), (3, 3.0), ("2.5", 2.5), ("1:02.5", 62.5), ("1:00:01", 3601.0)]
)
def test_times(value, wanted):
    assert seconds(value) == wanted


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1:2:3:4", "x", True, [], 10**400, "1:-2"])
def test_no_times(value):
    with pytest.raises(ValueError, match="no time"):
        seconds(value)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_in_a_sentence(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any", numbered=True)
    for name in ("x.csv", "x.jsonl"):
        for content in (data, b"path,caption,start\n" + data):
            try:
                found = read(folder, content, name)
            except DataError:
                continue
            for entry in found.entries:
                assert all(caption.strip() and caption.encode() for caption in entry.captions)

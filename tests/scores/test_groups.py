from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tvrkit.errors import DataError
from tvrkit.scores import read_groups


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content) if isinstance(content, str) else np.save(path, content)
        return path

    return write


def write_as(kind, folder, owners):
    path = folder / f"groups.{kind}"
    if kind == "npy":
        np.save(path, np.array(owners, dtype=np.int32))
    elif kind == "npz":
        np.savez(path, np.array(owners, dtype=np.float64))
    elif kind == "safetensors":
        save_file({"groups": torch.tensor(owners)}, path)
    elif kind == "json":
        path.write_text(json.dumps(owners))
    else:
        path.write_text("".join(f"{owner}\n" for owner in owners))
    return path


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=20),
    st.sampled_from(["npy", "npz", "safetensors", "json", "txt", "csv"]),
)
def test_numbers_are_read_back_from_every_kind_of_file(tmp_path_factory, owners, kind):
    path = write_as(kind, tmp_path_factory.mktemp("g"), owners)
    found = read_groups(path, len(owners), 7)
    assert found.dtype == np.int64 and found.tolist() == owners


# Ids as data sets have them; whatever is not a number all through.
IDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)


@settings(max_examples=40)
@given(st.lists(IDS.map(lambda text: f"v{text}"), min_size=1, max_size=12), st.sampled_from(["json", "txt", "named"]))
def test_ids_are_read_back(tmp_path_factory, ids, kind):
    folder = tmp_path_factory.mktemp("g")
    columns = list(dict.fromkeys(ids))
    owners = [columns.index(video_id) for video_id in ids]
    if kind == "txt":
        (folder / "g.txt").write_text("\n".join(ids), encoding="utf-8")
        path = folder / "g.txt"
    else:
        tree = ids if kind == "json" else {"rows": [{"video_id": v} for v in ids], "columns": columns}
        path = folder / "g.json"
        path.write_text(json.dumps(tree))
    assert read_groups(path, len(ids), len(columns)).tolist() == owners
    if kind != "named":
        assert read_groups(path, len(ids), len(columns), video_ids=columns[::-1]).tolist() == [
            len(columns) - 1 - owner for owner in owners
        ]


def test_so_many_captions_a_video():
    assert read_groups("2", 6, 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert read_groups(1, 3, 3).tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="4 captions for each of 3 videos are not the 6 there are"):
        read_groups("4", 6, 3)
    with pytest.raises(DataError, match="fits 6 captions of 3 videos, .* turn the scores by --transposed"):
        read_groups("2", 3, 6)
    with pytest.raises(DataError, match="0 captions for each"):
        read_groups("0", 6, 3)


def test_the_column_of_a_csv(write):
    table = 'key,vid_key,video_id,sentence\nret0,msr1,video1,"a, b\nc"\nret1,msr0,video0,d\nret2,msr0,video0,e\n'
    path = write("a.csv", table)
    assert read_groups(path, 3, 2).tolist() == [0, 1, 1]
    assert read_groups(path, 3, 2, video_ids=("video0", "video1")).tolist() == [1, 0, 0]
    assert read_groups(write("b.csv", "x\ny\n"), 2, 2).tolist() == [0, 1]
    assert read_groups(write("c.csv", "\ufeffvideo_id\n1\n0\n"), 2, 2).tolist() == [1, 0]
    with pytest.raises(DataError, match="has 2 columns and none is called video_id or"):
        read_groups(write("d.csv", "a,b\n1,2\n"), 1, 1)
    with pytest.raises(DataError, match="row 1 of its captions has no video_id"):
        read_groups(write("e.csv", "a,video_id\n1\n"), 1, 1)


def test_the_official_list_of_msrvtt(shared):
    groups = read_groups(shared / "annotations" / "msrvtt" / "MSRVTT_JSFUSION_test.csv", 1000, 1000)
    assert groups.tolist() == list(range(1000))


@pytest.mark.parametrize(
    ("name", "content", "texts", "videos", "words"),
    [
        ("a.txt", "0\n1\n", 3, 2, r"has 2 values, .* 2 videos .*, so turn the scores by --transposed"),
        ("a.txt", "0\n1\n0\n1\n", 3, 2, r"has 4 values, and the matrix 3 captions \(rows\)"),
        ("a.txt", "0\n2\n", 2, 2, "gives caption 1 the video 2, and the columns are 0 to 1"),
        ("a.txt", "1\n2\n", 2, 2, "count from 0"),
        ("a.txt", "0\n-1\n", 2, 2, "gives caption 1 the video -1"),
        ("a.txt", "x\ny\n", 2, 3, "names 2 videos, and the matrix has 3"),
        ("a.txt", "", 2, 3, "has 0 values"),
        ("a.json", "{}", 2, 2, "must hold a list"),
        ("a.json", "[true, false]", 2, 2, "must hold a list"),
        ("a.json", '[0, "x"]', 2, 2, "must hold a list"),
        ("a.json", "[0, " + "9" * 30 + "]", 2, 2, "must hold whole numbers"),
        ("a.json", "[0,", 2, 2, "is no JSON"),
        ("a.npy", np.array([0.5, 1]), 2, 2, "must hold whole numbers"),
        ("a.npy", np.array([0, np.nan]), 2, 2, "must hold whole numbers"),
        ("a.npy", np.array([[0, 1]]), 2, 2, "must hold one whole number for each caption"),
        ("a.npy", np.array([True, False]), 2, 2, "must hold one whole number for each caption"),
        ("a.npy", np.array([0, 2**63], dtype=np.uint64), 2, 2, "gives caption 1 the video 9223372036854775808"),
    ],
)
def test_wrong_groups_are_one_sentence(write, name, content, texts, videos, words):
    with pytest.raises(DataError, match=words):
        read_groups(write(name, content), texts, videos)


def test_ids_that_are_numbers(write):
    for name, text in (("ids.csv", "video_id\n1\n0\n007\n"), ("ids.txt", "1\n0\n007\n")):
        path = write(name, text)
        assert read_groups(path, 3, 3, video_ids=["1", "0", "007"]).tolist() == [0, 1, 2]
        assert read_groups(path, 3, 8).tolist() == [1, 0, 7]  # nothing says that they are ids
        assert read_groups(path, 3, 8, video_ids=list("abcdefgh")).tolist() == [1, 0, 7]


def test_ids_that_are_no_columns(write):
    path = write("a.txt", "x\ny\n")
    with pytest.raises(DataError, match="names the video 'y', which is not among the columns"):
        read_groups(path, 2, 2, video_ids=("x", "z"))
    (path.parent / "b.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        read_groups(path.parent / "b.txt", 2, 2)
    with pytest.raises(DataError, match=r"nothing\.txt cannot be read: No such file"):
        read_groups(path.parent / "nothing.txt", 2, 2)

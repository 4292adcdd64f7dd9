"""Finding annotation files by name, and reading what is damaged, hostile or in another encoding."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tvrkit.errors import DataError
from tvrkit.prepare.benchmarks import BENCHMARKS, sources
from tvrkit.prepare.benchmarks.collector import plain_id, stem
from tvrkit.prepare.benchmarks.sources import MAX_DEPTH, AnnotationFiles


def put(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_names_in_any_case_below_the_folders(tmp_path):
    deep = put(tmp_path / "a/b/Train_List.TXT")
    files = AnnotationFiles([tmp_path])
    assert files.find("nothing.json", "train_list.txt") == deep
    assert files.find("nothing.json") is None
    assert files.used == []
    files.lines(deep)
    assert files.used == [deep]


def test_hidden_and_very_deep_folders_are_left_out(tmp_path):
    put(tmp_path / ".cache/train_list.txt")
    put(tmp_path / "._train_list.txt")
    put(tmp_path.joinpath(*["x"] * (MAX_DEPTH + 1), "train_list.txt"))
    assert AnnotationFiles([tmp_path]).find("train_list.txt", "._train_list.txt") is None
    there = put(tmp_path.joinpath(*["x"] * MAX_DEPTH, "train_list.txt"))
    assert AnnotationFiles([tmp_path]).find("train_list.txt") == there


def test_links_that_lead_back_up(tmp_path):
    there = put(tmp_path / "a/train_list.txt")
    (tmp_path / "a/again").symlink_to(tmp_path)
    assert AnnotationFiles([tmp_path]).find("train_list.txt") == there
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    files = AnnotationFiles([tmp_path])
    with pytest.raises(DataError, match="cannot read the annotations"):
        files.json(files.need("gone.json"))


def test_which_of_several(tmp_path):
    put(tmp_path / "other/train_list.txt", "1")
    mine = put(tmp_path / "my-msvd/train_list.txt", "22")
    beside = put(tmp_path / "x/y/train_list.txt", "333")
    main = put(tmp_path / "x/y/captions_msvd.json", "{}")
    files = AnnotationFiles([tmp_path], prefer="msvd")
    assert files.find("train_list.txt") == mine
    assert files.notes == []
    files.json(files.need("captions_msvd.json"))
    assert files.used == [main]
    assert files.find("train_list.txt") == beside
    plain = AnnotationFiles([tmp_path], prefer="didemo")
    plain.find("train_list.txt")
    plain.find("train_list.txt")
    assert len(plain.notes) == 1 and "3 places" in plain.notes[0]


def test_an_earlier_folder_counts_before_everything_else(tmp_path):
    given = put(tmp_path / "given/raw-captions.pkl")
    put(tmp_path / "downloads/msvd/captions_msvd.json")
    put(tmp_path / "given/a/captions_msvd.json")
    files = AnnotationFiles([tmp_path / "given", tmp_path / "downloads"], prefer="msvd")
    assert files.find("raw-captions.pkl", "captions_msvd.json") == given
    assert files.find("captions_msvd.json", "raw-captions.pkl") == tmp_path / "given/a/captions_msvd.json"


def test_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match="there is no a.json or b.json") as error:
        AnnotationFiles([tmp_path]).need("a.json", "b.json", what="the captions")
    assert "(the captions)" in str(error.value) and str(tmp_path) in str(error.value)
    with pytest.raises(DataError, match="there is no folder"):
        AnnotationFiles([tmp_path / "nowhere"]).find("a.json")


def test_files_larger_than_annotations_are(tmp_path, monkeypatch):
    files = AnnotationFiles([tmp_path])
    folder = tmp_path / "folder.json"
    folder.mkdir()
    with pytest.raises(DataError, match="cannot read"):
        files.json(folder)
    path = put(tmp_path / "a.json", "[" + " " * 2000 + "]")
    assert files.json(path) == []
    monkeypatch.setattr(sources, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="at most"):
        files.json(path)


def test_encodings(tmp_path):
    files = AnnotationFiles([tmp_path])
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        path = put(tmp_path / f"{encoding}.json", '["café"]'.encode(encoding))
        assert files.json(path) == ["café"]
    assert len(files.notes) == 1 and "cp1252.json is not UTF-8" in files.notes[0]


def test_tables(tmp_path):
    files = AnnotationFiles([tmp_path])
    path = put(
        tmp_path / "a.csv", '\ufeffID, Text ,x\r\n1,"a\nb",c\r\n\r\n2,b\r\n3,\0,d\r\n' + '4,"' + "\n" * 50 + '",\r\n'
    )
    assert [row for _, row in files.rows(path, "id", "text")] == [
        {"id": "1", "text": "a\nb", "x": "c"},
        {"id": "3", "text": " ", "x": "d"},
    ]
    assert [p.kind for p in files.problems] == ["bad row", "bad row"]
    with pytest.raises(DataError, match="none of them is caption"):
        list(files.rows(path, "caption"))
    with pytest.raises(DataError, match="is empty"):
        list(files.rows(put(tmp_path / "b.csv", "\n\n"), "id"))
    big = put(tmp_path / "c.csv", "id,text\n1," + "x" * (1 << 21) + "\n2,b\n")
    assert [row["id"] for _, row in files.rows(big, "id")] in (["2"], [])
    assert "is no CSV" in files.problems[-1].reason


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("video1.mp4", "video1"),
        ("a/b\\c.avi", "c"),
        ("x@N00_1.", "x@N00_1"),
        ("3086_X_00.23.23.000-00.23.28.886", "3086_X_00.23.23.000-00.23.28.886"),
        (" vid1 ", "vid1"),
        (7, "7"),
        (True, None),
        (None, None),
        ("..", None),
        ("", None),
        (".mp4", None),
        ("a\0b", None),
        ("x" * 300, None),
        (10**30, None),
    ],
)
def test_ids(value, wanted):
    assert stem(value) == wanted


def test_ids_are_no_paths():
    assert plain_id("a/b") is None and plain_id("..") is None and plain_id("a\x1bb") is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just("video7010")
    | st.just("v_a"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "videos sentences video_id caption video desc description timestamps annotations images id split"
                " category enCap videoID video7010 a_1_2".split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
WORDS = ["video7010", "video_id", "sentence", "id", "script", "v_a", *"abc,\t\n\"'\0é"]
TABLES = st.lists(st.sampled_from(WORDS), max_size=30).map(lambda words: "".join(words).encode())
CONTENTS = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=80) | TABLES


@pytest.mark.parametrize("name", BENCHMARKS)
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_the_files_hold_is_items_or_one_sentence(tmp_path_factory, name, data):
    benchmark = BENCHMARKS[name]
    folder = tmp_path_factory.mktemp(name)
    for file_name in data.draw(st.sets(st.sampled_from(benchmark.annotation_files), min_size=1, max_size=6)):
        (folder / file_name).write_bytes(data.draw(CONTENTS))
    for split in benchmark.splits:
        try:
            found = benchmark.read(AnnotationFiles([folder]), split)
        except DataError as error:
            assert "\n" not in str(error)
            continue
        assert found.split("test")
        for item in found.items:
            assert item.captions and all(c == " ".join(c.split()) and c for c in item.captions)
            assert plain_id(item.video_id) == item.video_id

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvrkit.errors import DataError
from tvrkit.manifest import Manifest, Record, read_manifest, write_manifest

HEADER = '{"tvrkit_manifest": 1, "name": "mine"}\n'
ROW = {"video_id": "a", "path": "a.mp4", "captions": ["a dog"]}

text = st.text(min_size=1, max_size=20).filter(lambda s: s.strip() and s.isprintable())


@given(
    video_ids=st.lists(text, unique=True, max_size=5),
    captions=st.lists(text, min_size=1, max_size=3),
    start=st.none() | st.floats(0, 100),
)
def test_round_trip(tmp_path_factory, video_ids, captions, start):
    path = tmp_path_factory.mktemp("manifest") / "manifest.jsonl"
    records = tuple(
        Record(
            video_id=video_id,
            path=f"{video_id}.mp4",
            captions=tuple(captions),
            split="train",
            start_seconds=start,
            key_words=tuple(((0, 1),) for _ in captions),
            tags={"family": "f"},
        )
        for video_id in video_ids
    )
    manifest = Manifest(name="mine", records=records, preset="tiny", tagger="t 1", root=path.parent)
    write_manifest(manifest, path)
    assert read_manifest(path) == manifest


def test_the_root_is_where_the_file_lies(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_text(HEADER + json.dumps(ROW) + "\n")
    manifest = read_manifest(path)
    assert manifest.file_of(manifest.records[0]) == tmp_path / "a.mp4"
    assert manifest.splits() == {"test": 1}
    assert len(manifest.split("test")) == 1
    with pytest.raises(DataError, match=r"no split 'train'; it has test \(1\)"):
        manifest.split("train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no tvrkit manifest"),
        (json.dumps(ROW), "is no tvrkit manifest"),
        ('{"tvrkit_manifest": 2}\n', "version 2"),
        (HEADER + "{\n", "line 2: no valid JSON"),
        (HEADER + "[]\n", "line 2: a line must be one JSON object"),
        (HEADER + '{"path": "a", "captions": []}', "line 2: the key 'video_id' is missing"),
        (HEADER + '{"video_id": 1, "path": "a", "captions": []}', "line 2: a value has the wrong shape (video_id"),
        (HEADER + '{"video_id": "a", "path": "a", "captions": "dog"}', "captions must be a list"),
        (HEADER + '{"video_id": "a", "path": "a", "captions": [" "]}', "empty caption"),
        (HEADER + '{"video_id": "a", "path": "a", "captions": [], "cation": 1}', "unknown key 'cation'"),
        (HEADER + json.dumps(ROW) + "\n" + json.dumps(ROW), "'a' stands in 'mine' more than once"),
        (HEADER + json.dumps({**ROW, "start_seconds": 3, "end_seconds": 2}), "is empty"),
        (HEADER + json.dumps({**ROW, "start_seconds": -3}), "must be a number of seconds"),
        (HEADER + json.dumps({**ROW, "key_words": []}), "0 rows of key_words for 1 captions"),
    ],
)
def test_a_bad_manifest_is_one_sentence_with_its_line(tmp_path, content, message):
    path = tmp_path / "manifest.jsonl"
    path.write_text(content)
    with pytest.raises(DataError) as error:
        read_manifest(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_manifest(tmp_path / "none.jsonl")
    binary = tmp_path / "b.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_manifest(binary)

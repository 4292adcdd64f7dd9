"""The other benchmarks by the layouts that users have and that are not among the real files here."""

from __future__ import annotations

import json
import pickle

import pytest

from tvrkit.errors import DataError
from tvrkit.prepare.benchmarks import BENCHMARKS
from tvrkit.prepare.benchmarks.sources import AnnotationFiles

CORPUS = "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\n"


def read(name, folder, split=None):
    benchmark = BENCHMARKS[name]
    return benchmark.read(AnnotationFiles([folder]), split or next(iter(benchmark.splits)))


def write(folder, **files):
    """`write(folder, train_list__txt="…")`; what is no text becomes JSON."""
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def lists(folder, train="a_1_2", val="b_1_2", test="c_1_2"):
    write(folder, train_list__txt=f"{train}\n", val_list__txt=f"{val}\n", test_list__txt=f"{test}\n")


def rows(found):
    return [(item.video_id, item.split, item.captions) for item in found.items]


MSVD = [("a_1_2", "train", ("a man", "a boy")), ("b_1_2", "val", ("a dog",)), ("c_1_2", "test", ("a café",))]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_msvd_original_pickle(tmp_path, protocol):
    captions = {
        "a_1_2": [["a", "man"], ["a", "boy"]],
        "b_1_2": [["a", "dog"]],
        "c_1_2": [["a", "café"]],
        "d_1_2": [["x"]],
    }
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps(captions, protocol))
    lists(tmp_path)
    found = read("msvd", tmp_path)
    assert rows(found) == MSVD
    assert any("1 video that no list names, first d_1_2" in note for note in found.notes)


@pytest.mark.parametrize("name", ["MSR Video Description Corpus.csv", "video_corpus.csv"])
def test_msvd_corpus_english_rows(tmp_path, name):
    text = CORPUS + (
        "a,1,2,1,unverified,10,English,a man\na,1,2,2,clean,10,English,a boy\na,1,2,3,clean,10,German,ein Mann\n"
        'b,1,2,4,clean,10,English,"a dog"\nc,1,2,5,clean,10,English,a café\nc,1,2,6,clean,10,English,\nc,1,2,7,x\n'
    )
    (tmp_path / name).write_bytes(text.encode("cp1252"))
    lists(tmp_path)
    found = read("msvd", tmp_path)
    assert rows(found) == MSVD
    assert any("1 description in other languages" in note for note in found.notes)
    assert any("Windows-1252" in note for note in found.notes)
    assert [(p.kind, p.where) for p in found.problems] == [("bad row", f"{name}, line 8")]


def test_msvd_all_video_descriptions(tmp_path):
    text = "# an introduction\n#\n\na_1_2 a man\na_1_2 a boy\nb_1_2 a dog\nc_1_2 a café\n"
    write(tmp_path, AllVideoDescriptions__txt=text)
    lists(tmp_path)
    assert rows(read("msvd", tmp_path)) == MSVD


def test_msvd_hub(tmp_path):
    for video_id, split, captions in MSVD:
        row = {"video_id": video_id, "video": f"{video_id}.avi", "caption": list(captions), "source": "MSVD"}
        (tmp_path / f"msvd_{split}.json").write_text(json.dumps([row]))
    assert rows(read("msvd", tmp_path)) == MSVD


def test_msvd_both_names_of_a_clip(tmp_path):
    write(
        tmp_path, captions_msvd__json={v: list(c) for v, _, c in MSVD}, youtube_mapping__txt="a_1_2 vid1\r\nc_1_2 vid3"
    )
    lists(tmp_path)
    assert [item.names for item in read("msvd", tmp_path).items] == [("vid1",), (), ("vid3",)]
    # Captions under one name, lists under the other.
    lists(tmp_path, train="vid1", test="vid3")
    assert [(i.video_id, i.names, i.captions) for i in read("msvd", tmp_path).items][::2] == [
        ("vid1", ("a_1_2",), ("a man", "a boy")),
        ("vid3", ("c_1_2",), ("a café",)),
    ]


def test_msvd_says_what_is_missing_and_wrong(tmp_path):
    with pytest.raises(DataError, match="captions_msvd.json or raw-captions.pkl"):
        read("msvd", tmp_path)
    write(tmp_path, captions_msvd__json={"a_1_2": ["a man", "", 5], "b_1_2": "x", "c_1_2": ["y"], "../d": ["z"]})
    with pytest.raises(DataError, match="train_list.txt"):  # not 1,970 videos, so no order tells the splits
        read("msvd", tmp_path)
    lists(tmp_path, test="c_1_2\nc_1_2\na_1_2\ne_1_2")
    found = read("msvd", tmp_path)
    assert [p.kind for p in found.problems] == [
        "bad row",  # captions of b that are no list
        "empty caption",
        "empty caption",
        "no caption",  # b
        "duplicate id",
        "two splits",
        "no caption",  # e
    ]
    (tmp_path / "captions_msvd.json").write_text('{"c_1_2": ["first"], "c_1_2": ["second"]}')
    found = read("msvd", tmp_path)
    assert found.split("test")[0].captions == ("first",)
    assert found.problems[0].kind == "duplicate id"


def test_msvd_a_few_bytes_do_not_become_gigabytes(tmp_path):
    # One list of words, a hundred thousand times over, in a list that is there a thousand times.
    words = b"](X\x05\x00\x00\x00wordsq\x00" + b"h\x00" * 5000 + b"eq\x01"
    data = b"\x80\x02}(X\x05\x00\x00\x00c_1_2](" + words + b"h\x01" * 50_000 + b"eu."
    (tmp_path / "raw-captions.pkl").write_bytes(data)
    lists(tmp_path)
    with pytest.raises(DataError, match="no test video"):
        read("msvd", tmp_path)


def moment(video, text):
    return {"num_segments": 6, "description": text, "times": [[1, 1]], "video": video, "annotation_id": 1}


def test_didemo_training_file(tmp_path):
    # Order in the file, not of time; the same video under another suffix; a suffix that only the list has.
    train = [
        moment("x@N_1.mov", "second."),
        moment("y@N_2.avi", "alone"),
        moment("x@N_1.mov", "first"),
        moment("x@N_1.mp4", "no"),
    ]
    write(tmp_path, train_data__json=train, test_data__json=[moment("z@N_3.", "a test")])
    write(tmp_path, train_list__txt="x@N_1.mov\ny@N_2.mp4\nnowhere.mov\n", test_list__txt="z@N_3.\n")
    found = read("didemo", tmp_path)
    assert rows(found) == [
        ("x@N_1", "train", ("second. first",)),
        ("y@N_2", "train", ("alone",)),
        ("z@N_3", "test", ("a test",)),
    ]
    assert [item.names for item in found.items] == [("x@N_1.mov",), ("y@N_2.mp4",), ("z@N_3.",)]
    assert [(p.kind, p.where) for p in found.problems] == [("no caption", "train_list.txt, line 3")]
    assert any("has 1 video that train_data.json does not describe" in note for note in found.notes)
    assert any("no val_data.json" in note for note in found.notes)


def test_didemo_without_lists_and_from_the_hub(tmp_path):
    write(tmp_path, test_data__json=[moment("x.mov", "a"), moment("x.mp4", "b"), moment("y.mov", "c")])
    found = read("didemo", tmp_path)
    assert rows(found) == [("x", "test", ("a",)), ("y", "test", ("c",))]
    assert any("no test_list.txt" in note for note in found.notes)
    (tmp_path / "test_data.json").unlink()
    write(tmp_path, didemo_test__json=[{"video": "test/x.mp4", "caption": "a whole paragraph"}, {"video": None}])
    found = read("didemo", tmp_path)
    assert rows(found) == [("x", "test", ("a whole paragraph",))]
    assert [p.kind for p in found.problems] == ["bad row"]


def test_activitynet_hub_and_bad_rows(tmp_path):
    hub = [{"video_id": "v_a", "video": "v_a.mp4", "caption": "One. Two.", "timestamps": [[0, 1]], "duration": 2}]
    write(tmp_path, activitynet_captions_val1__json=hub)
    assert rows(read("activitynet", tmp_path)) == [("v_a", "test", ("One. Two.",))]
    value = {
        "v_b": {"sentences": ["  One.", " ", "Two.\n"], "timestamps": "none"},
        "v_c": [],
        "v_d": {"sentences": [1]},
        "v_e": {"sentences": []},
        "a/b": {"sentences": ["x"]},
    }
    write(tmp_path, val_1__json=value, val_1_list__txt="v_b\nv_z\n")
    found = read("activitynet", tmp_path)
    assert rows(found) == [("v_b", "test", ("One. Two.",))]
    assert sorted(p.kind for p in found.problems) == ["bad row", "bad row", "bad row", "empty caption", "no caption"]
    assert any(note.startswith("val_1_list.txt has 1 video") for note in found.notes)


def test_lsmdc_training_and_validation(tmp_path):
    def line(clip, text):
        return "\t".join([clip, *["00.00.01.000"] * 4, text])

    one, two = "0001_American_Beauty_00.02.29.298-00.02.30.004", "1006_Slumdog_01.25.49.077-01.25.54.718"
    train = [line(one, 'He says "no.'), line(two, "a, b"), line(one, "And goes."), "short line", line("", "nobody")]
    write(tmp_path, LSMDC16_annos_training__csv="\n".join(train), LSMDC16_annos_val__csv=line("odd name", "x"))
    write(tmp_path, LSMDC16_challenge_1000_publictect__csv=line(two, "the test"))
    found = read("lsmdc", tmp_path)
    assert rows(found) == [
        (one, "train", ('He says "no.', "And goes.")),
        ("odd name", "val", ("x",)),
        (two, "test", ("the test",)),
    ]
    assert [dict(item.tags) for item in found.items] == [{"source": "American_Beauty"}, {}, {"source": "Slumdog"}]
    assert [p.kind for p in found.problems] == ["bad row", "bad row", "two splits"]
    assert any("1 clip with more than one sentence" in note for note in found.notes)


def test_vatex_originals_lose_the_test_clips(tmp_path):
    def original(*ids):
        return [{"videoID": v, "enCap": [f"one of {v}", "two"], "chCap": ["一"]} for v in ids]

    ids = [f"G9zN5TTuG{i:02d}_000179_000189" for i in range(4)]
    write(tmp_path, descs_ret_test__json=[{"video_id": ids[0], "desc": ["a", "b"], "subtitle": "x"}])
    (tmp_path / "vatex_validation_v1.0.json").write_text(json.dumps(original(ids[0], ids[1])))
    (tmp_path / "vatex_training_v1.0.json").write_text(json.dumps(original(ids[2], ids[1])))
    (tmp_path / "vatex_public_test_english_v1.1.json").write_text(json.dumps(original(ids[3])))
    found = read("vatex", tmp_path)
    assert [(v, s) for v, s, _ in rows(found)] == [(ids[2], "train"), (ids[1], "val"), (ids[0], "test")]
    assert [p.kind for p in found.problems] == ["two splits"]
    assert any("1 clip of the test left out of val" in note for note in found.notes)
    assert any("public_test" in note for note in found.notes)
    write(tmp_path, descs_ret_val__json=[{"video_id": ids[3], "desc": "one"}])
    assert [v for v, s, _ in rows(read("vatex", tmp_path)) if s == "val"] == [ids[3]]


def test_charades_scripts(tmp_path):
    header = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
    row = '{},HR43,{},6,7,Yes,"{}",food;mirror,"A person, eating.",c092 11.90 21.20;c147 0.00 12.60,30.96\n'
    test = header + row.format("YSKX3", "Basement", "A person fixes, a vacuum.") + row.format("0BX9N", "", "Same.")
    test += row.format("AAAAA", "Kitchen", "Same.") + row.format("BBBBB", "Kitchen", "") + "short,row\n"
    write(
        tmp_path, Charades_v1_test__csv=test, Charades_v1_train__csv=header + row.format("46GP8", "Kitchen", "Cooks.")
    )
    found = read("charades", tmp_path)
    assert rows(found) == [
        ("46GP8", "train", ("Cooks.",)),
        ("YSKX3", "test", ("A person fixes, a vacuum.",)),
        ("0BX9N", "test", ("Same.",)),
        ("AAAAA", "test", ("Same.",)),
    ]
    assert [dict(i.tags) for i in found.items] == [
        {"category": c} if c else {} for c in ("Kitchen", "Basement", "", "Kitchen")
    ]
    assert [p.kind for p in found.problems] == ["empty caption", "no caption", "bad row"]
    assert any("2 test videos are acted" in note for note in found.notes)
    write(tmp_path, Charades_v1_test__csv="id,label\nx,c092\n")
    with pytest.raises(DataError, match="none of them is script"):
        read("charades", tmp_path)

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tvrkit.errors import DataError
from tvrkit.metrics import text_to_video_metrics
from tvrkit.scores import read_scores

MATRIX = np.array([[0.5, 0.25, 0.125], [0.25, 0.75, 0.5]], dtype=np.float32)
NAMES = {
    "rows": [{"video_id": "b", "caption": "one"}, {"video_id": "a", "caption": "two"}],
    "columns": ["a", "b", "c"],
    "protocol": "folder",
}


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8", "<f2", "i1", ">u2", "<i8", np.longdouble])
def test_every_type_of_real_number_becomes_one_that_torch_takes(tmp_path, dtype):
    matrix = (MATRIX * 8).astype(dtype)
    for order in "CF":
        np.save(tmp_path / "a.npy", np.asarray(matrix, order=order))
        found = read_scores(tmp_path / "a.npy").similarity
        assert found.dtype in (np.float32, np.float64) and found.dtype.isnative
        np.testing.assert_array_equal(found, MATRIX * 8)
        # No warning of torch's either: in the tests warnings are errors.
        assert text_to_video_metrics(found, [0, 1]).recall_at[1] == 100


def test_numbers_that_a_narrow_type_would_merge_stay_apart(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[2**40, 2**40 + 1]]))
    assert np.diff(read_scores(tmp_path / "a.npy").similarity) == 1
    np.save(tmp_path / "a.npy", np.array([[1.0, 1.0 + 1e-12]]))
    assert np.diff(read_scores(tmp_path / "a.npy").similarity) > 0


def test_bfloat16(tmp_path):
    save_file({"s": torch.tensor(MATRIX).bfloat16()}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(read_scores(tmp_path / "a.safetensors").similarity, MATRIX)


def test_a_matrix_of_plain_numbers_stays_mapped(tmp_path):
    np.save(tmp_path / "a.npy", MATRIX)
    assert isinstance(read_scores(tmp_path / "a.npy").similarity, np.memmap)
    assert isinstance(read_scores(tmp_path / "a.npy", transposed=True).similarity, np.memmap)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 2, 2), np.float32), "one matrix of scores, captions by videos; its shape is 2 x 2 x 2"),
        (np.zeros((0, 4), np.float32), "its shape is 0 x 4"),
        (np.float32(1), "its shape is one number"),
        (np.zeros((2, 2), complex), "holds complex numbers"),
        (np.zeros((2, 2), bool), "holds yes and no"),
        (np.array([["a", "b"]]), "holds text"),
        (np.zeros((2, 2), "V2"), "holds records, or a type not of numpy's"),
        (np.zeros(2, [("a", "<f4")]), "holds records"),
    ],
)
def test_what_is_no_matrix_of_scores(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=words):
        read_scores(tmp_path / "a.npy")


def test_names_beside_it(tmp_path):
    np.save(tmp_path / "a.npy", MATRIX)
    assert read_scores(tmp_path / "a.npy").video_ids is None
    (tmp_path / "a.json").write_text(json.dumps(NAMES))
    scores = read_scores(tmp_path / "a.npy")
    assert scores.captions == ("one", "two") and scores.video_ids == ("a", "b", "c") and scores.protocol == "folder"
    assert scores.video_of_text.tolist() == [1, 0]
    np.save(tmp_path / "a.npy", MATRIX.T)
    np.testing.assert_array_equal(read_scores(tmp_path / "a.npy", transposed=True).similarity, MATRIX)
    with pytest.raises(DataError, match="turn the scores by --transposed"):
        read_scores(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.eye(4))
    with pytest.raises(DataError, match="names 2 captions and 3 videos, and a.npy is 4 x 4"):
        read_scores(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        (json.dumps(NAMES | {"columns": ["a", "a", "b"]}), "not the ids of different videos"),
        (json.dumps(NAMES | {"columns": ["a", ["b"], "c"]}), "not the ids of different videos"),
        (json.dumps(NAMES | {"rows": [{}, {}]}), "its row 0 has no video_id"),
        (json.dumps(NAMES | {"rows": [{"video_id": "x"}]}), "the video 'x' of its row 0 is not among its columns"),
    ],
)
def test_damaged_names(tmp_path, text, words):
    np.save(tmp_path / "a.npy", MATRIX)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=words):
        read_scores(tmp_path / "a.npy")


def test_a_json_of_something_else_is_left_alone(tmp_path):
    np.save(tmp_path / "a.npy", MATRIX)
    for other in ({"lr": 1}, [1, 2], {"rows": 3, "columns": 4}):
        (tmp_path / "a.json").write_text(json.dumps(other))
        assert read_scores(tmp_path / "a.npy").video_ids is None

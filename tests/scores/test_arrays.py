from __future__ import annotations

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, floating_dtypes
from safetensors.torch import save_file

from tvrkit.errors import DataError
from tvrkit.scores import read_array

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


class Bomb:
    """What must never be built."""

    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was run')",)


def npy_bytes(array=ARRAY, **changes):
    """The bytes of a .npy whose header lies as `changes` say."""
    out = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | changes
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue() + array.tobytes()


@settings(max_examples=40)
@given(
    st.data(),
    arrays(floating_dtypes(endianness="?"), array_shapes(min_dims=1, max_dims=3, max_side=5)),
    st.sampled_from(["C", "F"]),
    st.sampled_from(["npy", "npz", "zipped"]),
)
def test_what_numpy_writes_is_read_back(tmp_path_factory, data, array, order, kind):
    array = np.asarray(array, order=order)
    path = tmp_path_factory.mktemp("a") / "x.bin"  # the name says nothing
    with path.open("wb") as file:
        {"npy": np.save, "npz": np.savez, "zipped": np.savez_compressed}[kind](file, array)
    found = read_array(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_npy_is_mapped_and_never_changed(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    found = read_array(tmp_path / "a.npy")
    assert isinstance(found, np.memmap)
    found[0, 0] = 77
    assert np.load(tmp_path / "a.npy")[0, 0] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_safetensors_of_every_width(tmp_path, dtype):
    save_file({"scores": torch.tensor(ARRAY).to(dtype)}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(read_array(tmp_path / "a.safetensors"), ARRAY)


def test_one_of_several_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", t2v=ARRAY, v2t=ARRAY.T)
    save_file({"t2v": torch.tensor(ARRAY), "v2t": torch.tensor(ARRAY.T.copy())}, tmp_path / "a.safetensors")
    for name in ("a.npz", "a.safetensors"):
        path = tmp_path / name
        np.testing.assert_array_equal(read_array(f"{path}:v2t"), ARRAY.T)
        with pytest.raises(DataError, match=rf"holds 2 arrays \(t2v, v2t\): name one, as {name}:t2v"):
            read_array(path)
        with pytest.raises(DataError, match="has no array 'x'; it has t2v, v2t"):
            read_array(f"{path}:x")
    np.save(tmp_path / "b.npy", ARRAY)
    with pytest.raises(DataError, match="one array without a name"):
        read_array(f"{tmp_path}/b.npy:x")


def test_a_colon_in_a_file_name_is_no_name_of_an_array(tmp_path):
    with (tmp_path / "a.npz:b").open("wb") as file:
        np.savez(file, ARRAY)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npz:b"), ARRAY)


def hostile(folder):
    """name -> (bytes, words of the sentence)."""
    objects, zipped, locked = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(objects, np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(zipped, np.array([Bomb()], dtype=object))
    torch.save({"a": 1}, locked)
    whole = io.BytesIO()
    np.savez(whole, ARRAY)
    flipped = bytearray(whole.getvalue())
    flipped[flipped.index(ARRAY.tobytes())] ^= 1
    promising = io.BytesIO()
    with zipfile.ZipFile(promising, "w") as archive:
        archive.writestr("a.npy", npy_bytes(shape=(10**9, 10**9)))
    huge = struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[999,999],"data_offsets":[0,8]}}' + b"\0" * 8
    return {
        "object.npy": (objects.getvalue(), "holds a pickle, which could run anything"),
        "object.npz": (zipped.getvalue(), "holds a pickle, which could run anything"),
        "plain.npy": (pickle.dumps(Bomb()), "holds a pickle"),
        "torch.npz": (locked.getvalue(), r"a zip file without a \.npy"),
        "cut.npy": (
            npy_bytes()[:-5],
            r"cut short: its header promises 24 bytes of numbers \(shape 2 x 3, float32\), and 19",
        ),
        "cut.npz": (whole.getvalue()[:-20], "a damaged or locked .npz"),
        "flipped.npz": (bytes(flipped), "a damaged or locked .npz .*CRC"),
        "huge.npy": (npy_bytes(shape=(10**12, 10**12)), "cut short: its header promises 4,000,000"),
        "huge.npz": (promising.getvalue(), "cut short"),
        "huge.safetensors": (huge, "a damaged .safetensors"),
        "negative.npy": (npy_bytes(shape=(-2, -3)), r"gives the shape \(-2, -3\)"),
        "header.npy": (b"\x93NUMPY\x01\x00\x10\x00" + b"__import__('os')", "its header cannot be understood"),
        "nested.npy": (b"\x93NUMPY\x01\x00\x00\x40" + b"(" * 0x4000, "its header cannot be understood"),
        "version.npy": (b"\x93NUMPY\x09\x00" + npy_bytes()[8:], "its header cannot be understood"),
        "short.safetensors": (b"\x05", "a damaged .safetensors"),
        "json.safetensors": (struct.pack("<Q", 8) + b'{"a": 1}', "a damaged .safetensors"),
        "empty.npy": (b"", r"neither \.npy nor \.npz nor \.safetensors"),
        "text.npy": (b"0.1 0.2\n", r"neither \.npy nor \.npz nor \.safetensors"),
    }


def test_hostile_files_are_refused_with_a_sentence(tmp_path):
    for name, (content, words) in hostile(tmp_path).items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=words) as caught:
            read_array(tmp_path / name)
        assert "\n" not in str(caught.value) and str(caught.value).endswith("."), name


@settings(max_examples=150)
@given(st.integers(0, 200), st.integers(0, 255), st.integers(0, 200))
def test_whatever_byte_is_broken_there_is_an_array_or_a_sentence(tmp_path_factory, place, value, length):
    content = bytearray(npy_bytes())
    content[place % len(content)] = value
    path = tmp_path_factory.mktemp("a") / "x.npy"
    path.write_bytes(content[:length] if length < 150 else content)
    try:
        assert isinstance(read_array(path), np.ndarray)
    except DataError:
        pass


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.npy cannot be read: No such file"):
        read_array(tmp_path / "nothing.npy")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_array(tmp_path)

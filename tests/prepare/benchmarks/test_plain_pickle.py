"""Pickles of plain values are read as `pickle` does, and nothing in one is ever run."""

from __future__ import annotations

import collections
import os
import pickle
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvrkit.errors import DataError
from tvrkit.prepare.benchmarks.plain_pickle import read_plain_pickle

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAVES = TEXT | st.none() | st.booleans() | st.integers(-(2**100), 2**100) | st.floats(allow_nan=False)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3) | st.tuples(inner, inner),
)


def read(path, data):
    path.write_bytes(data)
    return read_plain_pickle(path)


@given(value=VALUES, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=150)
def test_plain_values_come_back(tmp_path_factory, value, protocol):
    data = pickle.dumps(value, protocol)
    assert repr(read_plain_pickle(tmp_path_factory.getbasetemp() / "x.pkl", data)) == repr(value)


@given(
    data=st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: pickle.dumps({"a": [["b"]]}, 2)[:-1] + tail)
)
@settings(max_examples=300)
def test_any_bytes_are_a_value_or_a_data_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "x.pkl"
    try:
        value = read_plain_pickle(path, data)
    except DataError as error:
        assert "x.pkl" in str(error)
    else:
        assert isinstance(value, (dict, list, tuple, set, str, int, float, type(None)))


@given(value=VALUES, data=st.data())
@settings(max_examples=100)
def test_damaged_pickles(tmp_path_factory, value, data):
    whole = bytearray(pickle.dumps(value, data.draw(st.integers(0, 5))))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    try:
        read_plain_pickle(
            tmp_path_factory.getbasetemp() / "x.pkl", bytes(whole[: data.draw(st.integers(0, len(whole)))])
        )
    except DataError:
        pass


class Hostile:
    """Runs a command in whoever unpickles it."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_command_in_a_pickle_is_not_run(tmp_path, protocol):
    made = tmp_path / "made"
    data = pickle.dumps({"vid1": [[Hostile(f"touch {made}")]]}, protocol)
    with pytest.raises(DataError, match="Python object") as error:
        read(tmp_path / "raw-captions.pkl", data)
    assert "raw-captions.pkl" in str(error.value) and "\n" not in str(error.value)
    assert not made.exists()
    pickle.loads(data)  # the pickle itself is sound: this is what was refused
    assert made.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'touch made'\ntR.",
        b"(cos\nsystem\nS'touch made'\no.",
        b"(S'touch made'\nios\nsystem\n.",
        b"\x80\x02\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02\x82\x01.",
        b"Pname\n.",
        pickle.dumps(collections.OrderedDict(a=1), 2),
        pickle.dumps(b"bytes", 2),  # by way of a codec
    ],
)
def test_what_names_or_calls_objects_is_refused(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="only pickles of plain lists and texts are read"):
        read(tmp_path / "x.pkl", data)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**61) + b"abc",  # a text of two exabytes
        b"X" + struct.pack("<I", 2**31) + b"abc.",  # of 2 GB
        b"T" + struct.pack("<i", -5) + b"abc.",
        b"\x8b" + struct.pack("<i", 2**30) + b".",  # a number of a gigabyte
        b"L" + b"9" * 10_000 + b"\n.",
        b"]" + b"h\x07.",  # what was never put there
        b"(((.",
        b"](a.",
        b"}N]s" + b"]Ns.",  # a list as a key
        b"S'unclosed\n.",
        b"S'\\N{GREEK}'\n.",
        b"](e",
    ],
)
def test_damaged_and_boasting_pickles(tmp_path, data):
    with pytest.raises(DataError, match=r"is no whole pickle|only pickles of plain"):
        read(tmp_path / "x.pkl", data)


def test_a_huge_memo_number_costs_nothing(tmp_path):
    # pickle's own table of remembered values would take 64 GB for it.
    data = b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b"j" + struct.pack("<I", 2**32 - 1) + b"0."
    assert read(tmp_path / "x.pkl", data) == []


def test_deep_nesting_is_no_recursion(tmp_path):
    assert isinstance(read(tmp_path / "x.pkl", b"]" * 200_000 + b"a" * 199_999 + b"."), list)


def test_python_2_texts(tmp_path):
    # {'vid1': [['a', 'caf\xc3\xa9'], ['caf\xe9', u'caf\xe9']]} as Python 2 wrote it, protocols 0 and 2.
    data = (
        b"(dp0\nS'vid1'\np1\n(lp2\n(lp3\nS'a'\np4\naS'caf\\xc3\\xa9'\np5\naa(lp6\nS'caf\\xe9'\np7\naVcaf\xe9\np8\naas."
    )
    wanted = {"vid1": [["a", "café"], ["café", "café"]]}
    assert read(tmp_path / "x.pkl", data) == wanted
    data = (
        b"\x80\x02}q\x00U\x04vid1q\x01]q\x02(]q\x03(U\x01aq\x04U\x05caf\xc3\xa9q\x05e]q\x06(U\x04caf\xe9q\x07"
        b"X\x05\x00\x00\x00caf\xc3\xa9q\x08ees."
    )
    assert read(tmp_path / "x.pkl", data) == wanted

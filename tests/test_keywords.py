from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvrkit.keywords import TAGGER, tag_key_words


def words_of(caption: str) -> list[str]:
    return [caption[start:end] for start, end in tag_key_words([caption])[0]]


# Captions of the kind that MSR-VTT, MSVD and DiDeMo hold; the words a person would underline.
GOLDEN = {
    "a man is playing a guitar and singing in front of a crowd": "man playing guitar singing front crowd",
    "in a kitchen a woman adds different ingredients into the pot and stirs it": (
        "kitchen woman adds different ingredients pot stirs"
    ),
    "someone is mixing ingredients in a bowl": "mixing ingredients bowl",
    "there are some people who are dancing together": "people dancing",
    "a cartoon shows two dogs talking to a bird": "cartoon shows dogs talking bird",
    "the young girl with the red hat should have been running": "young girl red hat running",
    "a small blue circle moves left": "small blue circle moves left",
    "the camera pans away from him, and then we see it again": "camera pans see",
}


@pytest.mark.parametrize("caption", GOLDEN)
def test_golden_captions(caption: str) -> None:
    assert words_of(caption) == GOLDEN[caption].split()


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("It's a dog's life, don't stop!", ["dog", "life", "stop"]),
        ("they’re riding the boy’s bikes", ["riding", "boy", "bikes"]),
        ("he can't, won't and shouldn't swim", ["swim"]),
        ("A WOMAN IS RUNNING IN THE PARK", ["WOMAN", "RUNNING", "PARK"]),
        ("a t-shirt in a well-lit room", ["t-shirt", "well-lit", "room"]),
        ("two kids 👶🏽 eat 3 pizzas at 5:30", ["kids", "eat", "pizzas"]),
        ("the <b>red</b> car/bus | cats & dogs", ["red", "car", "bus", "cats", "dogs"]),
        ("a café, naïve e\u0301te\u0301", ["café", "naïve", "e\u0301te\u0301"]),
        ("tab\tand\nnewline  cats", ["tab", "newline", "cats"]),
    ],
)
def test_spans_survive_odd_characters(caption: str, expected: list[str]) -> None:
    assert words_of(caption) == expected


@pytest.mark.parametrize("caption", ["", "   ", "...", "!?", "123 45", "👍", "it is what it is", "\x00"])
def test_captions_without_key_words(caption: str) -> None:
    assert tag_key_words([caption]) == [()]


def test_each_caption_for_itself_and_in_order() -> None:
    captions = ["a dog", "", "a red car", "a dog"]
    assert tag_key_words(captions) == [((2, 5),), (), ((2, 5), (6, 9)), ((2, 5),)]


def test_the_tagger_names_its_version() -> None:
    # What is cached in a manifest under another name is tagged anew.
    name, number = TAGGER.split(",")[0].split(" ")
    assert name == "textblob"
    assert number[0].isdigit()


@given(st.text(max_size=80))
def test_spans_are_ordered_apart_and_inside(caption: str) -> None:
    (spans,) = tag_key_words([caption])
    position = 0
    for start, end in spans:
        assert position <= start < end <= len(caption)
        assert any(c.isalpha() for c in caption[start:end])
        position = end


def test_the_tagger_is_loaded_late_silent_and_offline() -> None:
    # A network would be asked through socket.socket.connect or getaddrinfo: neither may be reached.
    code = """
import socket, sys, warnings
warnings.simplefilter("error")
def refuse(*a, **k): raise RuntimeError("network")
socket.getaddrinfo = refuse
socket.socket.connect = refuse
from tvrkit.keywords import tag_key_words
assert "textblob" not in sys.modules
assert tag_key_words(["a dog runs"])[0]
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")

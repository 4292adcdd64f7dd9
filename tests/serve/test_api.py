"""What is no question is refused with a sentence; what is one is read to the letter."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from tvrkit.index.ask import AVOID_WEIGHT, Ask, Part, Where
from tvrkit.serve.api import only, read_number, read_question
from tvrkit.serve.refusal import Refusal


def resolve(kind, value):
    return f"{kind}:{value}"


def test_a_whole_question():
    asked = {
        "query": "a dog", "parts": [{"kind": "image", "value": "x"}, {"kind": "text", "value": "y", "weight": -2}],
        "avoid": ["people"], "in": ["/clips", "s3://bucket/clips", "/caf\udce9"], "min_seconds": 1, "max_seconds": 2.5,
        "after": "2024-05-31", "before": "2025", "top": 5, "moments": 2,
    }  # fmt: skip
    parts = (
        Part("text", "a dog"),
        Part("image", "image:x"),
        Part("text", "y", -2.0),
        Part("text", "people", -AVOID_WEIGHT),
    )
    where = Where(
        ("/clips", "s3://bucket/clips", "/caf\udce9"), 1.0, 2.5,
        datetime(2024, 5, 31).timestamp(), datetime(2025, 1, 1).timestamp(),
    )  # fmt: skip
    assert read_question(json.dumps(asked).encode(), resolve) == Ask(parts, where, 5, 2)
    assert read_question('{"query": "über 犬"}'.encode(), resolve) == Ask((Part("text", "über 犬"),))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "no JSON"), (b"{", "no JSON"), (b"\xff", "no JSON"), (b"[" * 60000, "no JSON"),
        (b"1" * 5000, "JSON|object"),
        (b"[]", "object"), (b"null", "object"), (b'"a"', "object"), (b"{}", "empty"),
        (b'{"query": "a", "query": "b"}', "twice"), (b'{"query": "a", "topp": 1}', "topp"),
        (b'{"query": "a", "\\ud800\\u001b[31m": 1}', "\\\\ud800\\\\x1b"),
        (b'{"query": null}', "query"), (b'{"query": ["a"]}', "query"), (b'{"query": " "}', "query"),
        (b'{"query": "a\\ud800"}', "surrogate"), (json.dumps({"query": "a" * 2001}).encode(), "2000"),
        (b'{"query": "a", "top": 0}', "top"), (b'{"query": "a", "top": 1.5}', "top"),
        (b'{"query": "a", "top": true}', "top"),
        (b'{"query": "a", "top": "5"}', "top"), (b'{"query": "a", "top": 201}', "top"),
        (b'{"query": "a", "top": null}', "top"),
        (b'{"query": "a", "top": NaN}', "NaN"), (b'{"query": "a", "moments": -Infinity}', "Infinity"),
        (b'{"query": "a", "moments": 1e999}', "moments"), (b'{"query": "a", "min_seconds": -1}', "min_seconds"),
        (b'{"query": "a", "max_seconds": 1e300}', "max_seconds"),
        (b'{"query": "a", "max_seconds": "1"}', "max_seconds"),
        (b'{"query": "a", "max_seconds": ' + b"9" * 4000 + b"}", "max_seconds"),
        (b'{"query": "a", "after": "yesterday"}', "after"), (b'{"query": "a", "before": 2024}', "before"),
        (b'{"query": "a", "after": "2024-13-01"}', "after"), (b'{"query": "a", "after": "9999-12-31T99:00"}', "after"),
        (b'{"query": "a", "in": "/clips"}', "in"), (b'{"query": "a", "in": ["clips"]}', "absolute"),
        (b'{"query": "a", "in": ["/a\\u0000"]}', "in"), (json.dumps({"query": "a", "in": ["/a"] * 65}).encode(), "64"),
        (b'{"query": "a", "avoid": "people"}', "avoid"), (b'{"avoid": ["people"]}', "not wanted"),
        (b'{"parts": [{"kind": "smell", "value": "a"}]}', "kind"),
        (b'{"parts": [{"kind": ["text"], "value": "a"}]}', "kind"),
        (b'{"parts": [{"kind": "text"}]}', "value"), (b'{"parts": ["a"]}', "part"), (b'{"parts": {}}', "parts"),
        (b'{"parts": [{"kind": "text", "value": "a", "weight": 0}]}', "weight"),
        (b'{"parts": [{"kind": "text", "value": "a", "weight": 1001}]}', "weight"),
        (b'{"parts": [{"kind": "text", "value": "a", "weight": null}]}', "weight"),
        (b'{"parts": [{"kind": "text", "value": "a", "path": "/etc"}]}', "path"),
    ],
)  # fmt: skip
def test_what_is_no_question(body, named):
    with pytest.raises(Refusal, match=named) as refused:
        read_question(body, resolve)
    assert refused.value.status == 422
    assert refused.value.sentence.endswith(".") and "\n" not in refused.value.sentence
    assert refused.value.sentence.isprintable()


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-1", "1e9", "1_0", "١", "9" * 50, "0x1", "1;2"])
def test_what_is_no_number_of_an_address(text):
    with pytest.raises(Refusal, match="at must be a number from 0 to 100"):
        read_number({"at": text}, "at", 0, 100, 0)
    assert read_number({"at": "1.5"}, "at", 0, 100, None) == 1.5
    assert read_number({}, "at", 0, 100, 7) == 7


def test_parameters_that_mean_nothing():
    with pytest.raises(Refusal, match="widht.*known here: at, width"):
        only({"widht": "1"}, ("at", "width"))
    with pytest.raises(Refusal, match="at is missing"):
        read_number({}, "at", 0, 100, None)

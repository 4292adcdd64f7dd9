"""The pictures of docs/method.md: what draws them, and that they can be shown anywhere."""

from __future__ import annotations

import importlib.util
import re
import sys
import xml.etree.ElementTree

import pytest
from support import REPO

PICTURES = REPO / "docs/pictures"
LARGEST = 60_000


@pytest.fixture(scope="module")
def recording():
    spec = importlib.util.spec_from_file_location("recording", REPO / "docs/recording.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["recording"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["recording"]


def test_what_stays_on_the_screen(recording):
    """Bars that are drawn over and over leave their last state; colours stay with their letters."""
    written = (
        "$ first\r\n\x1b[?25lReading 1/2\r\x1b[2KReading \x1b[32m2\x1b[0m/2\r\n\x1b[?25h"
        "one\r\ntwo\r\x1b[1A\x1b[2Kover\r\n\x1b[1;38;5;24mblue\x1b[0m plain   \r\n\r\n"
    )
    assert recording.screen(written) == [
        "$ first",
        "Reading \x1b[32m2\x1b[0m/2",
        "over",
        "\x1b[1;38;5;24mblue\x1b[0m plain",
    ]


def test_a_recording_is_an_svg_that_fetches_nothing(recording):
    svg = recording.as_svg('$ tvrkit query "a < b & c"\n\x1b[1;38;5;226m███\x1b[0m ◆', "tvrkit query")
    root = xml.etree.ElementTree.fromstring(svg)
    assert svg == recording.as_svg('$ tvrkit query "a < b & c"\n\x1b[1;38;5;226m███\x1b[0m ◆', "tvrkit query")
    assert "███" in "".join(root.itertext())
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]


def test_pictures_of_the_method_are_small_and_described():
    text = (REPO / "docs/method.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[(.*?)\]\(pictures/(.*?)\)", text)
    assert len(shown) >= 8
    for words, name in shown:
        assert words and (PICTURES / name).stat().st_size <= LARGEST, name

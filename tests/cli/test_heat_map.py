"""The heat map in the terminal: right cells, never wider than 80 columns, readable without colours."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tvrkit.cli.answers import explained
from tvrkit.cli.heat_map import WIDTH, heat_map, print_heat_map
from tvrkit.index.explain import Explanation
from tvrkit.index.hits import FoundMoment, Hit


def make(words: tuple[str, ...], rows: list[list[float]], last_second: float = 10.0) -> Explanation:
    similarity = torch.tensor(rows)
    seconds = torch.linspace(0, last_second, similarity.shape[1], dtype=torch.float64)
    weights = torch.tensor([2.0 if len(word) > 2 else 1.0 for word in words])
    return Explanation(words, weights, seconds, similarity, similarity.argmax(1))


def test_shades_grow_and_the_best_frame_is_marked() -> None:
    lines, _ = heat_map(make(("a", "dog"), [[0.0, 0.1, 0.2, 0.3, 0.5], [0.5, 0.4, 0.1, 0.0, 0.1]], 4.0))
    assert lines[0].split() == ["00:00.0", "00:03.0"]  # each above its column, as many as have room
    assert lines[1] == "     a      ░░░░▒▒▒▒▓▓▓▓█◆██  0.50 at 00:04.0"
    assert lines[2] == "dog x2  █◆██████░░░░    ░░░░  0.50 at 00:00.0"
    assert lines[0].index("00:03.0") == lines[1].index("▓")


def test_more_frames_than_columns_share_them() -> None:
    """64 frames on at most 80 columns: none is lost, the best one is in sight."""
    rows = [[0.0] * 64, [0.0] * 64]
    rows[0][40], rows[1][63] = 1.0, 0.9
    lines, shades = heat_map(make(("incomprehensibilities",) * 2, rows, 6000.0))
    assert max(map(len, lines)) <= WIDTH
    for line, levels, place in zip(lines[1:], shades[1:], (40, 63), strict=True):
        strip = [level for level in levels if level is not None]
        assert line.count("◆") == 1
        at = next(i for i, level in enumerate(strip) if level == 4)
        assert abs(at / len(strip) - place / 64) < 1 / len(strip) + 1e-9
    assert lines[2].endswith("0.90 at 1:40:00")


@given(
    words=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=4),
    frames=st.integers(1, 100),
    last=st.floats(0, 1e5),
    fancy=st.booleans(),
)
def test_any_of_them_fits(words: list[str], frames: int, last: float, fancy: bool) -> None:
    explanation = make(tuple(words), torch.rand(len(words), frames).tolist(), last)
    lines, shades = heat_map(explanation, fancy=fancy)
    assert len(lines) == len(words) + 1
    assert max(map(cell_len, lines)) <= WIDTH
    assert [len(line) for line in lines] == [len(levels) for levels in shades]
    assert not any(ord(c) < 32 for line in lines for c in line)


def test_equal_everywhere_and_one_frame() -> None:
    lines, _ = heat_map(make(("a",), [[0.25]], 0.0))
    assert lines == ["   00:00.0", "a  █◆██  0.25 at 00:00.0"]


def test_a_terminal_that_knows_no_blocks(monkeypatch: pytest.MonkeyPatch, capsysbinary) -> None:
    import io
    import sys

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_heat_map(make(("dog",), [[0.0, 0.3, 1.0]]), "a dog")
    sys.stdout.flush()
    text = raw.getvalue().decode("ascii")
    assert re.search(r"dog x2  +\.*:*#@##  1\.00 at 00:10", text) and "\x1b" not in text


def test_above_it_stands_the_moment_that_is_explained() -> None:
    best = FoundMoment(3, 72.0, 80.0, 76.0, 0.5, None)
    hit = Hit(1, 0.5, None, "0" * 32, "/else/beach.mp4", (), 900.0, (best,))
    assert explained(hit) == "1. /else/beach.mp4, 01:12-01:20"

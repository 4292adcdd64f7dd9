"""Charts as inline SVG; their colours are those of the page's style, light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvrkit.metrics import Ranks
from tvrkit.report import curves
from tvrkit.report.parts import Html, count, join, number, plain, tag

# As wide as a phone, so that nothing is ever shown smaller than it was drawn.
_WIDTH, _HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 12, 44
_BAR, _GAP = 15, 10
SERIES = 6  # colours that the style has
_DASHES = ("", "7 4", "2 4", "10 3 2 3", "12 6", "1 3")


def legend(names: Sequence[str]) -> Html:
    """Which line or bar is whose."""
    items = []
    for i, name in enumerate(names):
        line = tag("line", x1=1, x2=27, y1=6, y2=6, class_=f"line s{i % SERIES}", stroke_dasharray=_dashes(i))
        swatch = tag("svg", line, viewBox="0 0 28 12", width=28, height=12, aria_hidden="true")
        items.append(tag("li", swatch, tag("span", name)))
    return tag("ul", join(items), class_="legend")


def recall_chart(title: str, rows: Sequence[tuple[str, Ranks]], what: str) -> Html:
    """R@k over k, a line a row, with the 95 % band of the first one.

    Args:
        title: of the chart.
        rows: name and ranks.
        what: the things ranked, such as `videos`.
    """
    items = max(ranks.num_items for _, ranks in rows)
    parts = [_grid(items, what)]
    ks = curves.log_spaced(rows[0][1].num_items)
    low, high = curves.recall_band(rows[0][1], ks)
    edge = [*zip(ks, high, strict=True), *zip(reversed(ks), reversed(low), strict=True)]
    parts.append(tag("polygon", points=_points(edge, items), class_="band s0"))
    chance = [(k, 100 * k / items) for k in curves.log_spaced(items)]
    parts.append(tag("polyline", _title("guessing"), points=_points(chance, items), class_="chance"))
    told = []
    for i, (name, ranks) in reversed(list(enumerate(rows))):  # the first one on top
        ks = curves.log_spaced(ranks.num_items)
        line = _points(list(zip(ks, curves.recall(ranks, ks), strict=True)), items)
        parts.append(
            tag("polyline", _title(name), points=line, class_=f"line s{i % SERIES}", stroke_dasharray=_dashes(i))
        )
        marks = [k for k in (1, 5, 10, 50) if k <= ranks.num_items]
        values = list(zip(marks, curves.recall(ranks, marks), strict=True))
        for k, value in values:
            dot = _title(f"{name}: R@{k} {value:.1f}")
            parts.append(tag("circle", dot, cx=_x(k, items), cy=_y(value), r=3.5, class_=f"dot s{i % SERIES}"))
        told.append(f"{name}: " + ", ".join(f"R@{k} {value:.1f}" for k, value in values))
    return _svg(title, "; ".join(reversed(told)), _HEIGHT, parts)


def recall_rows(rows: Sequence[tuple[str, Ranks]]) -> tuple[list[str], list[list[str]]]:
    """The same as a table: columns and rows."""
    items = max(ranks.num_items for _, ranks in rows)
    ks = [k for power in range(9) for k in (10**power, 2 * 10**power, 5 * 10**power) if k < items]
    return ["model", *(f"R@{k:,}" for k in ks)], [
        [name, *(number(value) for value in curves.recall(ranks, ks))] for name, ranks in rows
    ]


def rank_histogram(title: str, rows: Sequence[tuple[str, Ranks]]) -> Html:
    """How many queries have their answer at place 1, 2-5, 6-10 …; a bar a row in each bin."""
    bins = curves.rank_bins(max(ranks.num_items for _, ranks in rows))
    counts = [curves.bin_counts(ranks, bins) for _, ranks in rows]
    shares = [[100 * n / max(1, sum(column)) for n in column] for column in counts]
    left, right = 96, 112
    scale = (_WIDTH - left - right) / max(1e-9, max(map(max, shares)))
    group = len(rows) * _BAR + _GAP
    parts, told = [], []
    for b, (first, last) in enumerate(bins):
        name = f"{first:,}" if first == last else f"{first:,}–{last:,}"
        top = b * group + _GAP / 2
        parts.append(_label(name, left - 8, top + len(rows) * _BAR / 2, "end", "middle"))
        for i, (model, _) in enumerate(rows):
            y, n, share = top + i * _BAR, counts[i][b], shares[i][b]
            words = f"{n:,} ({share:.1f} %)"
            hover = _title(f"{model}, place {name}: {words}")
            width = max(share * scale, 1 if n else 0)
            parts.append(
                tag("rect", hover, x=left, y=f"{y:g}", width=f"{width:.1f}", height=_BAR - 3, class_=f"bar s{i}")
            )
            parts.append(_label(words, left + width + 6, y + _BAR / 2 - 1, "start", "middle"))
        told.append(f"place {name}: " + ", ".join(f"{counts[i][b]:,}" for i in range(len(rows))))
    height = len(bins) * group
    parts.append(tag("line", x1=left, x2=left, y1=0, y2=height, class_="axis"))
    asked = count(sum(counts[0]), "query", "queries")
    return _svg(title, f"{asked}; " + "; ".join(told), height, parts)


def _grid(items: int, what: str) -> Html:
    parts = []
    for value in range(0, 101, 20):
        parts.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=_y(value), y2=_y(value), class_="grid"))
        parts.append(_label(f"{value}", _LEFT - 7, float(_y(value)), "end", "middle"))
    ticks = [k for power in range(9) for k in (10**power, 5 * 10**power) if k <= items]
    for k in ticks:
        parts.append(tag("line", x1=_x(k, items), x2=_x(k, items), y1=_TOP, y2=_HEIGHT - _BOTTOM, class_="grid"))
        # Only the powers of ten where the others would run into each other.
        if len(ticks) <= 8 or str(k).startswith("1"):
            parts.append(_label(_short(k), float(_x(k, items)), _HEIGHT - _BOTTOM + 16, "middle", "auto"))
    parts.append(_label(f"R@k in percent, over k = 1 to {items:,} {what}", _WIDTH / 2, _HEIGHT - 6, "middle", "auto"))
    return join(parts)


def _svg(title: str, description: str, height: float, parts: Sequence[str]) -> Html:
    return tag(
        "svg",
        join(parts),
        viewBox=f"0 0 {_WIDTH} {height:g}",
        role="img",
        class_="chart",
        aria_label=f"{title}. {description}",
    )


def _x(k: float, items: int) -> str:
    return f"{_LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(k) / math.log(max(2, items)):.1f}"


def _y(percent: float) -> str:
    return f"{_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - percent / 100):.1f}"


def _points(values: Sequence[tuple[float, float]], items: int) -> str:
    return " ".join(f"{_x(k, items)},{_y(value)}" for k, value in values)


def _label(words: str, x: float, y: float, anchor: str, baseline: str) -> Html:
    return tag("text", Html(plain(words)), x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, dominant_baseline=baseline)


def _title(words: str) -> Html:
    return tag("title", Html(plain(words)))


def _short(k: int) -> str:
    return f"{k // 1000}k" if k >= 1000 else str(k)


def _dashes(i: int) -> str | None:
    return _DASHES[i % len(_DASHES)] or None

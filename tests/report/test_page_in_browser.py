"""The report in a real browser: light and dark, wide and on a phone; it asks nobody for anything."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import BROWSER, DARK, LIGHT, Proxy, browse, running_proxy
from media import make_video
from PIL import Image
from tiny import HERE

from tvrkit.evaluate import HardGallery, compare_evaluations, evaluate_scores, with_dual_softmax
from tvrkit.manifest import Manifest, Record
from tvrkit.report import write_report

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")]

NASTY = "</title><script>document.title=1</script>\"><img src=x onerror='document.title=2'> "
LONG = "averylongwordthatnophoneisaswideas" * 6
# Put into a copy of the page, which tells the page around it how it looks.
MEASURE = """<script>addEventListener("load", () => {
const box = found => { const b = found.getBoundingClientRect(); return [b.width, b.height]; };
const all = kind => [...document.querySelectorAll(kind)].map(box);
parent.postMessage(JSON.stringify({
  wide: document.documentElement.scrollWidth, inner: innerWidth, charts: all(".chart"), pictures: all(".picture svg"),
  none: all(".picture .none"), bars: all(".bar"), lines: all(".chart .line"), tables: all(".wide"),
  strokes: [...new Set([...document.querySelectorAll(".chart .line")].map(line => getComputedStyle(line).stroke))],
  small: Math.min(...[...document.querySelectorAll(".chart text")].map(text => text.getBoundingClientRect().height)),
}), "*"); })</script>"""


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with running_proxy() as server:
        yield server


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    make_video(folder / "v.mp4", num_frames=20, size=(320, 240))
    number = 40
    records = []
    for v in range(number):
        shutil.copyfile(folder / "v.mp4", folder / f"{v} <b>.mp4")
        captions = (f"caption {v} {NASTY}", f"another {v} {LONG if v % 2 else 'short'}")
        tags = {"category": f"{v % 5} {LONG if v % 5 == 1 else NASTY}"}
        records.append(Record(f"{NASTY}{v}", f"{v} <b>.mp4", captions, duration_seconds=0.8 + v, tags=tags))
    (folder / "0 <b>.mp4").write_bytes(b"broken")
    owner = np.arange(2 * number) // 2
    random = np.random.default_rng(0)
    rows = []
    for gain in (1.5, 0.5):
        scores = random.standard_normal((2 * number, number), np.float32)
        scores[np.arange(2 * number), owner] += gain
        scores[:, 0] += 1  # the broken file is chosen often
        rows.append(evaluate_scores(scores, owner, dataset=NASTY, split=LONG, records=records))
    write_report(
        folder / "out.html",
        [(f"model {NASTY}", rows[0]), (f"model {NASTY}", with_dual_softmax(rows[0])), (LONG, rows[1])],
        title=f"{NASTY}{LONG}",
        manifest=Manifest("d", tuple(records), root=folder),
        comparisons={f"A is {NASTY}, B is {LONG}": compare_evaluations(*rows)},
        hard=[(LONG, HardGallery(1, 3, 50.0, 50.0, {LONG: (50.0, 2)}))],
        notes=[LONG],
        reading=HERE,
    )
    return folder / "out.html"


def around(page: Path, width: int, name: str) -> Path:
    """A page that shows another in a frame of that width (headless Chromium itself is at least 500 wide)."""
    outer = page.with_name(f"around-{name}")
    outer.write_text(
        "<body style='margin:0'><pre id=out></pre><script>onmessage = e => out.textContent = e.data</script>"
        f"<iframe src='{name}' style='width:{width}px;height:9000px;border:0;position:absolute;left:0;top:0'></iframe>",
        "utf-8",
    )
    return outer


def test_nothing_runs_and_nothing_is_fetched(page: Path, tmp_path: Path, proxy: Proxy) -> None:
    done = browse(page, tmp_path / "profile", proxy, "--dump-dom", "--virtual-time-budget=3000")
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    assert title and unescape(title[1]).startswith(NASTY)
    assert "<script" not in done.stdout and "<img" not in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr
    assert proxy.asked_by_page() == []


@pytest.mark.parametrize("width", [320, 400, 800, 1300])
def test_everything_has_its_size_and_nothing_is_wider_than_the_page(
    page: Path, tmp_path: Path, proxy: Proxy, width: int
) -> None:
    text, policies = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text("utf-8"))
    assert policies == 1
    name = f"measured-{width}.html"
    page.with_name(name).write_text(text.replace("</head>", f"{MEASURE}</head>"), "utf-8")
    done = browse(around(page, width, name), tmp_path / "profile", proxy, "--dump-dom", "--virtual-time-budget=5000")
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.S)
    assert found and found[1], done.stderr
    seen: dict[str, Any] = json.loads(unescape(found[1]))
    assert seen["inner"] == width and seen["wide"] <= width, "it has to be scrolled sideways"
    assert len(seen["charts"]) == 4 and len(seen["strokes"]) == 3 and "none" not in seen["strokes"]
    for kind in ("charts", "pictures", "none", "bars", "lines", "tables"):
        assert seen[kind], kind
        assert all(
            wide <= width and (kind in ("bars", "lines") or (wide > 100 and high > 50)) for wide, high in seen[kind]
        )
    assert all(high > 5 for _, high in seen["bars"]) and all(wide > 150 for wide, _ in seen["lines"])
    assert seen["small"] >= (10 if width >= 400 else 8), "the words in a chart are too small to be read"


@pytest.mark.parametrize(("width", "dark"), [(1300, False), (400, True)])
def test_it_looks_as_it_should(page: Path, tmp_path: Path, proxy: Proxy, width: int, dark: bool) -> None:
    shot = tmp_path / "shot.png"
    target = around(page, width, "out.html") if width < 500 else page
    size = f"--window-size={max(width, 500)},9000"
    browse(target, tmp_path / "profile", proxy, size, f"--screenshot={shot}", DARK if dark else LIGHT)
    image = np.asarray(Image.open(shot).convert("RGB")).astype(int)[:, :width]
    assert (image[2, 2].max() < 60) == dark

    def like(*colour: int) -> int:
        return int((np.abs(image - colour).max(axis=2) < 40).sum())

    # The pictures' red, green and blue corners: of each colour as much as pictures are in sight, and of green twice.
    red, green, blue = like(230, 20, 20), like(20, 200, 20), like(20, 20, 230)
    assert red > 5000 and red == pytest.approx(blue, rel=0.15) and green == pytest.approx(2 * red, rel=0.15)
    # The bars and lines of the first and of the third row.
    assert min(like(110, 160, 255), like(94, 207, 146)) > 2000 if dark else like(47, 111, 235) > 2000
    if keep := os.environ.get("TVRKIT_KEEP_SCREENSHOTS"):
        shutil.copy(shot, Path(keep) / f"report-{width}.png")

"""The page in a real browser: every picture shows, nothing is fetched, no name runs as a script."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import BROWSER, DARK, LIGHT, Proxy, browse, running_proxy
from media import make_video
from PIL import Image
from tiny import HERE

from tvrkit.index.explain import Explanation
from tvrkit.index.hits import Answer, FoundMoment, Hit
from tvrkit.index.page import write_page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")]

NAMES = [
    "<script>document.title=1;fetch('http:a.example').mp4",
    '"><img src=x onerror="document.title=2">.mp4',
    "a very long name with 🏄 and 犬 that has to be wrapped because no phone is as wide, not even sideways.mp4",
    os.fsdecode(b"bytes \xff.mp4"),
    "javascript:document.title=3.mp4",
]


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with running_proxy() as server:
        yield server


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    video = make_video(folder / "v.mp4", num_frames=50, size=(320, 240))
    hits = []
    for i, name in enumerate(NAMES):
        shutil.copyfile(video, folder / name)
        moments = tuple(FoundMoment(m, m / 2, m / 2 + 0.5, (i + m) / 4, 0.5, 0.4 - i / 20) for m in range(1 + i % 3))
        hits.append(Hit(i + 1, 0.5, moments[0].confidence, str(i), str(folder / name), (), 2.0, moments))
    similarity = torch.linspace(0, 1, 36).view(3, 12)
    heat = Explanation(
        ("<b>a</b>", "dog", "incomprehensibilities"),
        torch.tensor([1.0, 2.0, 2.0]),
        torch.arange(12, dtype=torch.float64),
        similarity,
        similarity.argmax(1),
    )
    title = "</title><script>document.title=4</script> a dog"
    answer = Answer(tuple(hits), 0.5, 5, 9, exact=True)
    write_page(folder / "out.html", title, answer, summary="<i>best</i>", explanations={1: heat, 3: heat}, reading=HERE)
    return folder / "out.html"


def test_nothing_runs_and_nothing_is_fetched(page: Path, tmp_path: Path, proxy: Proxy) -> None:
    done = browse(page, tmp_path / "profile", proxy, "--dump-dom", "--virtual-time-budget=3000")
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    assert title and title[1] == "&lt;/title&gt;&lt;script&gt;document.title=4&lt;/script&gt; a dog"
    assert "<script" not in done.stdout and done.stdout.count("<img ") == len(NAMES) + 4
    assert "CONSOLE" not in done.stderr, done.stderr
    assert proxy.asked_by_page() == []


def test_the_proxy_would_have_noticed(tmp_path: Path, proxy: Proxy) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://a.example/x.png"><script>console.error("seen")</script>')
    done = browse(page, tmp_path / "profile", proxy, "--dump-dom", "--virtual-time-budget=3000")
    assert any("http://a.example/x.png" in line for line in proxy.asked)
    assert "CONSOLE" in done.stderr and "seen" in done.stderr


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_it_looks_as_it_should(page: Path, tmp_path: Path, proxy: Proxy, width: int, dark: bool) -> None:
    shot = tmp_path / "shot.png"
    # Headless Chromium is at least 500 wide: a narrow page is tried in a frame.
    target = page
    if width < 500:
        target = page.with_name("phone.html")
        target.write_text(
            f'<body style="margin:0"><iframe src="out.html" style="width:{width}px;height:2600px;border:0">', "utf-8"
        )
    browse(
        target,
        tmp_path / "profile",
        proxy,
        f"--window-size={max(width, 500)},2600",
        f"--screenshot={shot}",
        DARK if dark else LIGHT,
    )
    image = np.asarray(Image.open(shot).convert("RGB")).astype(int)[:, :width]
    background = image[2, 2]
    assert (background.max() < 60) == dark
    # The red corner block of each video's frames: its area says that all five pictures show, whole and undistorted, in
    # boxes of 16:9 (the cards have a border of 1, between them are 16 pixels).
    red = (np.abs(image - (230, 20, 20)).max(axis=2) < 60).sum()
    columns, margin = (1, 12) if width < 500 else (3, 36)
    height = ((width - 2 * margin - 16 * (columns - 1)) / columns - 2) * 9 / 16
    assert red == pytest.approx(len(NAMES) * (height / 4) * (height * 4 / 3 / 4), rel=0.1)
    if width < 500:
        # One column, nothing cut off at the right: the margin there is empty.
        assert np.abs(image[:, width - 8 :] - background).max() < 12
    if keep := os.environ.get("TVRKIT_KEEP_SCREENSHOTS"):
        shutil.copy(shot, Path(keep) / f"page-{width}.png")

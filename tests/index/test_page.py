"""The page: right pictures, everything escaped, nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from media import frame_number, make_video
from pages import Page
from PIL import Image
from tiny import HERE

from tvrkit.errors import DataError
from tvrkit.index.explain import Explanation
from tvrkit.index.hits import Answer, FoundMoment, Hit
from tvrkit.index.page import write_page

NASTY = ["<script>alert(1).mp4", '"onmouseover="alert(1).mp4', "a&amp;b$title.mp4", "line\nbreak.mp4", "🏄.mp4"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "v.mp4", num_frames=50, fps=25, size=(640, 480))


def make_hit(path: Path | str, *best: float, rank: int = 1, confidence: float | None = None) -> Hit:
    moments = tuple(FoundMoment(i, i, i + 1.0, seconds, 0.5, confidence) for i, seconds in enumerate(best))
    return Hit(rank, 0.6 - rank / 10, confidence, f"{rank}", str(path), (), 2.0, moments)


def write(path: Path, *hits: Hit, title: str = "a dog", threshold: float | None = None, **settings) -> Page:
    answer = Answer(hits, threshold, len(hits), len(hits), exact=True)
    write_page(path, title, answer, summary="The best.", reading=HERE, **settings)
    return Page(path)


def pictures(page: Page) -> list[np.ndarray]:
    found = []
    for attributes in page.all("img"):
        kind, _, data = str(attributes["src"]).partition(",")
        assert kind == "data:image/jpeg;base64"
        found.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))))
    return found


def test_the_pictures_are_of_the_moments(video: Path, tmp_path: Path) -> None:
    page = write(tmp_path / "page.html", make_hit(video, 0, 37 / 25), make_hit(video, 13 / 25, rank=2))
    assert [frame_number(picture) for picture in pictures(page)] == [0, 37, 13]
    assert [picture.shape[:2] for picture in pictures(page)] == [(360, 480), (150, 200), (360, 480)]
    assert "00:00-00:01 / 00:02" in page.text and "0.500" in page.text and "No confident" not in page.text
    links = [str(attributes["href"]) for attributes in page.all("a")]
    assert links == [f"{video.as_uri()}#t={seconds}" for seconds in ("0.00", "1.48", "0.52")]


def test_confidence_is_shown_and_what_is_unsure_is_marked(video: Path, tmp_path: Path) -> None:
    sure, unsure = make_hit(video, 0, confidence=0.93), make_hit(video, 1, rank=2, confidence=0.2)
    page = write(tmp_path / "page.html", sure, unsure, threshold=0.5)
    assert "93 %" in page.text and "93 % ?" not in page.text and "20 % ?" in page.text
    assert "No confident match" not in page.text
    assert "No confident match" in write(tmp_path / "page.html", unsure, threshold=0.5).text


def test_the_heat_map_is_a_table(video: Path, tmp_path: Path) -> None:
    similarity = torch.tensor([[0.1, 0.5, 0.3], [0.4, 0.3, 0.2]])
    seconds = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    heat = Explanation(("<i>a", "dog"), torch.tensor([1.0, 2.0]), seconds, similarity, similarity.argmax(1))
    page = write(tmp_path / "page.html", make_hit(video, 0), explanations={1: heat})
    cells = page.all("td")
    assert [cell.get("class") for cell in cells] == [None, "top", None, "top", None, None]
    assert [str(cell["title"])[:4] for cell in cells] == ["0.10", "0.50", "0.30", "0.40", "0.30", "0.20"]
    # From the least to the greatest similarity of the whole table.
    assert [tag["style"] for tag in page.all("i") if "style" in tag] == [
        f"opacity:{value:.2f}" for value in (0, 1, 0.5, 0.75, 0.5, 0.25)
    ]
    assert page.inside("th") == ["<i>a", "dog"] and "dog" in page.inside("b")


def test_everything_is_escaped_and_nothing_comes_from_elsewhere(video: Path, tmp_path: Path) -> None:
    names = [*NASTY, os.fsdecode(b"\xff\xfe bytes.mp4")]
    for name in names:
        shutil.copyfile(video, tmp_path / name)
    hits = [make_hit(tmp_path / name, 1.0, rank=i + 1) for i, name in enumerate(names)]
    page = write(tmp_path / "page.html", *hits, title='</title><img src=x onerror="alert(1)"> $cards \udcff')
    assert page.all("script") == [] and len(page.all("img")) == len(names)
    for name in NASTY:
        assert name in page.text
    assert "\\udcff\\udcfe bytes.mp4" in page.text and '<img src=x onerror="alert(1)"> $cards \\udcff' in page.text
    for tag, attributes in page.tags:
        assert not any(attribute.startswith("on") for attribute in attributes), (tag, attributes)
        address = attributes.get("src") or attributes.get("href") or "data:,"
        assert str(address).startswith(("data:", "file:///"))
    links = [str(attributes["href"]) for attributes in page.all("a")]
    assert [link.rpartition("/")[2].partition("#")[0] for link in links][-1] == "%FF%FE%20bytes.mp4"
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", text)
    (policy,) = (meta for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'")


def test_a_video_that_gives_no_picture_has_a_card(tmp_path: Path, video: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"broken")
    far = make_hit("s3://no-such-bucket-\x00/v<b>.mp4", 0, 1, rank=3)
    page = write(tmp_path / "page.html", make_hit(tmp_path / "broken.mp4", 0), make_hit(video, 0, rank=2), far)
    assert len(page.all("img")) == 1 and page.text.count("no picture") == 3
    assert "broken.mp4" in page.text and "v<b>.mp4" in page.text
    assert [("href" in link) for link in page.all("a")] == [True, True, False, False]


def test_a_page_that_cannot_be_written(tmp_path: Path, video: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write the page"):
        write(tmp_path / "file" / "page.html", make_hit(video, 0))

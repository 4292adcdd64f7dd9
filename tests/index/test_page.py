"""The page: right pictures, everything escaped, nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from media import frame_number, make_video
from PIL import Image
from tiny import HERE

from tvrkit.errors import DataError
from tvrkit.index.hits import Hit
from tvrkit.index.page import write_page

NASTY = ["<script>alert(1).mp4", '"onmouseover="alert(1).mp4', "a&amp;b$title.mp4", "line\nbreak.mp4", "🏄.mp4"]


class Page(HTMLParser):
    """Tags, their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "v.mp4", num_frames=50, fps=25, size=(640, 480))


def write(path: Path, hits: list[Hit], title: str = "a dog") -> Page:
    write_page(path, title, hits, summary="The best.", reading=HERE)
    return Page(path.read_text(encoding="utf-8"))


def pictures(page: Page) -> list[np.ndarray]:
    found = []
    for attributes in page.all("img"):
        kind, _, data = str(attributes["src"]).partition(",")
        assert kind == "data:image/jpeg;base64"
        found.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))))
    return found


def test_the_pictures_are_of_the_best_moments(video: Path, tmp_path: Path) -> None:
    hits = [Hit(i + 1, 0.5 - i / 10, video, number / 25, 2.0) for i, number in enumerate((0, 13, 37, 49))]
    page = write(tmp_path / "page.html", hits)
    assert [frame_number(picture) for picture in pictures(page)] == [0, 13, 37, 49]
    assert all(picture.shape == (360, 480, 3) for picture in pictures(page))
    assert "00:01 / 00:02" in page.text and "0.500" in page.text
    links = [str(attributes["href"]) for attributes in page.all("a")]
    assert links[1] == f"{video.as_uri()}#t=0.52"


def test_everything_is_escaped_and_nothing_comes_from_elsewhere(video: Path, tmp_path: Path) -> None:
    names = [*NASTY, os.fsdecode(b"\xff\xfe bytes.mp4")]
    for name in names:
        shutil.copyfile(video, tmp_path / name)
    hits = [Hit(i + 1, 0.5, tmp_path / name, 1.0, 2.0) for i, name in enumerate(names)]
    page = write(tmp_path / "page.html", hits, title='</title><img src=x onerror="alert(1)"> $cards \udcff')
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
    hits = [Hit(1, 0.5, tmp_path / "broken.mp4", 0.0, 1.0), Hit(2, 0.4, video, 0.0, 2.0)]
    page = write(tmp_path / "page.html", hits)
    assert len(page.all("img")) == 1 and "no picture" in page.text and "broken.mp4" in page.text


def test_a_page_that_cannot_be_written(tmp_path: Path, video: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write the page"):
        write(tmp_path / "file" / "page.html", [Hit(1, 0.5, video, 0.0, 2.0)])

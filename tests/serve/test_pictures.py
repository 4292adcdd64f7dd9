"""Pictures that go out (thumbnails) and come in (to search with)."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from media import frame_number, truncate
from PIL import Image

from tvrkit.errors import StoreError
from tvrkit.serve.disk_cache import DiskCache
from tvrkit.serve.images import Images
from tvrkit.serve.refusal import Refusal
from tvrkit.serve.thumbnails import WIDTHS, Thumbnails


def picture(kind="PNG", size=(20, 10)):
    out = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(out, kind)
    return out.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(side):
    """A PNG of a few bytes that claims side x side pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def test_a_thumbnail_shows_the_frame_of_its_time(client, identity):
    for at, number in ((0, 0), (0.1, 1), (0.45, 4), (1.9, 19), (50, 19)):  # c.webm has ten frames a second, 2 s
        answer = client.get(f"/api/videos/{identity('c.webm')}/thumbnail", params={"at": at, "width": 480})
        assert answer.headers["content-type"] == "image/jpeg"
        image = Image.open(io.BytesIO(answer.content))
        assert image.size == (96, 64)  # never larger than the video
        assert frame_number(np.asarray(image)) == number
    tag = answer.headers["etag"]
    again = client.get(answer.request.url, headers={"If-None-Match": tag})
    assert again.status_code == 304 and again.content == b""


@pytest.mark.parametrize(
    "query", ["at=-1", "at=nan", "at=x", "width=0", "width=1281", "width=1e9", "size=5", "at=1&width="]
)
def test_thumbnails_that_cannot_be(client, identity, query):
    answer = client.get(f"/api/videos/{identity('c.webm')}/thumbnail?{query}")
    assert answer.status_code == 422 and answer.json()["error"]


def test_a_broken_video_costs_one_picture(tmp_path, built):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes((built.clips / "a.mp4").read_bytes())
    truncate(broken, 0.3)
    thumbnails = Thumbnails(tmp_path / "cache")
    try:
        with pytest.raises(Refusal, match="no picture can be had") as refused:
            thumbnails._get("0" * 32, str(broken), 0.5, 1.0, 320)
        assert refused.value.status == 422
        good = thumbnails._get("1" * 32, str(built.clips / "a.mp4"), 0.5, 1.0, 320)
        assert Image.open(io.BytesIO(good)).format == "JPEG"
        (tmp_path / "cache").joinpath(f"{'1' * 32}-500-320.jpg").write_bytes(b"kept")
        assert thumbnails._get("1" * 32, str(built.clips / "a.mp4"), 0.5, 1.0, 320) == b"kept"
    finally:
        thumbnails.close()


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, built):
    (tmp_path / "cache").write_text("no folder")
    thumbnails = Thumbnails(tmp_path / "cache")
    try:
        assert thumbnails._get("1" * 32, str(built.clips / "a.mp4"), 0.5, 1.0, WIDTHS[0])[:2] == b"\xff\xd8"
    finally:
        thumbnails.close()


def test_a_disk_cache_keeps_to_its_size(tmp_path):
    cache = DiskCache(tmp_path / "cache", most_bytes=1000)
    for number in range(30):
        cache.make(f"{number}", lambda path: path.write_bytes(b"x" * 100) and None)
        cache.get("0")  # in use
        assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 1000
    assert cache.get("0") and cache.get("29") and cache.get("2") is None
    cache.make("large", lambda path: path.write_bytes(b"x" * 5000) and None)
    assert cache.get("large") and cache.get("0") is None

    def fail(path):
        raise Refusal(422, "no.")

    with pytest.raises(Refusal):
        cache.make("never", fail)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["large"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        DiskCache(tmp_path / "file", 10).make("x", lambda path: None)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_pictures_that_are_taken(client, kind):
    answer = client.post("/api/images", content=picture(kind))
    assert answer.status_code == 200 and len(answer.json()["id"]) == 32


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 422), (b"hello", 422), (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422),
     (picture("JPEG", (200, 200))[:-200], 422),
     (picture("TIFF"), 422),
     (picture("PPM"), 422), (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 422),
     (bomb(7500), 413), (bomb(10_000), 413),
     (bomb(50_000), 413), (b"\xff" * 10_000_001, 413)],
    ids=["empty", "text", "svg", "cut off", "tiff", "ppm", "eps", "56 Mpx", "100 Mpx", "2500 Mpx", "large"],
)  # fmt: skip
def test_pictures_that_are_not(client, content, status):
    answer = client.post("/api/images", content=content)
    assert answer.status_code == status and answer.json()["error"].endswith(".")


def test_only_the_latest_pictures_are_kept():
    images = Images()
    try:
        ids = [images.put(picture(size=(1, side))) for side in range(1, 67)]
        with pytest.raises(Refusal, match="send it to /api/images again"):
            images.path(ids[0])
        with pytest.raises(Refusal):
            images.path("../../etc/passwd")
        assert Path(images.path(ids[-1])).read_bytes() == picture(size=(1, 66))
        folder = Path(images.path(ids[-1])).parent
    finally:
        images.close()
    assert not folder.exists()

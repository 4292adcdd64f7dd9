"""Whatever names and captions hold is text, and never too much of it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

from reports import SCORES, evaluation, records, report

from tvrkit.evaluate import HardGallery, compare_evaluations, with_dual_softmax
from tvrkit.manifest import Manifest

NASTY = '</title><script>alert(1)</script> "onload="x" $title ${cards} \x00 \ud800 \u202e <img src=x>'


def test_everything_is_escaped_and_nothing_comes_from_elsewhere(tmp_path: Path, videos: Path) -> None:
    listed = []
    for v, record in enumerate(records()):
        captions = tuple(f"{caption} {NASTY}" for caption in record.captions)
        path = f'videos/{v} "onclick="x" <b>.mp4'
        if not (videos / path).exists():
            shutil.copyfile(videos / record.path, videos / path)
        tags = {"category": f"{NASTY} {v}", "source": f"{NASTY} {v}"}
        listed.append(replace(record, video_id=f"{NASTY} {v}", captions=captions, path=path, tags=tags))
    listed[2] = replace(listed[2], path="videos/\ud800.mp4")
    options = {"protocol": NASTY, "missing": [NASTY], "allow_missing": True}
    a = evaluation(records=listed, dataset=NASTY, split=NASTY, **options)
    gallery = HardGallery(2, 6, 50.0, 66.6, {NASTY: (75.0, 4)})
    page = report(
        tmp_path / "out.html",
        (NASTY, a),
        (f"{NASTY} b", with_dual_softmax(a)),
        (f"{NASTY} c", evaluation(SCORES[::-1].copy(), records=listed, **options)),
        title=NASTY,
        manifest=Manifest("mine", tuple(listed), root=videos),
        comparisons={NASTY: compare_evaluations(a, a)},
        hard=[(NASTY, gallery)],
        notes=[NASTY],
    )
    assert not page.all("script") and not page.all("img") and len(page.inside("title")) > 0
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "file:///", "#")), (tag, address)
    shown = '<script>alert(1)</script> "onload="x" $title ${cards} \\x00 \\ud800'
    assert page.text.count(shown) > 30
    assert not re.search(r"https?://|@import|url\(", page.source)
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert str(policy["content"]).startswith("default-src 'none'")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_long_texts_are_shortened(tmp_path: Path) -> None:
    listed = records()
    listed[2] = replace(listed[2], captions=("word " * 2000,), tags={"category": "x" * 5000})
    page = report(tmp_path / "out.html", ("m" * 5000, evaluation(records=listed)), title="t" * 5000)
    assert "word … (10,000 characters)" in page.text and max(map(len, page.inside("body"))) < 500
    assert len(page.source) < 60_000

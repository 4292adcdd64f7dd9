"""The report: its numbers, its pictures, everything escaped, nothing from elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from media import frame_number
from pages import decode
from reports import OWNER, SCORES, cards, evaluation, records, report

from tvrkit.errors import DataError
from tvrkit.evaluate import (
    HardGallery,
    QueryBank,
    compare_evaluations,
    evaluate_scores,
    with_dual_softmax,
    with_query_bank,
)
from tvrkit.frames.reading import Reading
from tvrkit.manifest import Manifest, Record


def test_the_tables_hold_the_numbers(tmp_path: Path) -> None:
    page = report(tmp_path / "out.html", ("model", evaluation()))
    t2v = page.table("Text to video: 4 captions each looking for its video among 4")
    row = dict(zip(t2v["head"], t2v["model"], strict=True))
    # R@1: (1 + 0 + 0 + 0) / 4; all are among the first 5; places 1, 2.5, 2, 4: median 2.25, mean 2.375.
    assert (row["R@1"], row["R@5"], row["R@50"]) == ("25.0", "100.0", "100.0")
    assert (row["MdR"], row["MnR"], row["ties"]) == ("2.2", "2.4", "1") and "mAP" not in row
    low, high = map(float, row["95\N{NO-BREAK SPACE}%"].split("–"))
    assert low <= 25 <= high and high > low
    v2t = page.table("Video to text: 3 videos each looking for a caption of its own among those of 3")
    row = dict(zip(v2t["head"], v2t["model"], strict=True))
    # Video 0: best of its own 0.9, others 0.5, 0.7. Video 1: own 0.4, others 0.8, 0.6. Video 2: own 0.1, 0.2, 0.3.
    assert (row["R@1"], row["MdR"], row["MnR"]) == ("33.3", "3", "2.3") and float(row["mAP"]) > 0


def test_the_head_says_what_was_measured(tmp_path: Path) -> None:
    notes = ["step 20, chosen on the split val"]
    page = report(tmp_path / "out.html", ("runs/x", evaluation()), notes=notes)
    told = "".join(page.inside("header"))
    for words in ("mine, split test", "4 videos and 4 captions", "runs/x", *notes):
        assert words in told
    assert "INCOMPLETE" not in page.text
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d", told)


def test_an_incomplete_set_is_labelled_at_the_top(tmp_path: Path) -> None:
    options = {"protocol": "msrvtt-1ka", "missing": ["lost1", "lost2"], "allow_missing": True}
    page = report(tmp_path / "out.html", ("model", evaluation(**options)))
    told = "".join(page.inside("header"))
    assert "INCOMPLETE" in told and "4 of 1,000 videos" in told and "lost1, lost2" in told
    assert "2 videos could not be read" in told and "Yu, Kim and Kim" in "".join(page.inside("main"))
    later = report(tmp_path / "out.html", ("whole", evaluation()), ("part", evaluation(**options)))
    assert "".join(later.inside("header")).count("INCOMPLETE") == 1 and "INCOMPLETE part: 4 of 1,000" in later.text
    complete = evaluation(protocol="msrvtt-1ka", missing=["lost"], allow_missing=True)
    complete = replace(complete, coverage=replace(complete.coverage, expected_videos=4, expected_queries=4))
    assert complete.coverage.complete
    assert "INCOMPLETE" in report(tmp_path / "out.html", ("model", complete)).text


def test_the_worst_queries_with_what_was_chosen(tmp_path: Path, videos: Path) -> None:
    manifest = Manifest("mine", tuple(records()), root=videos)
    page = report(tmp_path / "out.html", ("model", evaluation()), manifest=manifest)
    rain, dog, cats, worst_video = cards(page)[:4]
    assert rain == ("rain place 4 of 4 right video id2 score 0.1000 chosen instead id0 a dog score 0.7000")
    assert dog.startswith(
        "a dog that runs over the grass to its ball place 2.5 of 4, tied with 1 other right video id0"
    )
    assert dog.endswith("chosen instead id1 two cats score 0.8000")
    assert cats.startswith("two cats place 2 of 4") and "chosen instead id0 a dog score 0.5000" in cats
    # Of video 1 the best own caption has 0.4, and the second caption of video 0 has 0.8.
    assert worst_video == (
        "id1 place 3 of 3 asking video, its best own caption id1 two cats score 0.4000"
        " caption chosen instead, and its video id0 a dog that runs over the grass to its ball score 0.8000"
    )
    assert len(cards(page)) == 5  # a dog, and video 0, are right


def test_of_equal_scores_another_is_chosen_instead(tmp_path: Path) -> None:
    page = report(tmp_path / "out.html", ("model", evaluation(np.ones_like(SCORES))))
    found = [re.findall(r" id\d ", card) for card in cards(page)]
    assert len(found) == 7 and all(len(set(two)) == 2 for two in found)


def test_pictures_are_of_the_middle_and_stand_once_in_the_page(tmp_path: Path, videos: Path) -> None:
    listed = records()
    listed[1] = replace(listed[1], start_seconds=2.0, end_seconds=4.0)
    page = report(
        tmp_path / "out.html",
        ("model", evaluation(records=listed)),
        manifest=Manifest("mine", tuple(listed), root=videos),
    )
    assert page.source.count("data:image/jpeg") == 3
    addresses = {}
    for (tag, symbol), (_, image) in zip(page.tags, page.tags[1:], strict=False):
        if tag == "symbol":
            addresses[symbol["id"]] = str(image["href"])
    middle = {name: frame_number(decode(address)) for name, address in addresses.items()}
    # 30 frames from 0 to 3 s; 2 to 4 s; 80 frames from 0 to 8 s. The frame on show at 1.5 s is number 15, and so on.
    assert middle == {"v0": 15, "v1": 30, "v2": 40}
    used = [str(found["href"]) for found in page.all("use")]
    assert len(used) > 3 and {name.removeprefix("#") for name in used} == set(addresses)
    links = {str(found["href"]) for found in page.all("a") if str(found["href"]).startswith("file:")}
    assert f"{(videos / 'videos' / '1.mp4').as_uri()}#t=3.00" in links


def test_a_video_without_a_picture_has_the_reason(tmp_path: Path, videos: Path) -> None:
    scores = SCORES.copy()
    scores[0, 3] = 2.0  # the broken file is chosen
    page = report(
        tmp_path / "out.html",
        ("model", evaluation(scores)),
        manifest=Manifest("mine", tuple(records()), root=videos),
    )
    (reason,) = (words for words in page.inside("li") if words.startswith("no picture"))
    assert len(reason) > len("no picture: ") and "3.mp4" in page.source
    gone = report(
        tmp_path / "out.html",
        ("model", evaluation(scores)),
        manifest=Manifest("mine", tuple(records()), root=tmp_path / "gone"),
        reading=Reading(1),
    )
    assert "no picture: cannot be opened" in gone.text and "data:image" not in gone.source


def test_a_bare_matrix_has_numbers_for_names(tmp_path: Path) -> None:
    page = report(tmp_path / "out.html", ("scores.npy", evaluation(records=())))
    assert cards(page)[0].startswith("caption 3 place 4 of 4 right video video 2 score 0.1000 chosen instead video 0")
    assert "By " not in " ".join(page.tables) and "picture" not in page.text
    assert not page.all("section", id="groups") and page.all("section", id="questions")


def test_records_of_another_order_are_not_believed(tmp_path: Path) -> None:
    page = report(tmp_path / "out.html", ("model", replace(evaluation(), records=tuple(records()[::-1]))))
    assert cards(page)[0].startswith("caption 3") and "rain" not in page.text


def test_groups_of_queries(tmp_path: Path) -> None:
    page = report(tmp_path / "out.html", ("model", evaluation()), ("other", evaluation(SCORES[:, ::-1].copy())))
    table = page.table("By category")
    assert table["head"] == ["videos", "captions", "R@1", "R@5", "R@10", "MdR", "R@1 of other"]
    # Captions 0, 1, 2 are of animals, at the places 1, 2.5 and 2; the best category stands first.
    assert table["animalsfew"][:6] == ["2", "3", "33.3", "100.0", "100.0", "2"]
    assert table["weatherfew"][:6] == ["1", "1", "0.0", "100.0", "100.0", "4"] and list(table)[1] == "animalsfew"
    words = page.table("By length of the caption")
    assert list(words)[1:] == ["1–5 wordsfew", "6–10 wordsfew"] and words["6–10 wordsfew"][:3] == ["1", "1", "0.0"]
    seconds = page.table("By duration of the video")
    assert {name: row[1] for name, row in seconds.items()} == {"head": "captions", "0–5 sfew": "2", "5–10 sfew": "2"}
    assert not [caption for caption in page.tables if caption.startswith("By source")]


def test_two_models_are_compared(tmp_path: Path) -> None:
    better = SCORES.copy()
    better[3, 2] = 1.0
    a, b = evaluation(), evaluation(better)
    named = {"old and new": compare_evaluations(a, b)}
    page = report(tmp_path / "out.html", ("old", a), ("new", b), comparisons=named)
    row = page.table("old and new, text to video")["R@1"]
    assert row[:3] == ["25.0", "50.0", "+25.0"] and row[-1] == "may be chance"
    assert page.table("old and new, text to video")["MnR"][2] == "−0.8"  # 4 to 1 in one of four
    (card,) = (card for card in cards(page) if card.startswith("rain old:"))
    assert card == (
        "rain old: place 4 of 4 new: place 1 of 4 right video, chosen by new id2 old 0.1000; new 1.000"
        " chosen by old id0 a dog old 0.7000; new 0.7000"
    )
    page = report(tmp_path / "out.html", ("a name that is long", a), ("new", b))
    assert "The first is a name that is long, the second is new." in page.text
    assert sum(card.startswith("rain first: place 4 of 4 second: place 1 of 4") for card in cards(page)) == 1


def test_a_difference_in_words(tmp_path: Path) -> None:
    from tvrkit.metrics import Difference

    both = {"R@1": Difference(40, 50, 10, 5, 15, 0.0004), "MnR": Difference(9, 8, -1, -2, -0.1, 0.04)}
    both |= {"R@5": Difference(60, 50, -10, -15, -5, 0.01), "R@10": Difference(60, 60, 0, -1, 1, 1.0)}
    page = report(tmp_path / "out.html", ("a", evaluation()), comparisons={"A against B": {"t2v": both}})
    rows = page.table("A against B")
    assert rows["R@1"][-2:] == ["< 0.001", "the second is better, hardly by chance"]
    assert rows["MnR"][-1].startswith("the second is") and rows["R@5"][-1].startswith("the first is")
    assert rows["R@10"][-1] == "the same" and rows["R@5"][3] == "−15.0 to −5.0"


def test_a_normalised_row_says_so_and_does_not_give_the_worst_queries(tmp_path: Path) -> None:
    plain = evaluation()
    page = report(tmp_path / "out.html", ("model", with_dual_softmax(plain)), ("model", plain))
    assert list(page.table("Text to video: 4"))[1:] == ["modelwith dual softmax, temperature 100", "model"]
    assert "it changed the rank of" in page.text
    assert cards(page)[0].startswith("rain place 4 of 4")
    only = report(tmp_path / "out.html", ("model", with_dual_softmax(plain)))
    assert not only.all("section", id="questions")
    bank = with_query_bank(plain, QueryBank(plain.similarity, plain.similarity.T))
    assert "seen all queries" not in report(tmp_path / "out.html", ("model", bank)).text


def test_models_on_different_sets_share_tables_and_curves_only(tmp_path: Path) -> None:
    small = evaluate_scores(SCORES[:3, :2], OWNER[:3], dataset="mine", split="test", records=records()[:2])
    page = report(tmp_path / "out.html", ("all", evaluation()), ("some", small))
    assert list(page.table("Text to video: 4"))[1:] == ["all", "someother queries: 3 among 2"]
    assert "sooner" not in page.text and page.table("By category")["head"][-1] == "MdR"


def test_the_hard_gallery(tmp_path: Path) -> None:
    first = HardGallery(2, 6, 50.0, 66.6, {"colour": (75.0, 4)})
    other = HardGallery(2, 6, 10.0, 20.0, {})
    page = report(tmp_path / "out.html", ("a", evaluation()), hard=[("a", first), ("b", other)])
    table = page.table("2 families")
    assert table["head"] == ["asked", "a", "b"] and table["right of two captions: colour"] == ["4", "75.0", ""]


def test_charts_and_tables_are_told_to_those_who_do_not_see_them(tmp_path: Path) -> None:
    page = report(tmp_path / "out.html", ("model", evaluation()), ("other", evaluation()))
    charts = page.all("svg", class_="chart")
    assert len(charts) == 4 and all(chart["role"] == "img" for chart in charts)
    assert str(charts[0]["aria-label"]).startswith("Text to video: recall. model: R@1 25.0")
    assert "place 1: 1, 1" in str(charts[2]["aria-label"])
    assert len(page.all("h1")) == 1 and len(page.all("h2")) == len(page.all("section"))
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th")) and page.all("html", lang="en")
    targets = [str(link["href"]) for link in page.all("a") if str(link["href"]).startswith("#")]
    assert targets == [f"#{section['id']}" for section in page.all("section")]


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (2, 2)])
def test_the_smallest_sets(tmp_path: Path, shape: tuple[int, int]) -> None:
    owner = [min(i, shape[1] - 1) for i in range(shape[0])]
    tied = evaluate_scores(np.zeros(shape, np.float32), owner, dataset="d", split="test")
    page = report(tmp_path / "out.html", ("model", tied))
    assert not re.search(r"\b(nan|inf)\b", page.source, re.IGNORECASE)
    assert page.table(f"Text to video: {shape[0]} caption")["model"][0] == f"{100 / shape[1]:.1f}"


def test_many_queries_make_a_small_page(tmp_path: Path) -> None:
    texts, number = 12_000, 600
    owner = np.arange(texts) // (texts // number)
    random = np.random.default_rng(0)
    scores = random.standard_normal((texts, number), np.float32)
    scores[np.arange(texts), owner] += 2
    listed = [
        Record(f"v{v}", f"{v}.mp4", tuple(f"caption {v} {c} " + "w " * c for c in range(20)), tags={"source": f"s{v}"})
        for v in range(number)
    ]
    big = evaluate_scores(scores, owner, dataset="d", split="test", records=listed)
    page = report(tmp_path / "out.html", ("model", big))
    assert len(page.source) < 200_000 and len(cards(page)) == 30
    assert "the 60 largest; 540 smaller ones are not shown" in page.text


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write the report"):
        report(tmp_path / "file" / "out.html", ("model", evaluation()))
    with pytest.raises(DataError, match="at least one"):
        report(tmp_path / "out.html")

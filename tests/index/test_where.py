"""Filters to identities; dates and lengths of time as people write them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tvrkit.errors import ConfigError
from tvrkit.index.ask import Where
from tvrkit.index.engine import VideoFacts
from tvrkit.index.where import allowed_videos, parse_date, parse_duration, paths_inside

FACTS = {
    "short": VideoFacts(("/v/a/x.mp4", "/w/x.mp4"), 10.0, 100.0, 1),
    "long": VideoFacts(("/v/ab/x.mp4",), 20.0, 200.0, 1),
    "far": VideoFacts(("s3://bucket/p/x.mp4",), 30.0, 300.0, 1),
    "odd": VideoFacts((os.fsdecode(b"/v/\xff/x.mp4"),), 30.0, 300.0, 1),
}


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (Where(("/v/a",)), "short"),  # and not /v/ab
        (Where(("/v/a/",)), "short"),
        (Where(("/w",)), "short"),  # by its other path
        (Where(("/v/a/x.mp4",)), "short"),
        (Where(("/v/a/x.mp",)), ""),
        (Where(("/v/ab/../a",)), "short"),
        (Where(("/",)), "short long odd"),
        (Where(("/v/a", "s3://bucket")), "short far"),
        (Where(("s3://bucket/p/",)), "far"),
        (Where(("s3://buck",)), ""),
        (Where((os.fsdecode(b"/v/\xff"),)), "odd"),
        (Where(min_seconds=20), "long far odd"),
        (Where(max_seconds=20), "short long"),
        (Where(after=200, before=300), "long"),
        (Where(("/v",), min_seconds=15, after=250), "odd"),
    ],
)
def test_filters(where: Where, names: str) -> None:
    assert allowed_videos(where, FACTS) == set(names.split())


def test_no_filter_compares_nothing() -> None:
    assert allowed_videos(Where(), FACTS) is None


def test_places_are_as_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    facts = {"here": VideoFacts((str(tmp_path / "a" / "x.mp4"),), 1.0, 1.0, 1)}
    # The index may hold the path of a place that was given as ../a.
    above = {"here": VideoFacts((str(tmp_path / "b" / ".." / "a" / "x.mp4"),), 1.0, 1.0, 1)}
    for place in ("a", "./a/", ".", "../" + tmp_path.name):
        assert allowed_videos(Where((place,)), facts) == allowed_videos(Where((place,)), above) == {"here"}
    assert allowed_videos(Where(("b",)), above) == set()


def test_what_is_shown_lies_where_was_looked() -> None:
    paths = FACTS["short"].paths
    assert paths_inside(Where(("/w",)), paths) == ("/w/x.mp4", "/v/a/x.mp4")
    assert paths_inside(Where(), paths) == paths


@pytest.mark.parametrize("settings", [{"min_seconds": 5, "max_seconds": 2}, {"after": 5, "before": 2}])
def test_filters_that_exclude_each_other(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="swap the two"):
        Where(**settings)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("90s", 90),
        ("2m", 120),
        ("2min", 120),
        ("1.5m", 90),
        ("1:30", 90),
        ("1:02:03", 3723),
        ("1h30m", 5400),
        (" 2H ", 7200),
        ("0.5", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", " ", "x", "1:", ":30", "m", "-3", "1d", "1:2:3:4", "nan", "30 minutes ago"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ConfigError, match="no length of time"):
        parse_duration(text)


def test_dates(new_york: None) -> None:
    def utc(*parts: int) -> float:
        return datetime(*parts, tzinfo=timezone.utc).timestamp()

    assert parse_date("2024") == parse_date("2024-01") == parse_date("2024-1-1") == utc(2024, 1, 1, 5)
    assert parse_date("2024-05-31") == utc(2024, 5, 31, 4)  # summer time
    assert parse_date("2024-05-31T18:30") == parse_date("2024-05-31 18:30") == utc(2024, 5, 31, 22, 30)
    assert parse_date("2024-05-31T18:30Z") == utc(2024, 5, 31, 18, 30)
    assert parse_date("2024-05-31T18:30+02:00") == utc(2024, 5, 31, 16, 30)


def test_ages() -> None:
    assert parse_date("7d", now=1e9) == 1e9 - 7 * 86400
    assert parse_date("12h", now=1e9) == 1e9 - 43200
    assert parse_date("2 W", now=1e9) == parse_date("14d", now=1e9)
    before = time.time()
    assert before - 86400 <= parse_date("1d") <= time.time() - 86400


@pytest.mark.parametrize("text", ["", "x", "24", "0000", "2024-13", "2024-02-30", "today", "-7d", "7 days", "99999"])
def test_no_dates(text: str) -> None:
    with pytest.raises(ConfigError, match="is no date"):
        parse_date(text)

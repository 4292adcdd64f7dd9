"""Downloads from a real server: whole at last, gone on with, never a mixture of two states of a file."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from prepare.downloads.broken_server import Fault, serving
from prepare.downloads.fetching import (
    BODY,
    OTHER,
    PATH,
    asset,
    fetch,
    is_whole,
    sha256,
    umask_now,
)


def test_a_file_comes_whole_and_a_second_run_asks_nobody(tmp_path: Path) -> None:
    with serving({PATH: BODY}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        asked = len(site.requests)
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert len(site.requests) == asked
    assert site.asked(PATH)[0]["user-agent"].startswith("tvrkit/")
    assert site.asked(PATH)[0]["accept-encoding"] == "identity"
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o666 & ~umask_now()


def test_a_connection_that_breaks_thirty_times_brings_the_file_all_the_same(tmp_path: Path) -> None:
    dice = random.Random(1)
    with serving({PATH: BODY}, {PATH: [Fault(cut=dice.randrange(60, 3000)) for _ in range(30)]}) as site:
        fetched = fetch(tmp_path, asset(site.url + PATH))
    assert is_whole(tmp_path, fetched)
    starts = [int(headers["range"][6:-1]) for headers in site.asked(PATH)[1:]]
    assert len(starts) > 10 and starts == sorted(starts)  # it went on each time, and never from the start
    assert all(headers["if-range"] == site.etag_of(PATH) for headers in site.asked(PATH)[1:])


def test_without_etag_the_date_of_change_is_what_a_part_is_known_by(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=20_000)]}) as site:
        site.etags[PATH], site.modified = None, "Mon, 02 Nov 2026 10:00:00 GMT"
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert site.asked(PATH)[1]["if-range"] == site.modified


def test_without_any_mark_a_part_is_not_trusted_unless_the_checksum_is_known(tmp_path: Path) -> None:
    for known, expected in ((None, None), (sha256(BODY), "bytes=20000-")):
        folder = tmp_path / str(expected).replace("=", "")
        with serving({PATH: BODY}, {PATH: [Fault(cut=20_000)]}) as site:
            site.etags[PATH] = None
            assert is_whole(folder, fetch(folder, asset(site.url + PATH, sha256=known)))
            assert site.asked(PATH)[1].get("range") == expected


def test_a_weak_etag_is_no_mark_of_bytes(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=20_000)]}) as site:
        site.etags[PATH] = 'W/"1"'
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert "range" not in site.asked(PATH)[1]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut=20_000, ranges=False),
        Fault(chunked=True),
        Fault(chunked=True, cut=20_000),
        Fault(announce=60_000),
        Fault(status=429, retry_after="0"),
        Fault(status=429, retry_after="Mon, 02 Nov 2020 10:00:00 GMT"),
        Fault(status=429, retry_after="tomorrow"),
        Fault(status=500),
        Fault(status=503),
        Fault(cut=0),
        Fault(drip=0.0005, cut=300),
    ],
    ids=str,
)
def test_what_goes_wrong_once_is_tried_again(tmp_path: Path, fault: Fault) -> None:
    with serving({PATH: BODY}, {PATH: [fault]}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))


def test_a_server_that_ignores_ranges_is_read_from_the_start(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=20_000)]}) as site:
        site.then[PATH] = Fault(ranges=False)
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert "range" in site.asked(PATH)[1]


def test_ranges_shorter_than_asked_for_are_put_together(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=10)]}) as site:
        site.then[PATH] = Fault(at_most=5_000)
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert len(site.asked(PATH)) == 11 + 1 - 1  # the first, and ten of five thousand


def test_a_length_that_only_a_range_tells_is_heeded(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(chunked=True, cut=20_000), Fault(at_most=10_000)]}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert [headers.get("range") for headers in site.asked(PATH)] == [None, "bytes=20000-", "bytes=30000-"]


def test_a_range_that_begins_elsewhere_is_not_appended(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=20_000), Fault(shift=100)]}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))


def test_packing_for_the_way_is_undone_and_a_tar_gz_called_packed_is_left_as_it_is(tmp_path: Path) -> None:
    words = b'{"sentences": []}'
    with serving({"/a.json": words, "/b.tar.gz": words}, {"/a.json": [Fault(packed=True, cut=9)]}) as site:
        site.then = {"/a.json": Fault(packed=True), "/b.tar.gz": Fault(packed=True)}
        assets = [asset(site.url + "/a.json", name="a.json"), asset(site.url + "/b.tar.gz", name="b.tar.gz")]
        paths = fetch(tmp_path, *assets).paths
    assert paths["a.json"].read_bytes() == words
    assert gzip.decompress(paths["b.tar.gz"].read_bytes()) == words


def test_a_file_that_changes_between_two_attempts_is_never_a_mixture(tmp_path: Path) -> None:
    for second in (Fault(replace=OTHER), Fault(replace=OTHER, if_range=False), Fault(replace=OTHER[:40_000])):
        folder = tmp_path / str(id(second))
        with serving({PATH: BODY}, {PATH: [Fault(cut=20_000), second]}) as site:
            assert is_whole(folder, fetch(folder, asset(site.url + PATH)), site.files[PATH])


def test_the_next_source_goes_on_only_with_the_same_file(tmp_path: Path) -> None:
    for etag, starts in (('"same"', "bytes=20000-"), ('"other"', "bytes=20000-")):
        folder = tmp_path / etag.strip('"')
        with serving({PATH: BODY, "/2": BODY if etag == '"same"' else OTHER}) as site:
            site.faults[PATH], site.then[PATH] = [Fault(cut=20_000)], Fault(status=404)
            site.etags = {PATH: '"same"', "/2": etag}
            assert is_whole(folder, fetch(folder, asset(site.url + PATH, site.url + "/2")), site.files["/2"])
            # It is asked for the rest, and answers with the rest or, being another file, with all of it.
            assert (site.asked("/2")[0]["range"], site.asked("/2")[0]["if-range"]) == (starts, '"same"')


def test_a_part_that_is_longer_than_the_file_by_now_starts_anew(tmp_path: Path) -> None:
    with serving({PATH: BODY}, {PATH: [Fault(cut=30_000), Fault(replace=BODY[:20_000], if_range=False)]}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)), BODY[:20_000])


def test_a_part_that_was_whole_but_had_no_name_yet_is_named(tmp_path: Path) -> None:
    with serving({PATH: BODY}) as site:
        for total in (len(BODY), None):  # the second asks, and is told by 416 that nothing is left
            (tmp_path / "a.bin.part").write_bytes(BODY)
            notes = {"etag": site.etag_of(PATH), "modified": None, "total": total}
            (tmp_path / "a.bin.part.json").write_text(json.dumps(notes))
            assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
            assert len(site.asked(PATH)) == (0 if total else 1)
            (tmp_path / "a.bin").unlink()


def test_a_damaged_part_is_found_out_by_the_checksum_and_downloaded_anew(tmp_path: Path) -> None:
    with serving({PATH: BODY}) as site:
        (tmp_path / "a.bin.part").write_bytes(OTHER[:20_000])
        notes = {"etag": site.etag_of(PATH), "modified": None, "total": len(BODY)}
        (tmp_path / "a.bin.part.json").write_text(json.dumps(notes))
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH, sha256=sha256(BODY))))


@pytest.mark.parametrize("notes", ["", "[]", '{"etag": 3}', '{"etag": ["x"], "modified": {}, "total": "many"}'])
def test_a_part_without_readable_notes_is_nobodys(tmp_path: Path, notes: str) -> None:
    (tmp_path / "a.bin.part").write_bytes(OTHER[:20_000])
    (tmp_path / "a.bin.part.json").write_text(notes)
    with serving({PATH: BODY}) as site:
        assert is_whole(tmp_path, fetch(tmp_path, asset(site.url + PATH)))
        assert "range" not in site.asked(PATH)[0]

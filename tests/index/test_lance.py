"""The index in LanceDB: the same rows, the same answers and the same sentences as the index in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from indexing import assert_same, make_meta, make_moments, open_new, rows_of
from support import REPO, run_tvrkit
from torch.nn.functional import normalize

from tvrkit.errors import ConfigError, DataError, StoreError
from tvrkit.index import lance, lance_engine, lance_tables
from tvrkit.index.engine import Engine
from tvrkit.index.lance import LanceIndex
from tvrkit.index.opening import open_index, read_meta, renew_index
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.verify import verify
from tvrkit.index.video_index import FileRow, VideoIndex

VIDEOS = {"aa": make_moments(1), "bb": make_moments(2, moments=5, frames=1), "cc": make_moments(3, moments=0)}


def open_lance(folder: Path) -> LanceIndex:
    return LanceIndex(str(folder / "x.lance"), make_meta(), create=True)


def row(path: str, identity: str, reason: str = "") -> FileRow:
    return FileRow(path, "stamp", 1.0, identity, reason)


def fill(index: VideoIndex, videos: int) -> None:
    """Videos of one to three moments, a fifth of them without a file, one in two places, some put twice."""
    for first in range(0, videos, 16):
        numbers = range(first, min(first + 16, videos))
        index.put({f"{i:032x}": make_moments(i, moments=1 + i % 3, frames=1 + i % 4) for i in numbers})
    index.put({f"{i:032x}": make_moments(i, moments=2) for i in range(0, videos, 10)})
    index.put_files(row(f"/v/{i}.mp4", f"{i:032x}") for i in range(videos) if i % 5)
    index.put_files([row("/copy.mp4", f"{1:032x}")])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LanceIndex, SegmentIndex]]:
    folder = tmp_path_factory.mktemp("both")
    with open_lance(folder) as ours, open_new(folder / "segments") as other:
        fill(ours, 60)
        fill(other, 60)
        yield ours, other


def queries() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return [normalize(torch.randn(n, 8, generator=random), dim=-1) for n in (1, 1, 1, 3)]


def test_what_is_put_comes_back(tmp_path: Path) -> None:
    with open_lance(tmp_path / "a/b") as index:
        assert index.missing(["cc", "aa", "cc", ""]) == ["cc", "aa"]
        index.put(VIDEOS)
        index.put({"dd": make_moments(4)})
    with LanceIndex(str(tmp_path / "a/b/x.lance")) as index:
        assert index.meta == make_meta() == read_meta(index.place)
        assert_same(rows_of(index), VIDEOS | {"dd": make_moments(4)})
        assert_same(dict(index.iter_videos(["dd", "nothing", "aa"])), {"aa": VIDEOS["aa"], "dd": make_moments(4)})
        assert index.identities() == ["aa", "bb", "cc", "dd"]
        assert index.moments() == {"aa": 2, "bb": 5, "cc": 0, "dd": 2}
        assert index.notes() == {"aa": "odd 1", "cc": "odd 3"}
        assert index.missing(["zz", "aa"]) == ["zz"]
        assert index.missing([f"{i}" for i in range(700)] + ["aa"]) == [f"{i}" for i in range(700)]


def test_the_last_put_counts_and_ends_a_failure(tmp_path: Path) -> None:
    with open_lance(tmp_path) as index:
        index.put_failures({"aa": "broken \udcff", "bb": "it's broken"})
        assert index.missing(["aa", "zz"]) == ["zz"]
        assert index.failures() == {"aa": "broken \\udcff", "bb": "it's broken"}
        index.put({"aa": make_moments(1)})
        index.put({"aa": make_moments(5, moments=3)})
        assert_same(rows_of(index), {"aa": make_moments(5, moments=3)})
        assert index.failures() == {"bb": "it's broken"}
        index.forget(["aa", "bb", "it's"], failures_only=True)
        assert index.missing(["aa", "bb"]) == ["bb"]
        index.forget(["aa"], failures_only=False)
        assert index.missing(["aa"]) == ["aa"] and rows_of(index) == {}


def test_files_by_bytes_and_status(tmp_path: Path) -> None:
    odd = os.fsdecode(b"/v/a\xff'\n.mp4")
    with open_lance(tmp_path) as index:
        index.put(VIDEOS)
        index.put_failures({"ff": "no video"})
        index.put_files(
            [row(odd, "aa"), row("/v/b", "cc"), row("/vv/c", "zz"), row("/d", "", "denied"), row("/e", "ff")]
        )
        index.put_files([row("/v/b", "cc"), row("/copy", "aa")])
        assert [f.path for f in index.files(["/v"])] == [odd, "/v/b"]
        assert [f.path for f in index.files()] == ["/copy", "/d", "/e", odd, "/v/b", "/vv/c"]
        status = index.status()
        assert (status.files, status.videos, status.moments, status.pending) == (6, 2, 2, 1)
        assert (status.without_file, status.blank) == (1, 1)
        assert status.failures == {"/d": "denied", "/e": "no video"} and status.bytes > 1000
        index.drop_files([odd, "/nowhere"])
        assert [f.path for f in index.files(["/v", "/d"])] == ["/d", "/v/b"]
        index.set_places(["/v", odd])
        assert index.places() == sorted(["/v", odd])


def test_it_is_not_made_by_looking(tmp_path: Path) -> None:
    place = str(tmp_path / "x.lance")
    assert read_meta(place) is None
    for meta in (None, make_meta()):
        with pytest.raises(DataError, match="there is no index at .*x.lance"):
            open_index(place, meta)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    place = open_lance(tmp_path).place
    with pytest.raises(ConfigError, match="by the model some/model .* not by other"):
        open_index(place, make_meta(fingerprint="e" * 32, model="other"))
    with pytest.raises(ConfigError, match="at most 3 frames"):
        open_index(place, make_meta(num_frames=9))
    with pytest.raises(ConfigError, match="delete it"):
        renew_index(place, make_meta(), make_meta(num_frames=9))
    with open_index(place, make_meta(model="moved/model")) as index:
        assert index.meta.model == "some/model"
        with pytest.raises(StoreError, match="8 numbers a frame, and aa has 4"):
            index.put({"aa": make_moments(1, dim=4)})


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    with open_lance(tmp_path) as index:
        index.put(VIDEOS)
        for path in tmp_path.rglob("moments.lance/data/*"):
            path.write_bytes(b"no rows")
        with pytest.raises(StoreError, match=r"x\.lance cannot be read or written: .*\.$") as caught:
            rows_of(LanceIndex(index.place))
    assert "\n" not in str(caught.value) and ".rs" not in str(caught.value)
    (tmp_path / "file.lance").write_text("no folder")
    with pytest.raises(StoreError, match="file.lance"):
        LanceIndex(str(tmp_path / "file.lance"), make_meta(), create=True)


def test_verify_finds_every_row_whole(both: tuple[LanceIndex, SegmentIndex]) -> None:
    ours, other = both
    assert verify(ours) == verify(other)
    assert_same(rows_of(ours), rows_of(other))


def same_engine(ours: Engine, other: Engine) -> None:
    assert len(ours) == len(other) and ours.facts() == other.facts() and ours.fingerprint == other.fingerprint
    refs = [ref for part in other.refs() for ref in part]
    assert sorted(refs) == sorted(ref for part in ours.refs(chunk=7) for ref in part)
    mine, theirs = ours.read(refs), other.read(refs)
    assert mine.refs == theirs.refs
    assert torch.equal(mine.features.frame_mask, theirs.features.frame_mask)
    assert torch.equal(mine.features.frame_features, theirs.features.frame_features)
    assert torch.equal(mine.pts_seconds, theirs.pts_seconds) and torch.equal(mine.spans, theirs.spans)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(mine.nearest, theirs.nearest, strict=True))


def test_the_engine_answers_as_that_of_segments(both: tuple[LanceIndex, SegmentIndex]) -> None:
    ours, other = (index.engine() for index in both)
    assert ours.exact
    same_engine(ours, other)
    some = [f"{i:032x}" for i in range(0, 60, 7)] + ["unknown"]
    for vectors in queries():
        for allowed in (None, some, some[1:3], ["unknown"], []):
            for count in (1, 10, 1000):
                assert ours.candidates(vectors, count, allowed) == other.candidates(vectors, count, allowed)
        assert list(ours.refs(some)) == [sorted(ref for part in other.refs(some) for ref in part)]


def test_candidates_are_the_greatest_sums(both: tuple[LanceIndex, SegmentIndex]) -> None:
    engine = both[0].engine()
    pooled = dict(both[0].iter_videos())
    (vectors,) = [q for q in queries() if len(q) == 3]
    refs = [ref for part in engine.refs() for ref in part]
    sums = [(vectors @ pooled[ref.identity].pooled[ref.moment].float().T).amax(1).sum().item() for ref in refs]
    best = sorted(zip(sums, refs, strict=True), key=lambda pair: -pair[0])[:10]
    assert engine.candidates(vectors, 10) == [ref for _, ref in best]


def test_beyond_a_size_the_index_of_vectors_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance_engine, "FLAT_MOMENTS", 200)
    monkeypatch.setattr(lance_engine, "_TAKEN", 64)
    with open_lance(tmp_path) as ours, open_new(tmp_path / "segments") as other:
        fill(ours, 300)
        fill(other, 300)
        ours.close()
        found, right = ours.engine(), other.engine()
        assert not found.exact
        same_engine(found, right)
        some = [f"{i:032x}" for i in range(0, 300, 2)]
        shares = []
        for allowed in (None, some, some[:9], [f"{301:032x}", some[1]]):
            for vectors in queries():
                mine, best = found.candidates(vectors, 20, allowed), right.candidates(vectors, 20, allowed)
                assert len(mine) == len(best) == len(set(mine)) and mine[:1] == best[:1]
                shares.append(len(set(mine) & set(best)) / len(best))
        assert min(shares) > 0.5 and sum(shares) / len(shares) > 0.9  # 8 dimensions leave 8 bits to find them by
        # What came after the index of vectors was made is found as well.
        ours.put({"new": make_moments(1000)})
        ours.put_files([row("/new.mp4", "new")])
        vector = make_moments(1000).pooled[0, :1].float()
        assert ours.engine().candidates(vector, 1)[0].identity == "new"


def test_an_engine_stays_as_it_was(tmp_path: Path) -> None:
    with open_lance(tmp_path) as index:
        fill(index, 20)
        engine, before = index.engine(), index.generation()
        refs = next(engine.refs())
        features = engine.read(refs).features.frame_features
        assert index.engine() is engine
        index.put({ref.identity: make_moments(99, moments=3) for ref in refs})
        index.drop_files(["/v/7.mp4"])
        assert index.generation() != before
        assert torch.equal(engine.read(refs).features.frame_features, features)
        fresh = index.engine()
        assert not torch.equal(fresh.read(refs[:1]).features.frame_features[0], features[0])
        assert f"{7:032x}" not in fresh.facts()


def test_litter_is_swept_when_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_lance(tmp_path) as index:
        index.put(VIDEOS)
        index.put({"aa": make_moments(7)})
        index._tidy()
        assert index._tables.moments.count_rows() == 9  # two that no video names, and may yet
        monkeypatch.setattr(lance, "_LITTER_SECONDS", -1)
        index._tidy()
        assert index._tables.moments.count_rows() == 7
        assert_same(rows_of(index), VIDEOS | {"aa": make_moments(7)})


def test_many_commits_leave_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance, "_TIDY_EVERY", 8)
    monkeypatch.setattr(lance_tables, "_PIECES", 8)
    with open_lance(tmp_path) as index:
        for i in range(16):
            index.put({f"{i}": make_moments(i)})
        for table in (index._tables.moments, index._tables.videos):
            assert table.stats()["fragment_stats"]["num_fragments"] <= 2
        assert_same(rows_of(index), {f"{i}": make_moments(i) for i in range(16)})


def test_without_lancedb_the_way_out_is_named(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "lancedb"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('no lancedb here')")
    (tmp_path / "x.lance").mkdir()
    paths = os.pathsep.join([str(hidden.parent), str(REPO)])
    result = run_tvrkit("index", "--status", "--index", "x.lance", cwd=tmp_path, env={"PYTHONPATH": paths})
    assert result.code == 1 and "pip install 'tvrkit[lance]'" in result.stderr and not result.stdout

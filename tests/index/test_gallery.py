"""The in-memory engine against one that is too simple to be wrong, while the index changes, and in many threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from galleries import PlainEngine, fill, filled, moments_of, random_videos
from hypothesis import given, settings
from hypothesis import strategies as st
from indexing import make_meta, open_new

import tvrkit.index.pooled as pooled_module
from tvrkit.encode.moments import VideoMoments
from tvrkit.index.engine import MomentFeatures, MomentRef
from tvrkit.index.gallery import Gallery
from tvrkit.index.pooled import Pooled, PooledQuery, exact_scores
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.video_index import FileRow

VIDEOS = random_videos(40)
FAR = {f"{i:032x}" for i in range(3)}


def questions(count: int, dim: int = 8) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(5)
    return [torch.randn(1 + i % 4, dim, generator=random) for i in range(count)]


def assert_same_moments(own: MomentFeatures, other: MomentFeatures) -> None:
    assert own.refs == other.refs
    assert torch.equal(own.features.frame_mask, other.features.frame_mask)
    assert torch.equal(own.features.frame_features, other.features.frame_features)
    assert torch.equal(own.nearest[0], other.nearest[0]) and torch.equal(own.nearest[1], other.nearest[1])
    assert torch.equal(own.pts_seconds, other.pts_seconds) and torch.equal(own.spans, other.spans)


def test_candidates_and_rows_are_those_of_the_plain_engine(tmp_path: Path) -> None:
    plain = PlainEngine(VIDEOS)
    some = frozenset(list(VIDEOS)[::3]) | FAR
    with filled(tmp_path, VIDEOS) as index:
        gallery = index.engine()
        assert len(gallery) == len(plain) and gallery.facts() == plain.facts()
        assert gallery.fingerprint == plain.fingerprint and gallery.exact
        for allowed in (None, some, list(VIDEOS)[:2], frozenset(), FAR):
            chunks = list(gallery.refs(allowed, chunk=7))
            assert sum(chunks, []) == sum(plain.refs(allowed), []) and all(len(chunk) <= 7 for chunk in chunks)
            for vectors in questions(8):
                for count in (1, 5, 1000):
                    assert gallery.candidates(vectors, count, allowed) == plain.candidates(vectors, count, allowed)
        refs = plain.candidates(questions(1)[0], 17)
        assert_same_moments(gallery.read(refs + refs[:2]), plain.read(refs + refs[:2]))
        assert len(gallery.read([]).refs) == 0


def test_candidates_by_hand(tmp_path: Path) -> None:
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    # Thirds of the frames of the first: east, east, north; a question for both is met in full by it alone.
    videos = {"aa": moments_of([torch.stack([east, east, north])]), "bb": moments_of([east[None]])}
    with filled(tmp_path, videos) as index:
        gallery = index.engine()
        assert gallery.candidates(torch.stack([east, north]), 2) == [("aa", 0), ("bb", 0)]
        assert gallery.candidates(east[None], 2) == [("aa", 0), ("bb", 0)]  # equal: the index's order
        assert gallery.candidates(-north[None], 1) == [("aa", 0)]  # by its thirds of east: 0, as for the other


def test_what_has_no_file_or_no_moment(tmp_path: Path) -> None:
    a, b, c = list(VIDEOS)[:3]
    blank = moments_of([torch.randn(1, 8)])
    empty = VideoMoments(*(getattr(blank, name)[:0] for name in list(vars(blank))[:7]), duration_seconds=4.0)
    with open_new(tmp_path, make_meta(num_frames=12)) as index:
        assert len(index.engine()) == 0 and index.engine().candidates(torch.ones(1, 8), 3) == []
        assert list(index.engine().refs()) == []
        index.put({"ff": empty})  # a segment without a moment
        index.put({a: VIDEOS[a], "ee": empty, b: VIDEOS[b], c: VIDEOS[c]})
        paths = [("/z", 3.0, b), ("/y", 2.0, b), ("/x", 1.0, c), ("/w", 1.0, "ee"), ("/u", 1.0, "")]
        index.put_files(FileRow(path, "-", modified, identity) for path, modified, identity in paths)
        gallery = index.engine()
        plain = PlainEngine({b: VIDEOS[b], c: VIDEOS[c]})
        assert gallery.facts().keys() == {b, c, "ee"} and gallery.facts()["ee"].moments == 0
        assert gallery.facts()[b].paths == ("/y", "/z") and gallery.facts()[b].modified == 2.0
        assert gallery.candidates(torch.ones(1, 8), 99) == plain.candidates(torch.ones(1, 8), 99)
        assert gallery.candidates(torch.ones(1, 8), 99, {a, "ee"}) == []


step = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 9), st.integers(0, 3)),
    st.tuples(st.just("forget"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("drop"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("find"), st.integers(0, 9), st.just(0)),
)


@settings(max_examples=15)
@given(changes=st.lists(st.lists(step, min_size=1, max_size=4), min_size=1, max_size=4))
def test_an_engine_made_of_an_older_one_is_a_fresh_one(
    tmp_path_factory: pytest.TempPathFactory, changes: list[list[tuple[str, int, int]]]
) -> None:
    folder = tmp_path_factory.mktemp("index")
    with filled(folder, random_videos(10)) as index:
        names, before = list(random_videos(10)), index.engine()
        for several in changes:
            for what, video, seed in several:
                apply(index, what, names[video], list(random_videos(10, seed=seed).values())[video])
            after = index.engine()
            with SegmentIndex(str(folder)) as other:
                fresh = other.engine()
                assert after.facts() == fresh.facts() and list(after.refs()) == list(fresh.refs())
                for vectors in questions(3):
                    assert after.candidates(vectors, 9) == fresh.candidates(vectors, 9)
                everything = sum(fresh.refs(), [])
                assert_same_moments(after.read(everything), fresh.read(everything))
        assert before.candidates(questions(1)[0], 9) == PlainEngine(random_videos(10)).candidates(questions(1)[0], 9)


def apply(index: SegmentIndex, what: str, name: str, video: VideoMoments) -> None:
    actions: dict[str, Callable[[], None]] = {
        "put": lambda: index.put({name: video}),
        "forget": lambda: index.forget([name], failures_only=False),
        "drop": lambda: index.drop_files([f"/v/{name}.mp4"]),
        "find": lambda: index.put_files([FileRow(f"/v/{name}.mp4", "-", 1.0, name)]),
    }
    actions[what]()


def test_only_new_segments_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounded = []
    real = Pooled.__init__
    monkeypatch.setattr(Pooled, "__init__", lambda own, pooled: (rounded.append(len(pooled)), real(own, pooled))[1])
    with filled(tmp_path, VIDEOS) as index:
        first = index.engine()
        assert index.engine() is first and sum(rounded) == len(first)
        fill(index, random_videos(3, seed=1))
        second = index.engine()
        assert second is not first and sum(rounded) == len(second) > len(first)


def test_it_outlives_its_index_and_answers_in_many_threads(tmp_path: Path) -> None:
    plain, asked = PlainEngine(VIDEOS), questions(60)
    filters = [frozenset(list(VIDEOS)[i::20]) for i in range(20)]  # more than are remembered
    with filled(tmp_path, VIDEOS) as index:
        gallery = index.engine()
        index.forget(list(VIDEOS), failures_only=False)
    for path in tmp_path.rglob("*.safetensors"):
        path.unlink()

    def ask(number: int) -> tuple[list[MomentRef], MomentFeatures]:
        refs = gallery.candidates(asked[number], 6, filters[number % 20])
        return refs, gallery.read(refs)

    with ThreadPoolExecutor(8) as threads:
        for number, (refs, moments) in enumerate(threads.map(ask, range(60))):
            assert refs == plain.candidates(asked[number], 6, filters[number % 20])
            assert_same_moments(moments, plain.read(refs))


@pytest.mark.parametrize("fast", [True, False])
def test_rounding_is_small_and_does_not_decide(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if fast and not pooled_module.has_fast_bytes():
        pytest.skip("torch has no fast products of bytes here")
    monkeypatch.setattr(pooled_module, "has_fast_bytes", lambda: fast)
    random = torch.Generator().manual_seed(0)
    pooled = torch.nn.functional.normalize(torch.randn(1200, 3, 512, generator=random), dim=-1).half()
    held = Pooled(pooled)
    assert held.bytes == pooled.numel() * (1 if fast else 2) + 1200 * 3 * 4
    for count in (1, 5):
        vectors = torch.nn.functional.normalize(torch.randn(count, 512, generator=random), dim=-1)
        error = held.scores(PooledQuery(vectors)) - exact_scores(vectors, pooled)
        # Steps of max/63, about .16/63 a number, in both: sqrt(2) .0025 / sqrt(12) = .001 a product, on average.
        assert error.abs().max() < 0.006 * count**0.5 and error.std() < 0.0015 * count**0.5


def test_candidates_nearer_than_rounding_stand_in_order(tmp_path: Path) -> None:
    question = torch.nn.functional.normalize(torch.randn(512, generator=torch.Generator().manual_seed(1)), dim=0)
    other = torch.randn(60, 512, generator=torch.Generator().manual_seed(2))
    # 60 videos a ten-thousandth apart, in no order.
    near = {f"{i * 37 % 60:02x}": question[None] + (1 + (i * 37 % 60) / 500) * 0.02 * other[:1] for i in range(60)}
    with filled(tmp_path, {name: moments_of([frames]) for name, frames in near.items()}) as index:
        gallery = index.engine()
        assert isinstance(gallery, Gallery)
        exact = exact_scores(question[None], torch.cat([v.pooled for _, v in index.iter_videos(list(near))]))
        order = [name for name, _ in index.iter_videos(list(near))]
        best = exact.argsort(descending=True, stable=True)[:10].tolist()
        assert gallery.candidates(question[None], 10) == [(order[i], 0) for i in best]

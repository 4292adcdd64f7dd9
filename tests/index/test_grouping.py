"""Moments to videos: by hand, and what holds for any moments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tvrkit.index.grouping import Scored, best_videos


def path_of(identity: str) -> str:
    return f"/{identity}"


def test_by_hand() -> None:
    scored = [
        Scored("b", 0, 0.5, 0, 10),
        Scored("a", 0, 0.9, 0, 20),
        Scored("a", 1, 0.8, 9, 29),  # 11 of 20 seconds in common with the first
        Scored("a", 2, 0.7, 10, 30),  # exactly half
        Scored("a", 3, 0.6, 1, 5),  # all of it within the first
        Scored("a", 4, 0.5, 40, 50),
        Scored("c", 0, 0.5, 0, 10),
    ]
    videos = best_videos(scored, 3, 3, path_of)
    assert [[(m.identity, m.number) for m in video] for video in videos] == [
        [("a", 0), ("a", 2), ("a", 4)],
        [("b", 0)],
        [("c", 0)],
    ]
    assert best_videos(scored, 1, 1, path_of) == [(scored[1],)]
    assert best_videos([], 3, 3, path_of) == []


seconds = st.integers(0, 40).map(float)
moments = st.lists(
    st.tuples(st.sampled_from("abcde"), st.integers(0, 6), st.integers(-3, 3), seconds, st.integers(0, 20)),
    unique_by=lambda row: row[:2],
    max_size=25,
).map(lambda rows: [Scored(i, n, s / 4, start, start + length) for i, n, s, start, length in rows])


def overlap(a: Scored, b: Scored) -> float:
    return min(a.end_seconds, b.end_seconds) - max(a.start_seconds, b.start_seconds)


def length(moment: Scored) -> float:
    return moment.end_seconds - moment.start_seconds


@given(moments, st.integers(1, 6), st.integers(1, 4), st.randoms())
def test_what_holds_for_any_moments(scored: list[Scored], top: int, most: int, random: object) -> None:
    videos = best_videos(scored, top, most, path_of)
    best = {
        identity: max(m.score for m in scored if m.identity == identity) for identity in {m.identity for m in scored}
    }
    assert [video[0].identity for video in videos] == sorted(best, key=lambda i: (-best[i], path_of(i)))[:top]
    for video in videos:
        own = [m for m in scored if m.identity == video[0].identity]
        assert video[0].score == best[video[0].identity] and 1 <= len(video) <= most
        assert list(video) == sorted(video, key=lambda m: (-m.score, m.number))
        for i, a in enumerate(video):
            assert all(2 * overlap(a, b) <= min(length(a), length(b)) for b in video[:i])
        if len(video) < most:  # whatever was left out has a better one in its way
            for m in set(own) - set(video):
                assert any(
                    k.score >= m.score and (2 * overlap(k, m) > min(length(k), length(m)) or k[3:] == m[3:])
                    for k in video
                )
    random.shuffle(shuffled := list(scored))  # type: ignore[attr-defined]
    assert best_videos(shuffled, top, most, path_of) == videos

from __future__ import annotations

import os
import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from media import make_video, only_decord_reads, trim_by_edit_list, truncate
from pool_transforms import Misbehave, number_of
from scenes import Scene, make_scenes

from tvrkit.errors import ConfigError, VideoError, VideoTimeoutError
from tvrkit.frames import shot_moments
from tvrkit.frames.frame_buffer import FrameBuffer
from tvrkit.frames.held_moments import HeldMoments
from tvrkit.frames.moment_reader import read_moments
from tvrkit.frames.moment_request import CutPart, Cutting, MomentRequest
from tvrkit.frames.moments import MomentPool
from tvrkit.frames.reader import FrameRequest, read_frames
from tvrkit.frames.reading import Reading

posix = pytest.mark.skipif(os.name != "posix", reason="signals")

SMALL = Cutting(max_seconds=2.0, min_seconds=0.5, overlap_seconds=0.25, fps=4.0)
SCENES = [Scene(1.4, 1), Scene(1.2, 2, pan=2), Scene(1.6, 3, noise=6), Scene(4.4, 4, pan=1), Scene(1, 5)]
# The starts of the shots and, of the one of 4.4 s, windows of 2 s each 1.75 s.
SPANS = [(0, 1.4), (1.4, 2.6), (2.6, 4.2), (4.2, 6.2), (5.95, 7.95), (7.6, 8.6), (8.6, 9.6)]


def cut(paths, cutting=SMALL, *, workers=0, num_frames=4, transform=None, **reading) -> list[CutPart]:
    with MomentPool(Reading(workers=workers, **reading), transform, num_frames, cutting) as pool:
        return list(pool.imap(map(str, paths)))


def spans(parts: list[CutPart]) -> np.ndarray:
    return np.concatenate([part.spans for part in parts])


def same(one: list[CutPart], other: list[CutPart]) -> bool:
    """Whether two ways give the same moments, to the bit, however they are divided into parts."""
    for name in ("spans", "counts", "pts_seconds"):
        np.testing.assert_array_equal(*(np.concatenate([getattr(p, name) for p in parts]) for parts in (one, other)))
    mine, others = ([image for p in parts if p.frames is not None for image in p.frames] for parts in (one, other))
    assert all(np.array_equal(a, b) for a, b in zip(mine, others, strict=True))
    return sum(p.left_out for p in one) == sum(p.left_out for p in other)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    make_scenes(path, SCENES)
    return path


@pytest.mark.parametrize("cutting", [Cutting(), Cutting("fixed"), replace(SMALL, cut="whole")])
@pytest.mark.parametrize(
    "name", ["h264.mp4", "h264.ts", "h264.avi", "uneven.mkv", "late.mkv", "trimmed.mp4", "small.gif"]
)
def test_a_short_video_is_one_moment_of_the_frames_of_a_plain_request(video, name, cutting):
    (part,) = cut([video(name)], cutting, num_frames=6)
    plain = read_frames(FrameRequest(str(video(name)), 6))
    if name != "uneven.mkv":  # lasts longer than 20 s
        assert part.spans.tolist() == [[0.0, plain.duration_seconds]]
    if cutting.cut == "whole" or name != "uneven.mkv":
        np.testing.assert_array_equal(part.frames, plain.data)
        np.testing.assert_array_equal(part.pts_seconds, plain.pts_seconds)
        assert (part.counts.tolist(), part.left_out, part.next_seconds) == ([len(plain)], 0, None)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "webm"])
def test_a_long_video_is_cut_where_its_shots_begin(tmp_path, suffix):
    path = tmp_path / f"film.{suffix if suffix != 'webm' else 'mkv'}"
    make_scenes(path, SCENES)
    (part,) = cut([path])
    assert part.spans == pytest.approx(np.array(SPANS), abs=1e-6 if suffix == "mp4" else 0.002)
    assert part.duration_seconds == pytest.approx(9.6, abs=0.002)
    assert part.counts.sum() == len(part.frames) == len(part.pts_seconds)
    stops = np.cumsum(part.counts)
    for (start, end), count, stop in zip(part.spans, part.counts, stops, strict=True):
        times = part.pts_seconds[stop - count : stop]
        assert count == (1 if start < 0.1 or start > 8.5 else 4)  # the first and the last stand still
        assert ((start - 1e-6 <= times) & (times < end)).all() and (np.diff(times) > 0).all()


def test_each_frame_is_the_one_on_the_screen_at_its_time(tmp_path):
    """Numbered pictures, keyframes far apart; times start + (i + .5) * length / n, to a 16th of a second."""
    path = make_video(tmp_path / "long.mp4", num_frames=200, gop=90, bframes=2)
    for kind in ("shots", "fixed"):
        parts = cut([path], replace(SMALL, cut=kind), transform=number_of)
        numbers = np.concatenate([part.frames.ravel() for part in parts])
        pts, counts = (np.concatenate([getattr(p, n) for p in parts]) for n in ("pts_seconds", "counts"))
        np.testing.assert_array_equal(numbers, np.round(pts * 25))
        wanted = [
            start + (i + 0.5) * (end - start) / count
            for (start, end), count in zip(spans(parts), counts, strict=True)
            for i in range(count)
        ]
        assert np.abs(pts - np.array(wanted)).max() <= (1 / 16 if kind == "shots" else 0) + 0.04


def test_windows_need_no_full_decode_and_come_in_parts(tmp_path):
    path = make_video(tmp_path / "long.mp4", num_frames=400)
    parts = cut([path], replace(SMALL, cut="fixed"))
    assert len(parts) > 1 and all(part.next_seconds == after.spans[0, 0] for part, after in pairwise(parts))
    assert spans(parts)[:2].tolist() == [[0, 2], [1.75, 3.75]] and spans(parts)[-1, 1] == 16.0
    again = list(
        read_moments(MomentRequest(str(path), 4, parts[1].request.cutting, parts[0].next_seconds), "av", 60, None)
    )
    assert same(parts[1:], again)


def test_parts_make_what_one_pass_makes_and_any_can_be_asked_for(film, monkeypatch):
    whole = cut([film])
    assert len(whole) == 1
    monkeypatch.setattr(shot_moments, "MOST_MOMENTS", 2)
    parts = cut([film])
    assert [len(part.counts) for part in parts] == [2, 2, 3] and same(whole, parts)
    assert [part.request.from_seconds for part in parts[1:]] == [part.next_seconds for part in parts[:-1]]
    for first in range(1, len(parts)):  # by a process that knows nothing of what was before
        rest = list(read_moments(parts[first].request, "av", 60, None))
        assert same(parts[first:], rest)
    held = HeldMoments(None)
    assert same([parts[1]], [held.read(parts[1].request, "av", 60.0)])  # out of turn
    assert same([parts[2]], [held.read(parts[2].request, "av", 60.0)])
    assert same([parts[0]], [held.read(parts[0].request, "av", 60.0)])


def test_a_part_that_takes_long_is_handed_over_early(film, monkeypatch):
    whole = cut([film])
    monkeypatch.setattr(shot_moments, "_PATIENCE", 1e-5)
    parts = cut([film])
    assert len(parts) > 20 and same(whole, parts)  # how many depends on the clock
    assert all(part.next_seconds is not None for part in parts[:-1]) and parts[-1].next_seconds is None


def test_workers_change_nothing(film, video, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    paths = [video("h264.mp4"), film, tmp_path / "bad.mp4", tmp_path / "gone.mp4", video("uneven.mkv"), film]
    here, there = (cut(paths, workers=workers) for workers in (0, 2))
    assert [part.request for part in here] == [part.request for part in there]
    assert [str(part.error) for part in here] == [str(part.error) for part in there]
    assert same(here, there)
    errors = [part.error.reason for part in here if part.error]
    assert errors[0].startswith("cannot be opened as a video") and "No such file" in errors[1] and len(errors) == 2


def test_frames_that_show_nothing_or_nothing_new_are_left_out(tmp_path):
    scenes = [Scene(2, colour=0, noise=3), Scene(2, 1, pan=2), Scene(2, colour=200), Scene(2, 2), Scene(2, 3, pan=2)]
    make_scenes(tmp_path / "a.mp4", scenes)
    (part,) = cut([tmp_path / "a.mp4"])
    assert part.spans == pytest.approx(np.array([(2, 4), (6, 8), (8, 10)]))
    assert part.counts.tolist() == [4, 1, 4]  # the fourth scene stands still
    assert part.left_out == 4 + 4 + 3
    (whole,) = cut([tmp_path / "a.mp4"], Cutting(), num_frames=10)
    assert len(whole.pts_seconds) == 5 and whole.left_out == 5
    make_scenes(tmp_path / "black.mp4", [Scene(5, colour=0)])
    (nothing,) = cut([tmp_path / "black.mp4"])
    assert (len(nothing.spans), nothing.frames, nothing.error, nothing.next_seconds) == (0, None, None, None)
    assert nothing.duration_seconds == pytest.approx(5.0)


@pytest.mark.parametrize("kind", ["shots", "fixed"])
def test_of_a_broken_video_is_kept_what_was_read(tmp_path, kind):
    path = tmp_path / "broken.mp4"
    make_video(path, num_frames=300, noise=20, container_options={"movflags": "faststart"})
    truncate(path, 0.6)
    parts = cut([path], replace(SMALL, cut=kind))
    end = parts[-1].duration_seconds
    assert [part.error for part in parts] == [None] * len(parts)
    assert 5 < end < 9 and spans(parts)[-1, 1] == pytest.approx(end, abs=0 if kind == "shots" else 1.0)
    if kind == "shots":
        assert parts[-1].note == f"its picture ends at {end:.0f} s, though the file says 12 s"
    (short,) = cut([path], Cutting(kind, max_seconds=10.0))  # it says 12 s, and is one moment
    plain = read_frames(FrameRequest(str(path), 4))
    assert short.spans.tolist() == [[0.0, plain.duration_seconds]]
    np.testing.assert_array_equal(short.frames, plain.data)


def test_an_edit_list_and_a_late_start_shift_the_cuts(tmp_path):
    make_scenes(tmp_path / "film.mp4", SCENES, gop=10)
    (before,) = cut([tmp_path / "film.mp4"])
    trim_by_edit_list(tmp_path / "film.mp4", 0.5)
    (after,) = cut([tmp_path / "film.mp4"])
    assert after.spans[:3] == pytest.approx(np.array([(0, 0.9), (0.9, 2.1), (2.1, 3.7)]), abs=0.05)
    assert after.duration_seconds == pytest.approx(before.duration_seconds - 0.5, abs=0.05)
    times = [0.5 + i / 25 for i in range(100)]
    (late,) = cut([make_video(tmp_path / "late.mkv", num_frames=100, times=times, audio_seconds=4.5)])
    assert late.spans[0, 0] == 0.0 and late.pts_seconds[0] >= 0.5 - 1e-6


@posix
@pytest.mark.parametrize(
    ("how", "limit", "word"),
    [pytest.param("hang", 10.0, "within 10 s", marks=pytest.mark.slow), ("crash", 120.0, "SIGSEGV")],
)
def test_a_film_that_hangs_or_crashes_ends_there_and_the_next_comes(tmp_path, video, how, limit, word):
    path = make_video(tmp_path / "long.mp4", num_frames=400)
    numbers = cut([path], replace(SMALL, cut="fixed"), transform=number_of)[2].frames
    parts = cut(
        [path, video("h264.mp4")],
        replace(SMALL, cut="fixed"),
        workers=1,
        transform=Misbehave(how, on=int(numbers[0, 0])),
        timeout_seconds=limit,
    )
    assert [part.error is None for part in parts] == [True, True, False, True]
    assert isinstance(parts[2].error, VideoTimeoutError) and word in parts[2].error.reason
    assert parts[2].request.from_seconds == parts[1].next_seconds and parts[2].next_seconds is None


def test_what_pyav_cannot_read_decord_cuts_into_windows(tmp_path):
    pytest.importorskip("decord", reason="decord has no wheel for this machine")
    path = only_decord_reads(tmp_path / "odd.mp4")  # 10 frames
    tiny = Cutting(max_seconds=0.2, min_seconds=0.1, overlap_seconds=0.0, fps=10.0)
    for workers in (0, 1):
        parts = cut([path], tiny, workers=workers, transform=number_of)
        assert spans(parts) == pytest.approx(np.array([(0, 0.2), (0.2, 0.4)]), abs=1e-6)
        assert "read with decord" in parts[0].note
        (part,) = cut([path], tiny, workers=workers, reader="av")
        assert isinstance(part.error, VideoError)
    by_decord = cut([tmp_path / "odd.mp4"], Cutting(), reader="decord")
    assert by_decord[0].spans == pytest.approx(np.array([(0, 0.4)]))


def test_leaving_in_the_middle_of_a_film_hangs_nothing(film, video, monkeypatch):
    others = set(threading.enumerate())
    with MomentPool(Reading(workers=2, timeout_seconds=1000), None, 4, replace(SMALL, cut="fixed")) as pool:
        parts = pool.imap([str(film)] * 9)
        next(parts)
        held = pool.imap([str(film)] * 3)  # abandoned, and never closed
        next(held)
        parts.close()
        assert next(pool.imap([str(video("h264.mp4"))])).error is None
    left = set(threading.enumerate()) - others
    assert not [thread for thread in left if thread.name.startswith("tvrkit-decode")]
    with pytest.raises(ConfigError, match="closed"):
        next(pool.imap([str(film)]))


def test_settings_that_make_no_sense_are_refused():
    for reading, num_frames in ((Reading(workers=-1), 4), (Reading(workers=0), 0), (Reading(reader="x"), 4)):
        with pytest.raises(ConfigError):
            MomentPool(reading, None, num_frames, SMALL)


class _Large:
    """A frame of 24 MB."""

    width, height = 4096, 4096

    class format:  # noqa: N801
        padded_bits_per_pixel = 12


def test_frames_in_memory_are_bounded_and_stay_spread_out():
    buffer = FrameBuffer(least=6)
    for i in range(1000):
        buffer.push(i / 25, _Large())
        assert len(buffer._held) <= 10  # 256 MB
    buffer.finish(40.0)
    starts = [shown.start for shown in buffer._held]
    assert max(np.diff([0.0, *starts, 40.0])) <= 8.0
    chosen = buffer.choose([1.0, 13.0, 39.0], (0.0, 40.0))
    assert np.abs(np.array([shown.start for shown in chosen]) - [1, 13, 39]).max() <= 4.0
    buffer.forget(before=20.0)
    assert all(shown.end > 20.0 for shown in buffer._held)


@pytest.mark.slow
def test_real_clips_are_cut_from_end_to_end(shared):
    paths = sorted((shared / "clips" / "clips").iterdir())
    parts = cut(paths, Cutting(max_seconds=5.0), workers=2, num_frames=6)
    assert [str(part.error) for part in parts if part.error] == []
    for path in paths:
        mine = [part for part in parts if part.request.path == str(path)]
        got = spans(mine)
        assert got[0, 0] == 0.0 and got[-1, 1] == pytest.approx(mine[-1].duration_seconds)
        assert (got[1:, 0] <= got[:-1, 1] + 1e-6).all() and (np.diff(got, axis=1) <= 5.0 + 1e-6).all()

from __future__ import annotations

from dataclasses import replace

import pytest
from media import make_video, only_decord_reads
from videos import VIDEOS

from tvrkit.frames import facts
from tvrkit.frames.av_file import Clock, VideoFile
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reader import FrameRequest, probe, read_frames


def asked(path, **options) -> FrameRequest:
    return FrameRequest(str(path), 1, with_info=True, **options)


@pytest.mark.parametrize("name", sorted(VIDEOS))
def test_frames_are_counted_exactly_in_every_container(video, name):
    with VideoFile(str(video(name)), Clock(name, 60)) as file:
        there = sum(1 for _ in file.frames())
    with DecodePool(0) as pool:
        (got,) = pool.imap([asked(video(name))])
    assert got.info.frames == there
    assert (got.info.width, got.info.height) == (128, 96)
    assert got.info == probe(str(video(name)))
    assert got.info.duration_seconds == pytest.approx(got.duration_seconds)


def test_a_worker_sends_the_facts_beside_the_frames(video):
    requests = [asked(video("turned_90.mp4")), FrameRequest(str(video("h264.mkv")), 1), asked(video("av1.webm"))]
    with DecodePool(1) as pool:
        turned, without, other = pool.imap(requests)
    assert (turned.info.rotation, turned.info.fps, turned.info.codec) == (90, 25.0, "h264")
    assert without.info is None and without.frames is not None
    assert other.info.codec == "av1" and other.frames.shape == (1, 96, 128, 3)


def test_nothing_is_counted_where_nobody_asks(video, monkeypatch):
    def never(*_):
        raise AssertionError("counted")

    monkeypatch.setattr(facts, "_counted_by_packets", never)
    read_frames(FrameRequest(str(video("h264.mkv")), 3), reader="av")
    with DecodePool(0, reader="av") as pool:
        (got,) = pool.imap([asked(video("h264.mkv"))])
    assert "AssertionError: counted" in got.error.reason  # the check works


def test_no_time_to_count_is_no_error(video, monkeypatch):
    real = facts.survey

    def late(file):
        file.clock._end = 0.0
        return real(file)

    monkeypatch.setattr(facts, "survey", late)
    assert probe(str(video("h264.mkv"))).frames is None
    assert probe(str(video("h264.mp4"))).frames == 50


def test_an_error_has_no_facts(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with DecodePool(0) as pool:
        (got,) = pool.imap([asked(tmp_path / "text.mp4")])
    assert got.error is not None and got.info is None


@pytest.mark.parametrize("workers", [0, 1])
def test_the_second_reader_says_what_it_knows(tmp_path, workers):
    pytest.importorskip("decord", reason="decord has no wheel for this machine")
    path = only_decord_reads(tmp_path / "damaged.mp4")
    with DecodePool(workers) as pool:
        (got,) = pool.imap([asked(path)])
    assert (got.info.width, got.info.height, got.info.frames) == (128, 96, 10)
    assert got.info.fps == pytest.approx(25) and got.info.codec == "unknown"
    assert got.info.duration_seconds == pytest.approx(0.4) and "decord" in got.note


def test_the_size_is_that_of_the_picture_before_the_transform(tmp_path):
    from pool_transforms import size_of

    path = make_video(tmp_path / "a.mp4", size=(160, 120))
    with DecodePool(1, size_of) as pool:
        (got,) = pool.imap([asked(path, start_seconds=0.5, end_seconds=1.0)])
    assert got.frames.tolist() == [[160, 120]] and (got.info.width, got.info.height) == (160, 120)
    assert got.info == replace(got.info, frames=50, duration_seconds=2.0)

from __future__ import annotations

import json
import os

import pytest
from media import make_video, only_decord_reads

from tvrkit.frames.reader import VideoInfo
from tvrkit.frames.reading import Reading
from tvrkit.prepare import memory, probes
from tvrkit.prepare.probes import probe_all
from tvrkit.reporting import Silent


@pytest.fixture
def asked(monkeypatch):
    """Requests that reached the pool since the list was cleared."""
    requests = []

    class Watched(probes.DecodePool):
        def imap(self, asked):
            def noted():
                for request in asked:
                    requests.append(request)
                    yield request

            return super().imap(noted())

    monkeypatch.setattr(probes, "DecodePool", Watched)
    return requests


@pytest.fixture
def look(tmp_path):
    """`look(span, …)`: `probe_all` in this process, with the cache of this test."""

    def run(*spans, workers=0, **options):
        return probe_all(spans, tmp_path / "probes.json", reading=Reading(workers), watcher=Silent(), **options)

    return run


def test_facts_of_each_file_and_reasons_for_the_rest(look, tmp_path):
    whole = (make_video(tmp_path / "a.mkv", num_frames=30, fps=10, size=(160, 120), turn=0), None, None)
    turned = (make_video(tmp_path / "b.mp4", turn=90), 0.5, 1.5)
    text = (tmp_path / "c.mp4", None, None)
    text[0].write_text("no video")
    gone = (tmp_path / "gone.mp4", None, None)
    got = look(whole, turned, text, gone, workers=2)
    assert got.infos == {
        whole: VideoInfo(pytest.approx(3.0), 30, 160, 120, 10.0, "h264", 0),
        turned: VideoInfo(2.0, 50, 128, 96, 25.0, "h264", 90),
    }
    assert got.durations == {whole: got.infos[whole].duration_seconds, turned: 2.0}
    assert got.failures[gone] == "cannot be opened (No such file or directory)"
    assert got.failures[text].startswith("cannot be opened as a video") and got.new == 4


def test_what_was_read_is_remembered_and_what_was_not_is_tried_again(look, tmp_path, asked):
    good = (make_video(tmp_path / "a.mkv"), None, None)
    bad = (tmp_path / "b.mp4", None, None)
    bad[0].write_text("no video")
    first = look(good, bad)
    asked.clear()
    second = look(good, bad)
    assert [request.path for request in asked] == [str(bad[0])]
    assert (second.infos, second.durations, second.failures) == (first.infos, first.durations, first.failures)
    assert second.new == 1
    make_video(bad[0])
    assert look(good, bad).failures == {}
    asked.clear()
    assert look(good, bad).new == 0 and asked == []


def test_again_looks_into_every_file(look, tmp_path, asked):
    path = make_video(tmp_path / "a.mp4", noise=9)
    look((path, None, None))
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(b"x" * len(content))  # a disk that spoils a file does not change its time
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.write_bytes(content[: len(content) // 2] + b"x" * (len(content) - len(content) // 2))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    good = make_video(tmp_path / "b.mp4")
    assert look((good, None, None)).new == 1
    asked.clear()
    got = look((path, None, None), (good, None, None), again=True)
    assert got.new == 2 and len(asked) == 2
    assert list(got.failures) == [(path, None, None)] and list(got.infos) == [(good, None, None)]
    assert look((good, None, None)).new == 0  # the cache lives on


def test_a_cache_of_durations_alone_is_looked_up_anew(look, tmp_path):
    span = (make_video(tmp_path / "a.mp4"), None, None)
    look(span)
    cache = tmp_path / "probes.json"
    (key,) = json.loads(cache.read_text())
    broken = {"duration_seconds": 2.0, "frames": 50, "width": "wide", "height": 96, "fps": 25, "codec": "h264"}
    for old in (2.0, "2.0", None, [], {"duration_seconds": 2.0}, broken, {**broken, "rotation": 0}):
        cache.write_text(json.dumps({key: old, "another file - -": 1.5}))
        got = look(span)
        assert got.new == 1 and got.infos[span].frames == 50
        assert look(span).new == 0
        assert json.loads(cache.read_text())["another file - -"] == 1.5
    for damaged in ("[", "[]", "3", "\0"):
        cache.write_text(damaged)
        assert look(span).new == 1


def test_of_the_spans_of_one_file_one_asks_for_its_facts(look, tmp_path, asked):
    path, other = make_video(tmp_path / "a.mkv"), make_video(tmp_path / "b.mkv", num_frames=25)
    spans = [(path, None, None), *((path, i / 10, i / 10 + 0.1) for i in range(5)), (other, 0.0, 0.5)]
    got = look(*spans, workers=2)
    assert len(asked) == 7 and [request.with_info for request in asked] == [True, *[False] * 5, True]
    assert got.failures == {} and [got.infos[span].frames for span in spans] == [50] * 6 + [25]


def test_a_first_span_that_cannot_be_read_leaves_the_others_their_facts(look, tmp_path, asked):
    path = make_video(tmp_path / "a.mkv")
    outside, first, second = (path, 50.0, 60.0), (path, 0.0, 1.0), (path, 1.0, 2.0)
    got = look(outside, first, second)
    assert "outside of the video" in got.failures[outside]
    assert [got.infos[span].frames for span in (first, second)] == [50, 50] and set(got.durations) == {first, second}
    assert [request.with_info for request in asked] == [True, False, False, True, False]
    asked.clear()
    assert look(outside, first, second).new == 1 and len(asked) == 1


def test_an_interrupted_look_goes_on_where_it_stopped(look, tmp_path, monkeypatch):
    spans = [(make_video(tmp_path / f"{i}.mp4", num_frames=5), None, None) for i in range(4)]

    class Impatient(Silent):
        steps = 0

        def advance(self, n: int = 1) -> None:
            Impatient.steps += 1
            if Impatient.steps == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe_all(
            spans, tmp_path / "probes.json", reading=Reading(0, "av"), watcher=Impatient()
        )  # fmt: skip
    assert look(*spans).new == 2
    monkeypatch.setattr(memory, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(memory, "SAVE_SHARE", 0)
    cache = tmp_path / "probes.json"
    cache.unlink()
    sizes = []
    monkeypatch.setattr(Silent, "advance", lambda *_: sizes.append(len(json.loads(cache.read_text()))))
    look(*spans)
    assert sizes == [1, 2, 3, 4]  # saved on the way as well, for a process that is killed saves nothing at its end


def test_what_only_the_second_reader_reads_has_the_facts_that_it_knows(look, tmp_path):
    pytest.importorskip("decord", reason="decord has no wheel for this machine")
    span = (tmp_path / "damaged.mp4", None, None)
    only_decord_reads(span[0])
    info = look(span).infos[span]
    assert (info.frames, info.width, info.height, info.codec) == (10, 128, 96, "unknown")
    assert look(span).new == 0

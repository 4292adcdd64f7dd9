from __future__ import annotations

import logging
import os
import threading

import pytest
from media import frame_number, make_audio, only_decord_reads

from tvrkit.errors import ConfigError, VideoError
from tvrkit.frames.reader import FrameRequest, probe, read_frames


def test_frames_come_with_their_times(video):
    got = read_frames(FrameRequest(str(video("h264.mp4")), 4))
    assert got.data.shape == (4, 96, 128, 3)
    assert got.pts_seconds == pytest.approx([0.24, 0.72, 1.24, 1.72])
    assert got.duration_seconds == pytest.approx(2.0)


def test_auto_goes_to_decord_where_pyav_cannot_and_says_so(tmp_path, caplog):
    pytest.importorskip("decord", reason="decord has no wheel for this machine")
    path = only_decord_reads(tmp_path / "damaged.mp4")
    with pytest.raises(VideoError, match="cannot be opened as a video"):
        read_frames(FrameRequest(path), reader="av")
    with caplog.at_level(logging.WARNING, "tvrkit.frames"):
        got = read_frames(FrameRequest(path), reader="auto")
    assert [frame_number(image) for image in got.data] == list(range(10))
    (message,) = caplog.messages
    assert message.startswith(f"{path}: read with decord; PyAV said: cannot be opened as a video")
    info = probe(path)
    assert (info.width, info.height, info.codec) == (128, 96, "unknown")


def test_where_neither_reader_can_pyav_says_why(tmp_path):
    path = str(make_audio(tmp_path / "audio.mp4"))
    for call in (lambda: read_frames(FrameRequest(path)), lambda: probe(path)):
        with pytest.raises(VideoError, match="has no video stream") as caught:
            call()
        assert (caught.value.path, caught.value.reason) == (path, "has no video stream")


@pytest.mark.parametrize("reader", ["auto", "av", "decord"])
def test_what_is_no_plain_file_is_never_opened(tmp_path, reader):
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")  # opening it would wait for a writer, for ever
    (tmp_path / "folder.mp4").mkdir()
    for name, reason in {
        "empty.mp4": r"is empty \(0 bytes\)",
        "pipe.mp4": "is not a plain file",
        "folder.mp4": "is not a plain file",
        "gone.mp4": r"cannot be opened \(No such file or directory\)",
        "nu\0l.mp4": "null byte",
    }.items():
        with pytest.raises(VideoError, match=reason):
            read_frames(FrameRequest(str(tmp_path / name)), reader=reader)
    for address in ("http://127.0.0.1:9/a.mp4", "concat:a.mp4|b.mp4", "-"):
        with pytest.raises(VideoError, match="cannot be opened"):
            read_frames(FrameRequest(address), reader=reader)
    with pytest.raises(VideoError, match="is not a plain file"):
        probe(str(tmp_path / "pipe.mp4"))


def test_a_playlist_does_not_open_other_files(video, tmp_path):
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{video('h264.mp4')}'\n")
    with pytest.raises(VideoError):
        read_frames(FrameRequest(str(tmp_path / "list.mp4")))


def test_a_word_that_is_no_reader_or_no_sampling_is_refused(video):
    path = str(video("h264.mp4"))
    with pytest.raises(ConfigError, match="auto, av, decord, not 'opencv'"):
        read_frames(FrameRequest(path), reader="opencv")
    with pytest.raises(ConfigError, match="uniform, head, random"):
        read_frames(FrameRequest(path, sampling="best"))


def test_reading_in_threads_gives_the_same(video):
    expected = read_frames(FrameRequest(str(video("hevc.mp4")))).data
    results = []

    def work():
        results.append(read_frames(FrameRequest(str(video("hevc.mp4")))).data)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all((result == expected).all() for result in results)

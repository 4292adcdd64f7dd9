from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from tvrkit.frames import cache as cache_module
from tvrkit.frames.cache import PixelCache, pixel_cache
from tvrkit.frames.frame_file import KeptFrames, read_frames, write_frames
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.preprocess import ResizeCrop
from tvrkit.frames.reader import FrameRequest

SMALL = ResizeCrop(32, int(Image.Resampling.BICUBIC), (32, 32))


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def decode(cache, requests, workers=0, transform=SMALL, reader="av"):
    with DecodePool(workers, transform, reader=reader, cache=cache) as pool:
        return list(pool.imap(requests)), pool.pids


def same(first, second):
    return (
        np.array_equal(first.frames, second.frames)
        and np.array_equal(first.pts_seconds, second.pts_seconds)
        and first.duration_seconds == second.duration_seconds
        and first.request == second.request
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_kept_is_what_was_decoded_and_no_process_is_started_for_it(video, tmp_path, workers):
    requests = [FrameRequest(str(video(name)), 4) for name in ("h264.mp4", "vp9.webm", "one.mp4")]
    requests.append(FrameRequest(str(video("h264.mp4")), 4, start_seconds=0.5, end_seconds=1.0))
    plain, _ = decode(None, requests)
    first, _ = decode(PixelCache(tmp_path / "kept", "small"), requests, workers)
    assert len(files(tmp_path / "kept")) == 4
    second, pids = decode(PixelCache(tmp_path / "kept", "small"), requests, workers)
    assert not pids
    for a, b, c in zip(plain, first, second, strict=True):
        assert same(a, b) and same(a, c) and c.frames.dtype == np.uint8
    second[0].frames[0] = 0  # what arrives may be written to
    second[0].pts_seconds[0] = 7


def test_the_second_time_not_even_a_reader_is_called(video, tmp_path, monkeypatch):
    request = FrameRequest(str(video("h264.mp4")), 4)
    (first,), _ = decode(PixelCache(tmp_path, "small"), [request])
    monkeypatch.setattr("tvrkit.frames.pool.decode_here", lambda *_: pytest.fail("decoded again"))
    (second,), _ = decode(PixelCache(tmp_path, "small"), [request])
    assert same(first, second)


def test_another_file_request_or_setting_has_frames_of_its_own(video, tmp_path):
    path = tmp_path / "clip.mp4"
    shutil.copy(video("h264.mp4"), path)
    cache = PixelCache(tmp_path / "kept", "small")
    decode(cache, [FrameRequest(str(path), 4)])
    assert cache.get(FrameRequest(str(path), 4)) is not None
    assert cache.get(FrameRequest(str(path), 4, seed=9)) is not None  # uniform frames do not depend on it
    others = [
        FrameRequest(str(path), 5),
        FrameRequest(str(path), 4, sampling="head"),
        FrameRequest(str(path), 4, end_seconds=1.0),
        FrameRequest(str(path), 4, with_info=True),
    ]
    assert not any(cache.get(request) for request in others)
    assert PixelCache(tmp_path / "kept", "large").get(FrameRequest(str(path), 4)) is None
    shutil.copy(video("sound.mp4"), path)
    assert cache.get(FrameRequest(str(path), 4)) is None  # the same object sees that the file is another one
    os.unlink(path)
    assert cache.get(FrameRequest(str(path), 4)) is None


def test_nothing_is_kept_of_random_frames_of_errors_and_of_other_kinds_of_pixels(video, tmp_path):
    cache = PixelCache(tmp_path / "kept", "small")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    decode(cache, [FrameRequest(str(video("h264.mp4")), 4, sampling="random", seed=1), FrameRequest(str(broken), 4)])
    decode(cache, [FrameRequest(str(video("h264.mp4")), 4)], transform=lambda image: np.zeros((3, 8, 8), np.float32))
    assert not files(tmp_path / "kept")


def test_a_model_of_another_normalisation_shares_them_and_one_of_another_size_does_not(video, monkeypatch, tmp_path):
    monkeypatch.setenv("TVRKIT_CACHE", str(tmp_path))
    options = {"size": (32, 32), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    request = FrameRequest(str(video("h264.mp4")), 4)
    decode(pixel_cache(options, "av"), [request])
    assert pixel_cache({**options, "mean": (0.1,) * 3}, "av").get(request) is not None
    assert pixel_cache({**options, "size": (64, 64)}, "av").get(request) is None
    assert pixel_cache(options, "decord").get(request) is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_file_is_decoded_anew(video, tmp_path, damage):
    request = FrameRequest(str(video("h264.mp4")), 4)
    (first,), _ = decode(PixelCache(tmp_path, "small"), [request])
    (path,) = files(tmp_path)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[-100] ^= 1
    path.write_bytes({"cut": data[:-1], "flipped": data, "empty": b"", "other": b"something else" * 10}[damage])
    (second,), _ = decode(PixelCache(tmp_path, "small"), [request])
    assert same(first, second) and len(files(tmp_path)) == 1
    assert read_frames(files(tmp_path)[0]) is not None


_WRITER = """
import sys
from PIL import Image
from tvrkit.frames.cache import PixelCache
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.preprocess import ResizeCrop
from tvrkit.frames.reader import FrameRequest
folder, path, sampling = sys.argv[1:]
with DecodePool(0, ResizeCrop(224, int(Image.Resampling.BICUBIC), (224, 224)), cache=PixelCache(folder, "x")) as pool:
    requests = (FrameRequest(path, 8, start_seconds=i / 1000) for i in range(100000))
    for i, decoded in enumerate(pool.imap(requests)):
        assert decoded.error is None
        print(i, flush=True)
"""


@pytest.mark.slow
def test_writers_that_are_killed_leave_only_whole_files(video, tmp_path):
    path = str(video("h264.mp4"))
    for pause in (0.0, 0.05, 0.11, 0.23):
        writers = [
            subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), path, "u"], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout.readline()
        time.sleep(pause)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.stdout.close()
            writer.wait()
    kept = [file for file in files(tmp_path) if file.suffix == ".frames"]
    assert len(kept) >= 2
    assert all(read_frames(file) is not None for file in kept)


def test_threads_that_keep_the_same_video_do_not_meet(video, tmp_path):
    request = FrameRequest(str(video("h264.mp4")), 4)
    cache = PixelCache(tmp_path, "small")
    (decoded,), _ = decode(None, [request])
    threads = [threading.Thread(target=lambda: [cache.put(decoded) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = cache.get(request)
        assert found is None or same(found, decoded)
    for thread in threads:
        thread.join()
    assert len(files(tmp_path)) == 1


def test_a_disk_with_little_room_is_left_alone_once_the_old_are_gone(video, tmp_path, monkeypatch, caplog):
    request, other = (FrameRequest(str(video(name)), 4) for name in ("h264.mp4", "vp9.webm"))
    cache = PixelCache(tmp_path, "small")
    decode(cache, [request])
    (old,) = files(tmp_path)
    long_ago = time.time() - 30 * 86400
    os.utime(old, (long_ago, long_ago))
    usage = namedtuple("usage", "total used free")
    # The disk is full until the old file goes.
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda folder: usage(2**40, 0, 0 if old.exists() else 2**39))
    decode(cache, [other])
    assert not old.exists() and cache.get(other) is not None
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda folder: usage(2**40, 2**40, 0))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            (decoded,), _ = decode(cache, [request])
            assert decoded.frames is not None
    assert cache.get(request) is None and cache.get(other) is not None
    assert len(caplog.messages) == 1 and "no room to grow" in caplog.messages[0]


def test_a_folder_that_cannot_be_written_costs_a_warning(video, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cache = PixelCache(tmp_path / "file" / "kept", "small")
    with caplog.at_level(logging.WARNING):
        answers, _ = decode(cache, [FrameRequest(str(video(name)), 4) for name in ("h264.mp4", "vp9.webm")])
    assert all(decoded.frames is not None for decoded in answers)
    assert len(caplog.messages) == 1 and "cannot be written" in caplog.messages[0]


def test_what_is_used_is_not_old(video, tmp_path):
    request = FrameRequest(str(video("h264.mp4")), 4)
    cache = PixelCache(tmp_path, "small")
    decode(cache, [request])
    (path,) = files(tmp_path)
    long_ago = time.time() - 30 * 86400
    os.utime(path, (long_ago, long_ago))
    cache.get(request)
    assert time.time() - path.stat().st_mtime < 3600


def test_a_frame_file_holds_any_number_of_frames(tmp_path):
    for count in (1, 3):
        frames = np.random.default_rng(0).integers(0, 256, (count, 3, 5, 7), np.uint8)
        write_frames(tmp_path / "x", KeptFrames(frames, np.arange(count) / 3, 2.5))
        kept = read_frames(tmp_path / "x")
        assert np.array_equal(kept.frames, frames) and kept.duration_seconds == 2.5
        assert np.array_equal(kept.pts_seconds, np.arange(count) / 3)
    with pytest.raises(OSError):
        read_frames(tmp_path / "absent")

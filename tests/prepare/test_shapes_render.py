"""Pixels and files of the built-in benchmark, looked at after a real encoder and the real reader."""

from __future__ import annotations

import av
import numpy as np
import pytest

from tvrkit.frames.reader import FrameRequest, probe, read_frames
from tvrkit.prepare.shapes_events import COLOURS, SHAPES, Event, all_events
from tvrkit.prepare.shapes_render import (
    FRAMES,
    RGB,
    SIDE,
    clip_generator,
    encode_mp4,
    is_whole,
    render_clip,
    render_still,
    write_clip,
)

DIRECTION = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}


def bright(frames):
    """What is no background: (F, H, W) bool."""
    return frames.max(axis=-1) > 120


def centres(frames):
    """Middle of what is drawn in each frame, (F, 2) as x, y in pixels."""
    rows, columns = np.mgrid[: frames.shape[1], : frames.shape[2]] + 0.5
    return np.array([[columns[mask].mean(), rows[mask].mean()] for mask in bright(frames)])


def drawn(meaning, name="x"):
    return render_clip(meaning, clip_generator(0, name))


@pytest.mark.parametrize("motion", DIRECTION)
@pytest.mark.parametrize("count", ["a", "two"])
def test_motion_is_what_the_caption_says(motion, count):
    for number in range(5):
        frames = drawn((Event(count, "small", "yellow", "circle", motion),), f"{motion}{number}")
        assert frames.shape == (FRAMES, SIDE, SIDE, 3) and frames.dtype == np.uint8
        where = centres(frames)
        travelled = where[-1] - where[0]
        for moved, direction in zip(travelled, DIRECTION[motion], strict=True):
            if direction:
                assert 14 < moved * direction < 19
            else:
                assert abs(moved) < 1
        # Symmetric about the middle, which is near the picture's: the set of places tells nothing of the direction.
        assert np.abs(where + where[::-1] - 2 * where.mean(axis=0)).max() < 1.5
        assert np.abs(where.mean(axis=0) - SIDE / 2).max() < 3.5


def test_order_is_in_time_alone():
    first, second = Event("a", "big", "red", "star", "up"), Event("two", "small", "white", "circle", "left")
    for meaning in ((first, second), (second, first)):
        frames = drawn(meaning)
        whites = [(frame.min(axis=-1) > 150).sum() > 50 for frame in frames]
        assert whites == [event.colour == "white" for event in meaning for _ in range(FRAMES // 2)]


def test_sizes_and_counts_show_in_the_area():
    def area(count, size, shape):
        events = [(Event(count, size, "white", shape, "still"),)] * 8
        return np.mean([bright(drawn(event, str(i)))[0].sum() for i, event in enumerate(events)])

    for shape in SHAPES:
        assert area("a", "big", shape) > 2 * area("a", "small", shape)
        assert area("two", "small", shape) == pytest.approx(2 * area("a", "small", shape), rel=0.25)
        # A big one is larger than two small ones, and never the same area as them.
        assert area("a", "big", shape) > 1.2 * area("two", "small", shape)


def test_shapes_differ_in_how_they_fill_their_box():
    """Circle pi/4, square nearly all, triangle half, star less: of the bounding box of one big shape."""
    fill = {}
    for shape in SHAPES:
        parts = []
        for number in range(10):
            mask = bright(drawn((Event("a", "big", "white", shape, "still"),), str(number)))[0]
            rows, columns = np.nonzero(mask)
            parts.append(mask.sum() / (np.ptp(rows) + 1) / (np.ptp(columns) + 1))
        fill[shape] = float(np.mean(parts))
    assert fill["circle"] == pytest.approx(np.pi / 4, abs=0.03)
    assert fill["square"] > 0.8 > 0.6 > fill["triangle"] > fill["star"] > 0.3


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_survive_the_encoder(tmp_path, colour):
    path = tmp_path / "clip.mp4"
    write_clip(path, (Event("a", "big", colour, "square", "still"),), 0, colour)
    frames = read_frames(FrameRequest(str(path), num_frames=3)).data
    seen = np.median(frames[1][28:36, 28:36].reshape(-1, 3), axis=0)
    nearest = min(RGB, key=lambda name: np.abs(np.array(RGB[name]) - seen).sum())
    assert nearest == colour


def test_every_event_stays_in_the_picture():
    for event in all_events()[::7]:
        where = centres(drawn((event,), str(event)))
        assert (where > 8).all() and (where < SIDE - 8).all()


def test_the_file_is_real_h264(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, (Event("a", "big", "red", "star", "left"), Event("a", "big", "red", "star", "up")), 0, "x")
    info = probe(str(path))
    assert (info.codec, info.width, info.height, info.fps) == ("h264", SIDE, SIDE, 6)
    assert info.duration_seconds == pytest.approx(2.0)
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == FRAMES
    batch = read_frames(FrameRequest(str(path), num_frames=FRAMES))
    assert len(batch) == FRAMES
    original = drawn((Event("a", "big", "red", "star", "left"), Event("a", "big", "red", "star", "up")))
    error = np.mean((batch.data.astype(float) - original) ** 2)
    assert 10 * np.log10(255**2 / error) > 30


def test_bytes_follow_from_seed_and_name():
    meaning = (Event("a", "big", "red", "star", "left"),)
    made = {
        (seed, name): encode_mp4(render_clip(meaning, clip_generator(seed, name)))
        for seed, name in ((0, "a"), (0, "b"), (1, "a"))
    }
    assert len(set(made.values())) == 3
    assert made[0, "a"] == encode_mp4(render_clip(meaning, clip_generator(0, "a")))


def test_a_torn_file_is_not_whole(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, (Event("a", "big", "red", "star", "left"),), 0, "x")
    data = path.read_bytes()
    assert is_whole(path) and not list(tmp_path.glob(".*"))
    for torn in (b"", data[: len(data) // 2], data[:-1], bytes(len(data)), data + b"\0" * 8):
        path.write_bytes(torn)
        assert not is_whole(path)
    assert not is_whole(tmp_path / "none.mp4") and not is_whole(tmp_path)


def test_stills_show_the_event_where_it_is_asked_for():
    rng = np.random.default_rng(0)
    for centre in ((20.0, 44.0), (40.0, 24.0)):
        still = render_still(Event("a", "small", "white", "circle", "still"), centre, rng)
        assert centres(still[None])[0] == pytest.approx(centre, abs=0.7)

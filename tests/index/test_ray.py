"""Encoding by a real Ray, started here."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from searching import make_clips, make_model
from webserver import web_server

from tvrkit.encode.moments import VideoMoments
from tvrkit.errors import InstallError, ModelError
from tvrkit.frames.moment_request import Cutting
from tvrkit.frames.reading import Reading
from tvrkit.index.ray_engine import RayPlace, encode_on_ray, packed, unpacked
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.update import encode, plan
from tvrkit.index.video_index import IndexMeta

HERE = Reading(workers=0)


def same(one: VideoMoments, other: VideoMoments) -> bool:
    tensors = ("spans", "counts", "frame_features", "pts_seconds", "nearest_gain", "nearest_frame", "pooled")
    return one.note == other.note and all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors)


def test_a_video_travels_whole() -> None:
    video = VideoMoments(
        spans=torch.tensor([[0.0, 1.5]], dtype=torch.float64),
        counts=torch.tensor([2]),
        frame_features=torch.rand(2, 8).half(),
        pts_seconds=torch.tensor([0.25, 1.0], dtype=torch.float64),
        nearest_gain=torch.rand(2),
        nearest_frame=torch.tensor([1, 0], dtype=torch.int16),
        pooled=torch.rand(1, 3, 8).half(),
        duration_seconds=1.5,
        note="from 1 s on: \udcff is no text",
    )
    arrived = unpacked(packed(video))
    assert arrived.note == "from 1 s on: \\udcff is no text" and arrived.duration_seconds == 1.5
    assert same(replace(arrived, note=video.note), video)


def test_without_ray_the_line_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meta = IndexMeta("0" * 32, "nothing", 8, 4, Cutting())
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        SegmentIndex(str(tmp_path / "index"), meta, create=True) as index,
        pytest.raises(InstallError, match=r"pip install 'tvrkit\[ray\]'"),
    ):
        encode_on_ray(index, [("0" * 32, "a.mp4")])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_ray_encodes_what_one_process_does_bit_for_bit(tmp_path: Path, request: pytest.FixtureRequest, capfd) -> None:
    clips = make_clips(tmp_path / "clips")
    (clips / "broken.mp4").write_bytes(os.urandom(5000))
    model = make_model(tmp_path / "model", nearest_frame=True)
    meta = IndexMeta(model.fingerprint(), str(tmp_path / "model"), model.backbone.dim, 4, Cutting())
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)  # once for all that follows
    request.addfinalizer(ray.shutdown)
    with web_server(clips) as base, SegmentIndex(str(tmp_path / "local"), meta, create=True) as local:
        encode(local, model, plan(local, [str(clips)]), reading=HERE)
        with SegmentIndex(str(tmp_path / "ray"), meta, create=True) as index:
            wanted = [str(clips), f"{base}a.mp4", f"{base}broken.mp4"]
            looked = plan(index, wanted)
            todo = [(identity, row.path) for identity, row in looked.todo.items()]
            assert len(todo) == 4 + 1 + 2
            counts: list[tuple[int, int]] = []
            capfd.readouterr()  # what Ray said when it started
            place = RayPlace(encoders=2)
            encode_on_ray(index, todo, reading=HERE, place=place, on_progress=lambda *now: counts.append(now))
            assert counts[-1] == (7, 2)
            assert not re.search(r"\b(INFO|WARNING)\b", capfd.readouterr().err)  # of Ray Data: its bars, its seconds
            assert not plan(index, wanted).todo, "a second run has nothing to do"
            expected, found = dict(local.iter_videos()), dict(index.iter_videos())
            assert len(expected) == 4 and len(found) == 5
            assert all(same(video, found[identity]) for identity, video in expected.items())
            assert len(index.failures()) == 2 and set(local.failures()) <= set(index.failures())
        other = IndexMeta("f" * 32, str(tmp_path / "model"), model.backbone.dim, 4, Cutting())
        with (
            SegmentIndex(str(tmp_path / "other"), other, create=True) as index,
            pytest.raises(ModelError, match="not the one of the index"),
        ):
            encode_on_ray(index, todo[:1], reading=HERE, place=RayPlace(encoders=1))

"""Videos to the features of their moments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from media import make_video
from searching import make_clips, make_model

from tvrkit.core import RetrievalModel
from tvrkit.core.interaction import nearest_frames
from tvrkit.encode import encode_videos, iter_encoded
from tvrkit.encode.moments import POOLED, VideoMoments, iter_moments, pooled_vectors
from tvrkit.errors import VideoError
from tvrkit.frames.moment_request import Cutting
from tvrkit.frames.reader import FrameRequest
from tvrkit.frames.reading import Reading

HERE = Reading(workers=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RetrievalModel:
    return make_model(tmp_path_factory.mktemp("model") / "m", temporal="transformer", temporal_layers=1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(tmp_path_factory.mktemp("clips"), ("a.mp4", "b.mkv"))


def test_pooled_vectors_are_the_directions_of_the_thirds() -> None:
    frames = torch.eye(4, 8, dtype=torch.float64)[None]
    mask = torch.ones(1, 4, dtype=torch.bool)
    first, middle, last = pooled_vectors(frames, mask)[0]
    # Positions 0 to 4 cut at 4/3 and 8/3, rounded down: frame 0, frame 1, frames 2 and 3.
    assert first.tolist() == [1, 0, 0, 0, 0, 0, 0, 0] and middle.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert torch.allclose(last, torch.tensor([0, 0, 0.5**0.5, 0.5**0.5, 0, 0, 0, 0], dtype=torch.float64))


@pytest.mark.parametrize("length", range(1, 13))
def test_every_frame_is_in_a_pooled_vector_and_pads_are_in_none(length: int) -> None:
    torch.manual_seed(length)
    frames = torch.rand(2, 12, 16)
    mask = torch.arange(12).expand(2, 12) < length
    frames[~mask] = torch.nan
    pooled = pooled_vectors(frames, mask)
    assert pooled.shape == (2, POOLED, 16)
    assert torch.allclose(pooled.norm(dim=-1), torch.ones(2, POOLED))
    alone = pooled_vectors(frames[:, :length], mask[:, :length])
    assert torch.allclose(pooled, alone)
    if length < POOLED:
        kinds = {tuple(vector.tolist()) for vector in pooled[0]}
        assert len(kinds) == length


def test_a_short_video_is_one_moment_with_the_frames_of_evaluation(model: RetrievalModel, clips: Path) -> None:
    paths = [str(clips / "a.mp4"), str(clips / "b.mkv")]
    found = list(iter_moments(model, paths, reading=HERE))
    requests = [FrameRequest(path, model.config.num_frames) for path in paths]
    (plain,) = iter_encoded(model, requests, reading=HERE)
    expected = encode_videos(model, plain.frame_features, plain.frame_mask)
    gain, neighbour = nearest_frames(expected.frame_features, expected.frame_mask)
    for i, video in enumerate(found):
        assert isinstance(video, VideoMoments) and len(video) == 1
        assert video.spans.tolist() == [[0.0, plain.duration_seconds[i].item()]]
        assert video.counts.tolist() == [4]
        assert torch.equal(video.pts_seconds, plain.pts_seconds[i])
        assert torch.allclose(video.frame_features.float(), expected.frame_features[i], atol=1e-3)
        assert torch.allclose(video.nearest_gain, gain[i], atol=1e-5)
        assert video.nearest_frame.tolist() == neighbour[i].tolist()
        assert video.note is None


def test_what_shares_the_call_changes_nothing(model: RetrievalModel, clips: Path) -> None:
    paths = [str(clips / "a.mp4"), str(clips / "b.mkv")]
    together = list(iter_moments(model, paths, reading=Reading(workers=2)))
    for path, one in zip(paths, together, strict=True):
        (alone,) = iter_moments(model, [path], reading=HERE)
        assert isinstance(one, VideoMoments) and isinstance(alone, VideoMoments)
        assert torch.equal(one.frame_features, alone.frame_features) and torch.equal(one.pooled, alone.pooled)
        assert torch.equal(one.nearest_gain, alone.nearest_gain) and torch.equal(one.spans, alone.spans)


def test_a_broken_video_is_an_error_in_its_place(model: RetrievalModel, clips: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(os.urandom(4096))
    paths = [str(broken), str(clips / "a.mp4"), str(tmp_path / "none.mp4")]
    first, second, third = iter_moments(model, paths, reading=HERE)
    assert isinstance(first, VideoError) and first.path == paths[0]
    assert isinstance(second, VideoMoments) and len(second) == 1
    assert isinstance(third, VideoError) and "cannot be opened" in third.reason


def test_a_long_video_is_cut_and_a_black_one_has_no_moment(model: RetrievalModel, tmp_path: Path) -> None:
    times = [i / 5 for i in range(60)]
    make_video(tmp_path / "long.mp4", times=times, fps=5, noise=20)
    found, *_ = iter_moments(model, [str(tmp_path / "long.mp4")], cutting=Cutting("fixed", 4.0, 1.0, 1.0), reading=HERE)
    assert isinstance(found, VideoMoments) and len(found) >= 3
    assert found.spans[0, 0] == 0 and torch.isclose(
        found.spans[-1, 1], torch.tensor(12.0, dtype=torch.float64), atol=0.3
    )
    assert bool((found.spans[1:, 0] <= found.spans[:-1, 1]).all())
    assert found.counts.sum() == len(found.frame_features) == len(found.pts_seconds)
    assert found.pooled.shape == (len(found), POOLED, model.backbone.dim)
    starts = torch.repeat_interleave(found.spans[:, 0], found.counts)
    stops = torch.repeat_interleave(found.spans[:, 1], found.counts)
    assert bool(((found.pts_seconds >= starts - 0.2) & (found.pts_seconds <= stops)).all())

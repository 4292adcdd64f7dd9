"""Answers are the model's own similarity, exactly, however the index is cut."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from searching import make_model
from tiny import HERE

from tvrkit.core import RetrievalModel, VideoFeatures
from tvrkit.encode import encode_frames, encode_texts, encode_videos
from tvrkit.errors import ConfigError, ModelError
from tvrkit.frames.reader import FrameRequest
from tvrkit.index.hits import moment
from tvrkit.index.scan import VideoFile, scan
from tvrkit.index.search import is_cut, search_text, search_video
from tvrkit.index.videos import VideoIndex

KINDS = {
    "dot_product": {"interaction": "dot_product"},
    "token_wise": {"interaction": "token_wise"},
    "dmae": {"interaction": "token_wise", "nearest_frame": True, "key_words": True, "temporal": "transformer"},
    "weighted": {"interaction": "weighted_token_wise", "text_side": "words", "nearest_frame": True},
}


def no_warning(sentence: str) -> None:
    raise AssertionError(sentence)


def indexed(model: RetrievalModel, clips: Path, folder: Path) -> tuple[VideoIndex, tuple[VideoFile, ...]]:
    index, files = VideoIndex(model, folder, no_warning), scan([clips]).files
    index.encode(index.missing(files), reading=HERE)
    return index, files


@pytest.mark.parametrize("kind", list(KINDS))
def test_scores_and_moments_are_the_model_s(kind: str, clips: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", **KINDS[kind])
    query = "a red dog surfs on a big wave"
    index, files = indexed(model, clips, tmp_path / "index")
    with index:
        hits = search_text(model, index, query, files, top=10)
    encoded = encode_frames(model, [FrameRequest(str(file.path), 4) for file in files], reading=HERE)
    videos = encode_videos(model, encoded.frame_features, encoded.frame_mask)
    text = encode_texts(model, [query])
    with torch.no_grad():
        expected = model.similarity(text, videos)[0]
    assert [hit.rank for hit in hits] == [1, 2, 3, 4]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        row = [file.path for file in files].index(hit.path)
        assert hit.score == pytest.approx(float(expected[row]), abs=1e-3)
        assert hit.duration_seconds == float(encoded.duration_seconds[row])
        # The best frame is the one that scores highest alone.
        frames = videos.frame_features[row][encoded.frame_mask[row]]
        alone = VideoFeatures(frames[:, None], torch.ones(len(frames), 1, dtype=torch.bool))
        with torch.no_grad():
            by_frame = model.similarity(text, alone)[0]
        chosen = encoded.pts_seconds[row].tolist().index(hit.best_seconds)
        assert float(by_frame[chosen]) >= float(by_frame.max()) - 1e-3


def test_top_and_the_files_asked_for_limit_the_answer(model: RetrievalModel, clips: Path, tmp_path: Path) -> None:
    index, files = indexed(model, clips, tmp_path / "index")
    with index:
        everything = search_text(model, index, "a dog", files, 10)
        assert search_text(model, index, "a dog", files, 2) == everything[:2]
        assert [hit.path for hit in search_text(model, index, "a dog", files[:1], 2)] == [files[0].path]
        assert search_text(model, index, "a dog", (), 2) == []


def test_one_content_under_two_names_ties_in_order_of_paths(model: RetrievalModel, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    for name in ("z.mp4", "0.mp4"):
        shutil.copy2(folder / "a.mp4", folder / name)
    index, files = indexed(model, folder, tmp_path / "index")
    with index:
        hits = search_text(model, index, "a dog", files, 10)
    same = [hit for hit in hits if hit.path.name in ("z.mp4", "0.mp4", "a.mp4")]
    assert [hit.path.name for hit in same] == ["0.mp4", "a.mp4", "z.mp4"]
    assert len({hit.score for hit in same}) == 1 and len(hits) == 6


def test_a_video_finds_its_like_and_not_itself(model: RetrievalModel, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    shutil.copyfile(folder / "sub/b.mkv", folder / "copy.mkv")  # another file to the scan: another time
    shutil.copy2(folder / "sub/b.mkv", folder / "same.mkv")
    index, files = indexed(model, folder, tmp_path / "index")
    (example,) = (file for file in files if file.path.name == "b.mkv")
    with index:
        hits = search_video(index, example, files, 10)
    assert hits[0].path.name == "copy.mkv" and hits[0].score == pytest.approx(1, abs=1e-3)
    assert {hit.path.name for hit in hits} == {"copy.mkv", "a.mp4", "c.webm", "d.mov"}
    assert all(hit.score < hits[0].score for hit in hits[1:])


def test_an_empty_query_and_a_model_of_no_numbers_are_errors(clips: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    index, files = indexed(model, clips, tmp_path / "index")
    with index:
        with pytest.raises(ConfigError, match="empty"):
            search_text(model, index, " \n", files, 3)
        with torch.no_grad():
            model.backbone.clip.token_embedding.weight.fill_(float("nan"))
        with pytest.raises(ModelError, match="no number"):
            search_text(model, index, "a dog", files, 3)


def test_a_query_that_is_too_long_is_noticed(model: RetrievalModel) -> None:
    fits = " ".join(["dog"] * 14)  # and start and end: 16
    assert not is_cut(model, "a dog") and not is_cut(model, fits) and not is_cut(model, fits + "  \n")
    assert is_cut(model, fits + " dog") and is_cut(model, fits * 9) and is_cut(model, fits + "s!")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "00:00"), (59.99, "00:59"), (60, "01:00"), (754.5, "12:34"), (3599.9, "59:59"), (3600, "1:00:00")],
)
def test_moments(seconds: float, words: str) -> None:
    assert moment(seconds) == words

"""What the index keeps of videos, and that it lives on when nothing can be kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from media import make_audio
from searching import make_model
from tiny import HERE

from tvrkit.core import RetrievalModel
from tvrkit.core.interaction import nearest_frames
from tvrkit.encode import encode_frames, encode_videos
from tvrkit.frames.reader import FrameRequest
from tvrkit.index.scan import VideoFile, scan
from tvrkit.index.videos import VideoIndex


def fail(sentence: str) -> None:
    raise AssertionError(f"unexpected warning: {sentence}")


def files_of(folder: Path) -> tuple[VideoFile, ...]:
    return scan([folder]).files


def fill(index: VideoIndex, folder: Path) -> list[VideoFile]:
    """Encode what is missing and return it."""
    missing = index.missing(files_of(folder))
    index.encode(missing, reading=HERE)
    return missing


def test_what_comes_back_is_what_the_model_makes(model: RetrievalModel, clips: Path, tmp_path: Path) -> None:
    files = files_of(clips)
    with VideoIndex(model, tmp_path, fail) as index:
        assert index.missing(files) == list(files)
        fill(index, clips)
    requests = [FrameRequest(str(file.path), model.config.num_frames) for file in files]
    encoded = encode_frames(model, requests, reading=HERE)
    features = encode_videos(model, encoded.frame_features, encoded.frame_mask)
    with VideoIndex(model, tmp_path, fail) as index:
        assert index.missing(files) == []
        for chunk in (1, 3, 100):
            seen = set()
            for part in index.read(files, chunk):
                assert len(part.keys) <= chunk
                for i, key in enumerate(part.keys):
                    row = [index.key(file) for file in files].index(key)
                    real = features.frame_mask[row]
                    torch.testing.assert_close(
                        part.features.frame_features[i][part.features.frame_mask[i]],
                        features.frame_features[row][real],
                        atol=1e-3,  # float16 on disk
                        rtol=0,
                    )
                    assert torch.equal(part.pts_seconds[i][part.features.frame_mask[i]], encoded.pts_seconds[row][real])
                    assert part.duration_seconds[i] == encoded.duration_seconds[row]
                gain, _ = nearest_frames(part.features.frame_features, part.features.frame_mask)
                torch.testing.assert_close(part.nearest[0], gain, atol=2e-3, rtol=0)
                seen.update(part.keys)
            assert len(seen) == len(files)


def test_videos_of_different_numbers_of_frames_are_padded(model: RetrievalModel, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    from media import make_video

    make_video(folder / "one.mp4", num_frames=1)
    with VideoIndex(model, tmp_path / "index", fail) as index:
        fill(index, folder)
        (part,) = index.read(files_of(folder))
        counts = sorted(part.features.frame_mask.sum(dim=1).tolist())
        assert counts[0] == 1 and counts[-1] == 4
        assert not part.features.frame_features[~part.features.frame_mask].any()


def test_only_what_is_new_or_changed_is_encoded(model: RetrievalModel, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    with VideoIndex(model, tmp_path / "index", fail) as index:
        assert len(fill(index, folder)) == 4
        (folder / "a.mp4").rename(folder / "renamed.mp4")
        assert fill(index, folder) == []
        shutil.copyfile(folder / "d.mov", folder / "renamed.mp4")
        (folder / "sub/b.mkv").unlink()
        assert [file.path.name for file in fill(index, folder)] == ["renamed.mp4"]


def test_models_do_not_share_features(model: RetrievalModel, clips: Path, tmp_path: Path) -> None:
    with VideoIndex(model, tmp_path / "index", fail) as index:
        fill(index, clips)
    other = make_model(tmp_path / "other", seed=1)
    with VideoIndex(other, tmp_path / "index", fail) as index:
        assert len(index.missing(files_of(clips))) == 4
    same_towers = make_model(tmp_path / "longer", num_frames=6)
    with VideoIndex(same_towers, tmp_path / "index", fail) as index:
        assert len(index.missing(files_of(clips))) == 4  # other frames are sampled


def test_failures_are_named_kept_and_retried(model: RetrievalModel, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    (folder / "garbage.mp4").write_bytes(b"garbage" * 1000)
    (folder / "empty.mp4").write_bytes(b"")
    make_audio(folder / "sound.mp4")
    with VideoIndex(model, tmp_path / "index", fail) as index:
        done = []
        index.encode(index.missing(files_of(folder)), reading=HERE, on_progress=lambda *counts: done.append(counts))
        assert done[-1] == (7, 3)
        failures = index.failures(files_of(folder))
        assert {path.name for path in failures} == {"garbage.mp4", "empty.mp4", "sound.mp4"}
        assert all(failures.values()) and "0 bytes" in failures[folder / "empty.mp4"]
    with VideoIndex(model, tmp_path / "index", fail) as index:
        files = files_of(folder)
        assert index.missing(files) == [] and index.failures(files) == failures
        index.forget(files, failures_only=True)
        assert len(index.missing(files)) == 3
        index.forget(files, failures_only=False)
        assert len(index.missing(files)) == 7


def test_a_file_that_changed_meanwhile_is_not_noted_as_failed(
    model: RetrievalModel, clips: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    files = files_of(folder)
    moved = folder / "moved.mp4"
    (folder / "a.mp4").rename(moved)
    with VideoIndex(model, tmp_path / "index", fail) as index:
        index.encode(files, reading=HERE)
        assert [path.name for path in index.failures(files)] == ["a.mp4"]
    with VideoIndex(model, tmp_path / "index", fail) as index:
        assert [file.path for file in index.missing(files_of(folder))] == [moved]


def test_without_a_disk_the_index_lives_in_memory(model: RetrievalModel, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said: list[str] = []
    with VideoIndex(model, tmp_path / "file", said.append) as unkept, VideoIndex(model, tmp_path / "ok", fail) as kept:
        for index in (unkept, kept):
            fill(index, clips)
            assert index.missing(files_of(clips)) == []
        assert len(said) == 1 and "cannot make the cache folder" in said[0] and "not kept" in said[0]
        a = {key: part for part in unkept.read(files_of(clips), 2) for key in part.keys}
        b = {key: part for part in kept.read(files_of(clips), 2) for key in part.keys}
        assert a.keys() == b.keys() and len(a) == 4
        for key in a:
            rows = [part.features.frame_features[part.keys.index(key)] for part in (a[key], b[key])]
            assert torch.equal(*rows)


def test_a_disk_that_fills_up_meanwhile(
    model: RetrievalModel, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    import tvrkit.index.videos as module

    monkeypatch.setattr(module, "_BATCH", 1)
    said: list[str] = []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with VideoIndex(model, tmp_path / "index", said.append) as index:
        files = files_of(clips)
        index.encode(files[:1], reading=HERE)
        try:
            # Files may not grow past 1 KB: less than a segment.
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
            index.encode(files[1:], reading=HERE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert len(said) == 1 and "cannot write to the cache" in said[0]
        assert index.missing(files) == []
        assert sum(len(part.keys) for part in index.read(files)) == 4
    with VideoIndex(model, tmp_path / "index", fail) as index:
        assert index.missing(files) == list(files[1:])

from __future__ import annotations

import os
import shutil

import pytest
import torch
from tiny import HERE, make_data, tiny_config, write_clip

from tvrkit.core import build_model
from tvrkit.data import frame_request
from tvrkit.encode import encode_frames, encode_texts, encode_videos, iter_encoded
from tvrkit.frames.reader import read_frames
from tvrkit.frames.reading import Reading
from tvrkit.manifest import read_manifest
from tvrkit.store import FeatureStore


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The videos' manifest, and a model."""
    folder = tmp_path_factory.mktemp("world")
    manifest = read_manifest(make_data(folder, train=7, val=0, test=0))
    torch.manual_seed(0)
    return manifest, build_model(tiny_config(write_clip(folder), folder / "manifest.jsonl").model)


def requests(manifest, num_frames=4):
    return [frame_request(manifest, record, num_frames) for record in manifest.records]


def test_frames_are_what_the_backbone_makes_of_each_picture(world):
    manifest, model = world
    encoded = encode_frames(model, requests(manifest), reading=HERE)
    assert encoded.rows.tolist() == list(range(7)) and not encoded.failures
    assert encoded.frame_features.dtype == torch.float32 and encoded.frame_mask.all()
    batch = read_frames(requests(manifest)[2])
    from PIL import Image

    pixels = torch.stack([model.transform(Image.fromarray(frame)) for frame in batch.data])
    with torch.no_grad():
        expected = model.backbone.encode_images(pixels)
    torch.testing.assert_close(encoded.frame_features[2], expected)
    assert encoded.pts_seconds[2].tolist() == batch.pts_seconds.tolist()
    assert encoded.duration_seconds[2].item() == batch.duration_seconds


@pytest.mark.parametrize("workers", [0, 1])
def test_pieces_of_any_size_give_the_same_bits(world, workers):
    manifest, model = world
    whole = encode_frames(model, requests(manifest), reading=HERE, batch_videos=100)
    parts = list(iter_encoded(model, iter(requests(manifest)), reading=Reading(workers), batch_videos=3))
    assert [part.rows.tolist() for part in parts] == [[0, 1, 2], [3, 4, 5], [6]]
    assert torch.equal(torch.cat([part.frame_features for part in parts]), whole.frame_features)


def test_short_videos_are_padded(world):
    manifest, model = world  # 6, 7 or 8 frames each
    encoded = encode_frames(model, requests(manifest, num_frames=8), reading=HERE)
    assert encoded.frame_mask.sum(1).tolist() == [6, 7, 8, 6, 7, 8, 6]
    assert (encoded.frame_features[~encoded.frame_mask] == 0).all()
    assert encoded.pts_seconds.isnan().equal(~encoded.frame_mask)


def test_failures_are_named_and_the_rest_goes_on(world, tmp_path):
    manifest, model = world
    (tmp_path / "empty.mp4").write_bytes(b"")
    asked = requests(manifest)[:3]
    asked[1:1] = [
        frame_request(manifest, manifest.records[0].__class__("x", str(tmp_path / "empty.mp4"), ("c",)), 4),
        frame_request(manifest, manifest.records[0].__class__("y", str(tmp_path / "gone.mp4"), ("c",)), 4),
    ]
    told = []
    for store in (None, FeatureStore(tmp_path / "store"), FeatureStore(tmp_path / "store")):
        encoded = encode_frames(
            model, asked, reading=HERE, batch_videos=2, store=store, on_progress=lambda *n: told.append(n)
        )
        assert encoded.rows.tolist() == [0, 3, 4]
        assert sorted(encoded.failures) == [1, 2]
        assert "empty.mp4" in str(encoded.failures[1]) and "gone.mp4" in str(encoded.failures[2])
        assert told[-1] == (5, 2)
    assert len(encode_frames(model, [], reading=HERE)) == 0
    only_bad = encode_frames(model, asked[1:3], reading=HERE)
    assert len(only_bad) == 0 and only_bad.frame_features.shape == (0, 4, 32)


def test_the_store_spares_decoding_and_gives_the_same(world, tmp_path, monkeypatch):
    manifest, model = world
    copy = tmp_path / "copy"
    shutil.copytree(manifest.root, copy)
    manifest = read_manifest(copy / "manifest.jsonl")
    asked = requests(manifest)
    with FeatureStore(tmp_path / "store") as store:
        first = encode_frames(model, asked[:4], reading=HERE, store=store)
        both = encode_frames(model, asked, reading=HERE, store=store)
    assert torch.equal(both.frame_features[:4], first.frame_features)
    for path in copy.rglob("*.mp4"):  # same identity by size, time and content, at another place
        os.rename(path, path.with_suffix(".moved.mp4"))
    moved = [request.__class__(**{**vars(request), "path": request.path[:-4] + ".moved.mp4"}) for request in asked]
    monkeypatch.setattr("tvrkit.encode.frames.iter_encoded", None)  # nothing may be decoded now
    with FeatureStore(tmp_path / "store") as store:
        again = encode_frames(model, moved, reading=HERE, store=store)
    assert torch.equal(again.frame_features, both.frame_features)
    assert torch.equal(again.pts_seconds, both.pts_seconds) and torch.equal(again.frame_mask, both.frame_mask)
    assert torch.equal(again.duration_seconds, both.duration_seconds)


def test_another_tower_another_request_or_another_file_never_meets_old_features(world, tmp_path):
    manifest, model = world
    asked = requests(manifest)[:2]
    with FeatureStore(tmp_path / "store") as store:
        first = encode_frames(model, asked, reading=HERE, store=store)
        fewer = encode_frames(model, requests(manifest, num_frames=2)[:2], reading=HERE, store=store)
        assert fewer.frame_features.shape[1] == 2
        torch.manual_seed(1)
        other = build_model(model.config)
        second = encode_frames(other, asked, reading=HERE, store=store)
        assert not torch.allclose(first.frame_features, second.frame_features)
        span = asked[0].__class__(**{**vars(asked[0]), "start_seconds": 0.0, "end_seconds": 0.4})
        part = encode_frames(model, [span], reading=HERE, store=store)
        assert float(part.pts_seconds.nan_to_num().max()) < 0.4


def test_texts_do_not_depend_on_the_batch(world):
    manifest, model = world
    captions = [caption for record in manifest.records for caption in record.captions]
    whole = encode_texts(model, captions)
    parts = encode_texts(model, captions, batch_size=3)
    torch.testing.assert_close(parts.text_features, whole.text_features)
    mask = whole.word_mask
    torch.testing.assert_close(parts.word_features[mask], whole.word_features[mask])
    assert not whole.text_features.requires_grad


def test_videos_do_not_depend_on_the_batch(world):
    manifest, model = world
    encoded = encode_frames(model, requests(manifest), reading=HERE)
    videos = encode_videos(model, encoded.frame_features, encoded.frame_mask)
    one_by_one = encode_videos(model, encoded.frame_features, encoded.frame_mask, batch_size=1)
    torch.testing.assert_close(videos.frame_features, one_by_one.frame_features)


def test_encoding_leaves_the_model_in_the_mode_it_was_in(world):
    manifest, model = world
    model.train()
    model.backbone.clip.visual.eval()
    encode_texts(model, ["a"])
    encode_frames(model, requests(manifest)[:1], reading=HERE)
    assert model.training and model.temporal.training and not model.backbone.clip.visual.training
    model.eval()

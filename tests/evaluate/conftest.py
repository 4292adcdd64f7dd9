"""A small data set of real MP4s, a model that has all of the paper's parts, and the frames that it makes."""

from __future__ import annotations

import pytest
import torch
from tiny import HERE, make_data, tiny_config, write_clip

from tvrkit.core import build_model
from tvrkit.evaluate import encode_split
from tvrkit.manifest import read_manifest


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    manifest = read_manifest(make_data(folder, train=6, val=0, test=9, hard=True, captions=3))
    torch.manual_seed(3)
    model = build_model(tiny_config(write_clip(folder), folder / "manifest.jsonl").model)
    return manifest, model, {split: encode_split(model, manifest, split, reading=HERE) for split in manifest.splits()}

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from backbones import write_backbone
from PIL import Image

from tvrkit.config import ModelConfig
from tvrkit.core import build_model
from tvrkit.core.normalise import Normalise


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
def test_features_of_8_bit_pixels_are_those_of_the_transform(tmp_path, mode):
    path = write_backbone(tmp_path / "own", preprocess={"resize_mode": mode, "mean": [0.5, 0.4, 0.3]})
    model = build_model(ModelConfig(backbone=str(path), pretrained=None, max_words=8))
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 256, (50, 70, 3), np.uint8)) for _ in range(4)]
    whole = torch.stack([model.transform(picture) for picture in pictures]).unflatten(0, (2, 2))
    pixels = torch.stack([torch.from_numpy(model.pixel_transform(picture)) for picture in pictures]).unflatten(
        0, (2, 2)
    )
    assert pixels.dtype == torch.uint8 and pixels.element_size() * 4 == whole.element_size()
    mask = torch.tensor([[True, True], [True, False]])
    with torch.no_grad():
        assert torch.equal(model.encode_frames(pixels, mask), model.encode_frames(whole, mask))
    assert not [name for name in model.state_dict() if "normalise" in name]
    twin = copy.deepcopy(model)
    twin.backbone._normalise = pickle.loads(pickle.dumps(model.backbone._normalise))
    with torch.no_grad():
        assert torch.equal(twin.encode_frames(pixels, mask), model.encode_frames(whole, mask))


def test_pixels_stay_as_they_were():
    pixels = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    assert torch.equal(Normalise([0, 0.5, 1], [1, 0.5, 1])(pixels)[0, :, 0, 0], torch.tensor([1.0, 1.0, 0.0]))
    assert pixels.eq(255).all()

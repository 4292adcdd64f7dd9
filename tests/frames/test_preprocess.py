from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from tvrkit.frames.preprocess import PlainTransform, without_torch


def transform_of(**changes):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    return image_transform_v2(PreprocessCfg(**changes), is_train=False)


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (720, 1280), (1079, 33), (224, 224), (225, 223), (3, 5)])
@pytest.mark.parametrize(
    "changes",
    [
        {"size": 224},
        {"size": 64, "interpolation": "bilinear", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
        {"size": (336, 336)},
        {"size": (256, 192), "resize_mode": "squash"},
    ],
)
def test_the_rebuilt_transform_gives_the_same_bits(changes, size):
    original = transform_of(**changes)
    plain = without_torch(original)
    assert isinstance(plain, PlainTransform)
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8))
    expected = original(picture).numpy()
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(plain(picture), expected)
    assert plain(picture).dtype == np.float32


@pytest.mark.parametrize(
    "changes", [{"size": 64, "resize_mode": "longest"}, {"size": (64, 48), "resize_mode": "shortest"}]
)
def test_any_other_transform_is_left_alone(changes):
    original = transform_of(**changes)
    assert without_torch(original) is original
    assert without_torch(np.asarray) is np.asarray


def test_a_transform_that_only_looks_alike_is_left_alone():
    from torchvision import transforms

    class CenterCrop(transforms.CenterCrop):
        def forward(self, img):
            return super().forward(img.transpose(Image.Transpose.FLIP_LEFT_RIGHT))

    steps = transform_of(size=32).transforms
    turned = transforms.Compose([steps[0], CenterCrop(32), *steps[2:]])
    assert without_torch(turned) is turned


def test_the_rebuilt_transform_reaches_a_process_without_torch():
    import subprocess
    import sys

    pickled = pickle.dumps(without_torch(transform_of(size=64)))
    code = "import pickle, sys; pickle.load(sys.stdin.buffer); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], input=pickled, check=True)

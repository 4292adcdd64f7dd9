from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from tvrkit.core.normalise import Normalise
from tvrkit.frames.preprocess import PictureSteps, PlainTransform, ResizeCrop, in_two_parts, without_torch


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
    assert in_two_parts(np.asarray) is None


CONFIGS = [
    (ResizeCrop, {"size": 224}),
    (ResizeCrop, {"size": 224, "interpolation": "bilinear"}),
    (ResizeCrop, {"size": 64, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}),
    (ResizeCrop, {"size": 64, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}),
    (ResizeCrop, {"size": (336, 336)}),
    (ResizeCrop, {"size": (256, 192), "resize_mode": "squash"}),
    (PictureSteps, {"size": 64, "resize_mode": "longest"}),
    (PictureSteps, {"size": 64, "resize_mode": "longest", "fill_color": 128}),
    (PictureSteps, {"size": (64, 48), "resize_mode": "shortest"}),
]


@pytest.mark.parametrize("size", [(48, 64), (720, 1280), (225, 223), (3, 5)])
@pytest.mark.parametrize(("kind", "changes"), CONFIGS)
def test_8_bit_pixels_normalised_by_torch_are_open_clips_to_the_last_bit(kind, changes, size):
    original = transform_of(**changes)
    parts = in_two_parts(original)
    assert isinstance(parts.pixels, kind)
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8))
    pixels = pickle.loads(pickle.dumps(parts.pixels))(picture)
    assert pixels.dtype == np.uint8
    normalised = Normalise(parts.mean, parts.std)(torch.from_numpy(pixels)[None])[0]
    assert torch.equal(normalised, original(picture))


def test_every_value_of_every_colour_is_normalised_as_torchvision_does():
    from torchvision import transforms

    picture = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    random = np.random.default_rng(0)
    for mean, std in zip(random.random((20, 3)).tolist(), random.uniform(0.1, 1, (20, 3)).tolist(), strict=True):
        expected = transforms.Normalize(mean, std)(transforms.ToTensor()(Image.fromarray(picture)))
        got = Normalise(mean, std)(torch.from_numpy(picture.transpose(2, 0, 1).copy())[None])[0]
        assert torch.equal(got, expected)


def test_transforms_without_these_parts_stay_whole():
    from torchvision import transforms

    for steps in ([transforms.Resize(8), transforms.ToTensor()], [transforms.ToTensor(), transforms.Grayscale()]):
        assert in_two_parts(transforms.Compose(steps)) is None
    drawn = [transforms.RandomCrop(8), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    assert in_two_parts(transforms.Compose(drawn)) is None


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

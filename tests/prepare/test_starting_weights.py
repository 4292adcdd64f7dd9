"""The weights that the package brings for `shapes`, and the command that makes them."""

from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from support import REPO, clean_environment

from tvrkit.core.backbone import build_backbone
from tvrkit.prepare.shapes_events import plan_clips

ASSETS = REPO / "tvrkit/assets/shapes"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pretrain_shapes", REPO / "examples/pretrain_shapes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def backbone():
    return build_backbone("shapes", "shapes", max_words=20)


def test_they_are_small_and_half_precision(backbone):
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) < 4 * 2**20
    assert sum(p.numel() for p in backbone.parameters()) == pytest.approx(1.62e6, rel=0.01)
    assert (ASSETS / "model.safetensors").stat().st_size == pytest.approx(2 * 1.62e6, rel=0.01)


def test_open_clip_itself_takes_the_folder():
    import open_clip
    from safetensors.torch import load_file

    model = open_clip.create_model(f"local-dir:{ASSETS}", load_weights=False)
    model.load_state_dict(load_file(ASSETS / "model.safetensors"), strict=True)


def test_every_caption_fits_and_each_of_its_words_is_one_token(backbone):
    captions = [caption for clip in plan_clips() for caption in clip.captions]
    encoder = backbone.tokenizer.encoder
    assert encoder.vocab_size == backbone.spec.text_cfg["vocab_size"]
    words = {word for caption in captions for word in caption.split()}
    assert all(len(encoder.encode(word)) == 1 for word in words)
    assert max(len(encoder.encode(caption)) for caption in captions) + 2 <= 20
    assert backbone.tokenizer(["a dog surfing"]).word_mask.sum() > 5  # any other word is spelt out


def test_the_byte_pairs_come_out_the_same(script, tmp_path):
    captions = [*(caption for clip in plan_clips() for caption in clip.captions), *script.all_still_captions()]
    script.write_merges(script.learn_merges(captions), tmp_path / "bpe.txt.gz")
    # Compressors differ between versions of zlib; what is in the file may not.
    assert gzip.decompress((tmp_path / "bpe.txt.gz").read_bytes()) == gzip.decompress(
        (ASSETS / "bpe.txt.gz").read_bytes()
    )


def test_merges_join_the_most_frequent_pair_first(script):
    merges = script.learn_merges(["abc abc ab", "xc"])
    # ab 3 times (twice inside, once at the end, which is another symbol): a-b twice, b-c twice, a-b</w> once, x-c once.
    assert merges[0] == ("b", "c</w>") and set(merges[1:]) == {("a", "bc</w>"), ("x", "c</w>"), ("a", "b</w>")}


def test_training_sees_what_the_model_sees_later(script, backbone):
    """The script's shortcut from pixels to tensors is the backbone's own preprocessing."""
    (pixels, captions, meanings), *_ = script.batches(1, 4, 0)
    images = np.clip((pixels.permute(0, 2, 3, 1).numpy() + 1) * 127.5, 0, 255).round().astype(np.uint8)
    own = torch.stack([backbone.transform(Image.fromarray(image)) for image in images])
    torch.testing.assert_close(own, pixels, atol=1e-5, rtol=0)
    assert len(captions) == 4 and meanings.shape == (4,)


def test_they_know_shapes(script, backbone):
    """Of 96 appearances at 9 places, among 200 fresh stills: the still that the caption means is found."""
    (pixels, captions, meanings), *_ = script.batches(1, 200, seed=1234)
    with torch.no_grad():
        images = torch.nn.functional.normalize(backbone.encode_images(pixels), dim=-1)
        texts = torch.nn.functional.normalize(backbone.encode_text(backbone.tokenizer(captions))[0], dim=-1)
    right = meanings[(texts @ images.T).argmax(dim=1)] == meanings
    assert right.float().mean() > 0.5  # chance is 0.005


@pytest.mark.slow
def test_the_command(tmp_path):
    """A few steps of it, as a reader would run it, give a folder that loads."""
    done = subprocess.run(
        [sys.executable, "examples/pretrain_shapes.py", tmp_path / "out", "--steps", "3", "--batch-size", "16"],
        cwd=REPO, env=clean_environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "step 3/3" in done.stdout
    made = tmp_path / "out"
    assert (made / "open_clip_config.json").read_text() == (ASSETS / "open_clip_config.json").read_text()
    fresh = build_backbone(str(made / "open_clip_config.json"), str(made / "model.safetensors"), max_words=20)
    with torch.no_grad():
        assert fresh.encode_images(torch.zeros(1, 3, 64, 64)).isfinite().all()

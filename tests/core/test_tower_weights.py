"""A backbone of an image tower of timm's and a text tower of Hugging Face's, each with weights of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from core.test_hugging_face import WORDS, word_pieces
from safetensors.torch import load_file, save_file

from tvrkit.config import ModelConfig
from tvrkit.core import build_model, load_model, save_model
from tvrkit.core.backbone import build_backbone
from tvrkit.errors import ModelError

CAPTIONS = ["a dog runs over the grass", "two cats, a red couch!"]


def two_towers(folder: Path, image_size: int = 160, **changes: object) -> Path:
    """The folder that docs/towers.md describes, with small towers that were never trained."""
    import transformers

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    image = timm.create_model("test_vit")  # made for 160 pixels, with a classifier
    save_file(image.state_dict(), folder / "vit.safetensors")
    word_pieces(folder)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    text = transformers.BertForMaskedLM(config)
    transformers.BertForMaskedLM.save_pretrained(text, folder)  # names begin with `bert.`, and it has a head
    (folder / "model.safetensors").rename(folder / "bert.safetensors")
    tree = {
        "model_cfg": {
            "embed_dim": 32,
            "vision_cfg": {
                "timm_model_name": "test_vit",
                "timm_pool": "token",
                "timm_proj": "linear",
                "image_size": image_size,
            },
            "text_cfg": {
                "hf_model_name": "bert",
                "hf_tokenizer_name": "bert",
                "hf_pooler_type": "mean_pooler",
                "hf_proj_type": "linear",
                "context_length": 20,
            },
        },
        "tower_weights": {"image": "vit.safetensors", "text": "bert.safetensors"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(tree | changes))
    return folder


def test_each_tower_has_its_own_weights(tmp_path):
    import transformers

    folder = two_towers(tmp_path / "towers")
    backbone = build_backbone(str(folder), None, max_words=16)
    image = timm.create_model("test_vit", num_classes=0).eval()
    image.load_state_dict({k: v for k, v in load_file(folder / "vit.safetensors").items() if not k.startswith("head.")})
    pixels = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        assert torch.equal(backbone.clip.visual.trunk(pixels), image(pixels))
    own = backbone.clip.text.transformer.state_dict()
    given = load_file(folder / "bert.safetensors")
    assert own and all(torch.equal(value, given[f"bert.{name}"]) for name, value in own.items())
    tokens = backbone.tokenizer(CAPTIONS)
    with torch.inference_mode():
        sentence, words = backbone.encode_text(tokens)
    assert sentence.shape == (2, 32) and words.shape == (2, 16, 32)
    assert issubclass(transformers.BertModel, type(backbone.clip.text.transformer))


def test_another_image_size_resizes_the_positions(tmp_path):
    backbone = build_backbone(str(two_towers(tmp_path / "towers", image_size=96)), None, max_words=16)
    assert backbone.transform.transforms[0].size in (96, (96, 96), [96, 96])
    with torch.inference_mode():
        assert backbone.encode_images(torch.randn(1, 3, 96, 96)).shape == (1, 32)
    whole = timm.create_model("test_vit", num_classes=0).pos_embed.shape[1]
    assert backbone.clip.visual.trunk.pos_embed.shape[1] < whole


def test_a_saved_model_needs_the_files_no_more(tmp_path):
    folder = two_towers(tmp_path / "towers")
    torch.manual_seed(1)
    model = build_model(ModelConfig(backbone=str(folder), pretrained=None, num_frames=2, max_words=16))
    save_model(model, tmp_path / "saved")
    for path in folder.iterdir():
        path.unlink()
    again = load_model(tmp_path / "saved")
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize(
    ("tower_weights", "words"),
    [
        ({"image": "../outside.safetensors"}, "lies outside its folder"),
        ({"image": "nothing.safetensors"}, "which is not in"),
        ({"sound": "vit.safetensors"}, "tower_weights for 'sound', and there are image and text"),
        ({"image": "bert.safetensors"}, "do not fit this model: missing"),
        ("vit.safetensors", "tower_weights must be an object"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(tmp_path, tower_weights, words):
    folder = two_towers(tmp_path / "towers", tower_weights=tower_weights)
    with pytest.raises(ModelError, match=words):
        build_backbone(str(folder), None, max_words=16)


def test_towers_of_open_clips_own_take_a_whole_models_weights(tmp_path):
    from backbones import write_backbone

    path = write_backbone(tmp_path / "clip")
    (path.parent / "vit.safetensors").write_bytes(b"")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tower_weights": {"image": "vit.safetensors"}}))
    with pytest.raises(ModelError, match="whose tower is not timm's"):
        build_backbone(str(path), None, max_words=16)

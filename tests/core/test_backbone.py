from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import open_clip
import pytest
import torch
from backbones import KINDS, write_backbone
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from tvrkit.core.backbone import Backbone, build_backbone
from tvrkit.core.catalogue import DEFAULT_SEARCH_BACKBONE
from tvrkit.core.spec import find_spec, pretrained_tags
from tvrkit.errors import ModelError, WeightsUnavailableError

CAPTIONS = ["a dog runs over the grass", "", "two cats, a red couch & 3 people!", "one"]
TRIMMED = {"clip": True, "clip_quickgelu": True, "resnet": True, "custom": True}


def own(tmp_path: Path, kind: str, max_words: int = 16, **options) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(str(write_backbone(tmp_path / kind, kind)), None, max_words=max_words, **options)


def full_ids(backbone: Backbone, captions: list[str] = CAPTIONS) -> torch.Tensor:
    """What open_clip itself feeds its tower: every position of the context."""
    clean = (backbone.spec.text_cfg.get("tokenizer_kwargs") or {}).get("clean", "lower")
    return open_clip.tokenizer.SimpleTokenizer(context_length=backbone.context_length, clean=clean)(captions)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_features_are_open_clips(tmp_path: Path, kind: str) -> None:
    backbone = own(tmp_path, kind)
    tokens = backbone.tokenizer(CAPTIONS)
    assert tokens.ids.shape[1] == (16 if kind in TRIMMED else backbone.context_length)
    sentence, words = backbone.encode_text(tokens)
    torch.testing.assert_close(sentence, backbone.clip.encode_text(full_ids(backbone), normalize=False))
    assert words.shape == (4, 16, backbone.dim) == (*tokens.word_mask.shape, backbone.dim)
    pixels = torch.randn(3, 3, 32, 32)
    assert torch.equal(backbone.encode_images(pixels), backbone.clip.encode_image(pixels, normalize=False))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_word_features_are_the_projected_states(tmp_path: Path, kind: str) -> None:
    """Against a tower made to hand out its last hidden states: projecting them by hand gives the word features."""
    backbone = own(tmp_path, kind)
    tower = getattr(backbone.clip, "text", backbone.clip)
    states: list[torch.Tensor] = []
    tower.ln_final.register_forward_hook(lambda module, args, out: states.append(out))
    if kind == "coca":
        _, words = backbone.encode_text(backbone.tokenizer(CAPTIONS))
        hidden = next(state for state in states if state.ndim == 3)
    else:
        backbone.clip.encode_text(full_ids(backbone), normalize=False)
        hidden = states[0]
        _, words = backbone.encode_text(backbone.tokenizer(CAPTIONS))
    projection = tower.text_projection
    weight, bias = (
        (projection.weight.T, projection.bias) if isinstance(projection, torch.nn.Linear) else (projection, 0)
    )
    torch.testing.assert_close(words, (hidden @ weight + bias)[:, :16])


@torch.no_grad()
def test_the_sentence_is_the_word_feature_of_its_end_token(tmp_path: Path) -> None:
    backbone = own(tmp_path, "clip")
    tokens = backbone.tokenizer(CAPTIONS)
    sentence, words = backbone.encode_text(tokens)
    end = tokens.word_mask.sum(1) - 1
    assert torch.equal(sentence, words[torch.arange(4), end])


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_text_does_not_depend_on_its_batch(tmp_path: Path, kind: str) -> None:
    backbone = own(tmp_path, kind)
    together = backbone.encode_text(backbone.tokenizer(CAPTIONS))
    for i, caption in enumerate(CAPTIONS):
        alone = backbone.encode_text(backbone.tokenizer([caption]))
        torch.testing.assert_close(alone[0][0], together[0][i])
        torch.testing.assert_close(alone[1][0], together[1][i])


@torch.no_grad()
def test_a_long_text_ends_where_max_words_ends(tmp_path: Path) -> None:
    backbone = own(tmp_path, "clip", max_words=6)
    long, short = backbone.encode_text(backbone.tokenizer(["a dog runs fast over the grass", "a dog runs fast"]))[0]
    torch.testing.assert_close(long, short)


@pytest.mark.parametrize("kind", ["clip", "custom", "siglip"])
def test_gradients_reach_the_text_tower(tmp_path: Path, kind: str) -> None:
    backbone = own(tmp_path, kind).train()
    sentence, words = backbone.encode_text(backbone.tokenizer(CAPTIONS))
    (sentence.sum() + words.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.text_parameters())
    assert all(p.grad is None for p in backbone.vision_parameters())


def test_towers_part_the_parameters(tmp_path: Path) -> None:
    for kind in KINDS:
        backbone = own(tmp_path, kind)
        towers = {id(p) for p in backbone.vision_parameters()} | {id(p) for p in backbone.text_parameters()}
        rest = [name for name, p in backbone.clip.named_parameters() if id(p) not in towers]
        assert set(rest) <= {"logit_scale", "logit_bias"}


def test_random_weights_come_from_torchs_seed(tmp_path: Path) -> None:
    first, second = own(tmp_path, "clip").state_dict(), own(tmp_path, "clip").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_preprocessing_is_open_clips(tmp_path: Path) -> None:
    options = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear", "resize_mode": "squash"}
    path = write_backbone(tmp_path / "own", preprocess=options)
    backbone = build_backbone(str(path), None, max_words=8)
    expected = image_transform_v2(PreprocessCfg(size=32, **options), is_train=False)
    image = Image.effect_noise((90, 50), 80).convert("RGB")
    # It goes to worker processes, so it must survive pickling.
    transform = pickle.loads(pickle.dumps(backbone.transform))
    assert torch.equal(transform(image), expected(image))
    assert transform(image).shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("ViT-B-32", "openai"),
        ("PE-Core-B-16", "meta"),
        ("ViT-L-14", "laion2b_s32b_b82k"),
        ("MobileCLIP2-S0", "dfndr2b"),
    ],
)
def test_a_tags_preprocessing_comes_with_it(name: str, tag: str) -> None:
    config = open_clip.get_pretrained_cfg(name, tag)
    given = find_spec(name, tag).preprocess_cfg
    assert given == {key: config[key] for key in ("mean", "std", "interpolation", "resize_mode")}


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        ("ViT-B-32", "openai", True),
        ("ViT-B-16", "dfn2b", True),
        ("ViT-B-32", "metaclip_400m", True),
        ("ViT-B-32-quickgelu", "openai", True),
        ("ViT-B-32", "laion2b_s34b_b79k", False),
        ("ViT-B-32", None, False),
    ],
)
def test_quick_gelu_follows_the_weights(name: str, tag: str | None, expected: bool) -> None:
    # open_clip only warns of this mismatch, and the features are then off.
    assert bool(find_spec(name, tag).model_cfg.get("quick_gelu", False)) is expected


def test_looking_up_a_spec_does_not_touch_open_clips_own() -> None:
    find_spec("ViT-B-32", "openai")
    assert not open_clip.get_model_config("ViT-B-32").get("quick_gelu", False)


def test_bare_and_wrapped_configs_and_folders_are_the_same(tmp_path: Path) -> None:
    wrapped = write_backbone(tmp_path / "wrapped")
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(KINDS["clip"]))
    specs = [find_spec(str(path)).model_cfg for path in (wrapped, bare, wrapped.parent)]
    assert specs[0] == specs[1] == specs[2] == KINDS["clip"]


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-B-23", None, r"there is no backbone 'ViT-B-23'; the nearest are .*ViT-B-32"),
        ("vit-b-32", None, r"the nearest are ViT-B-32"),
        ("ViT-B-32", "opnai", r"neither a file nor a tag of ViT-B-32; the nearest are openai"),
        ("PE-Core-S-16-384", "openai", r"neither a file nor a tag of PE-Core-S-16-384; it has meta\."),
        ("nowhere.json", None, r"cannot read the backbone config nowhere.json: No such file"),
        ("shapes", "openai", r"neither a file nor a tag of shapes; it has shapes\."),
    ],
)
def test_unknown_names_are_answered_with_known_ones(name: str, pretrained: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_backbone(name, pretrained, max_words=8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no valid JSON"),
        ("[]", "is no open_clip config: it needs embed_dim, vision_cfg, text_cfg"),
        ('{"embed_dim": 8}', "is no open_clip config"),
        ('{"embed_dim": "8", "vision_cfg": {}, "text_cfg": {}}', "is no open_clip config"),
        (json.dumps({**KINDS["clip"], "colour": 1}), "open_clip cannot build this backbone: .*colour"),
        (
            json.dumps({**KINDS["clip"], "vision_cfg": {"timm_model_name": "no_such_model"}}),
            "open_clip cannot build this backbone: Unknown model",
        ),
        (
            json.dumps({"model_cfg": KINDS["clip"], "preprocess_cfg": {"resize_mode": "odd"}}),
            "preprocess_cfg cannot be",
        ),
        (json.dumps({"model_cfg": KINDS["clip"], "preprocess_cfg": 3}), "preprocess_cfg must be an object"),
    ],
)
def test_bad_configs_are_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=message) as caught:
        build_backbone(str(path), None, max_words=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bpe", ["../bpe.txt.gz", "/etc/passwd", "absent.txt.gz"])
def test_a_config_reads_no_file_outside_its_folder(tmp_path: Path, bpe: str) -> None:
    path = write_backbone(tmp_path / "own")
    (tmp_path / "bpe.txt.gz").write_bytes(b"")
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] = {**config["model_cfg"]["text_cfg"], "tokenizer_kwargs": {"bpe_path": bpe}}
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="names .* which (lies outside|is not in)"):
        build_backbone(str(path), None, max_words=8)


def test_a_tokenizer_of_ones_own(tmp_path: Path) -> None:
    import gzip

    path = write_backbone(tmp_path / "own")
    config = json.loads(path.read_text())
    text_cfg = config["model_cfg"]["text_cfg"]
    text_cfg |= {"vocab_size": 512 + 2 + 2, "tokenizer_kwargs": {"bpe_path": "bpe.txt.gz"}}
    path.write_text(json.dumps(config))
    (path.parent / "bpe.txt.gz").write_bytes(gzip.compress(b"#version\nd o\ndo g</w>"))
    backbone = build_backbone(str(path), None, max_words=8, key_words=True)
    tokens = backbone.tokenizer(["a dog"])
    assert tokens.word_mask.sum() == 4  # start, a, dog, end
    assert backbone.encode_text(tokens)[0].shape == (1, 32)
    # One token more than the tower has an embedding for would fail at the first rare word.
    (path.parent / "bpe.txt.gz").write_bytes(gzip.compress(b"#version\nd o\ndo g</w>\nc a"))
    with pytest.raises(ModelError, match=r"has 517 tokens, and its text tower knows 516"):
        build_backbone(str(path), None, max_words=8)


def test_without_a_network_the_sentence_names_the_weights() -> None:
    with pytest.raises(WeightsUnavailableError, match=r"^the weights ViT-B-32/openai must be downloaded from timm/"):
        build_backbone("ViT-B-32", "openai", max_words=8)


def test_building_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    own(tmp_path, "custom")
    assert capfd.readouterr() == ("", "")
    assert (list(root.handlers), root.level) == (handlers, level)


def test_the_default_search_backbone_exists() -> None:
    name, tag = DEFAULT_SEARCH_BACKBONE.split("/")
    assert tag in pretrained_tags(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ViT-B-32", "PE-Core-T-16-384", "PE-Core-S-16-384", "MobileCLIP2-S0", "coca_ViT-B-32", "RN50"]
)
@torch.no_grad()
def test_real_architectures(name: str) -> None:
    backbone = build_backbone(name, None, max_words=32)
    ids = open_clip.get_tokenizer(name)(CAPTIONS)
    sentence, words = backbone.encode_text(backbone.tokenizer(CAPTIONS))
    torch.testing.assert_close(sentence, backbone.clip.encode_text(ids, normalize=False), atol=1e-4, rtol=1e-4)
    assert words.shape == (4, 32, backbone.dim)
    size = backbone.preprocess_cfg["size"]
    pixels = torch.stack([backbone.transform(Image.effect_noise((320, 240), 60).convert("RGB"))])
    assert pixels.shape[2:] == ((size, size) if isinstance(size, int) else tuple(size))
    assert torch.equal(backbone.encode_images(pixels), backbone.clip.encode_image(pixels, normalize=False))


@pytest.mark.slow
@torch.no_grad()
def test_the_real_siglip_tower(tmp_path: Path) -> None:
    # Its own vocabulary would have to be downloaded; the tower is the same with CLIP's.
    model_cfg = open_clip.get_model_config("ViT-B-16-SigLIP")
    del model_cfg["text_cfg"]["hf_tokenizer_name"]
    model_cfg["text_cfg"]["vocab_size"] = 49408
    path = tmp_path / "siglip.json"
    path.write_text(json.dumps(model_cfg))
    backbone = build_backbone(str(path), None, max_words=32)
    sentence, words = backbone.encode_text(backbone.tokenizer(CAPTIONS))
    expected = backbone.clip.encode_text(full_ids(backbone), normalize=False)
    torch.testing.assert_close(sentence, expected, atol=1e-4, rtol=1e-4)
    assert words.shape == (4, 32, 768)

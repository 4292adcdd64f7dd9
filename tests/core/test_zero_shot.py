"""Zero-shot models by name, from files and from folders: real weights, saved here."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

import tvrkit
from tvrkit.core import load_model, save_model
from tvrkit.core.architecture import build_clip
from tvrkit.core.spec import find_spec, find_weights, unclear_activation
from tvrkit.core.zero_shot import zero_shot_config
from tvrkit.errors import ModelError

SHAPES = Path(tvrkit.__file__).parent / "assets" / "shapes"
CAPTIONS = ["a small red circle", "a big blue star moves left"]


def sentences(model):
    with torch.no_grad():
        return model.encode_text(model.tokenize(CAPTIONS)).text_features


@pytest.fixture(scope="module")
def shapes():
    return sentences(load_model("shapes/shapes"))


@pytest.mark.parametrize(
    ("name", "backbone", "tag"),
    [
        ("ViT-B-32/openai", "ViT-B-32", "openai"),
        ("ViT-B/32/openai", "ViT-B/32", "openai"),
        ("ViT-B-32", "ViT-B-32", "openai"),
        ("PE-Core-S-16-384", "PE-Core-S-16-384", "meta"),
        ("shapes", "shapes", "shapes"),
        ("shapes/shapes", "shapes", "shapes"),
    ],
)
def test_names_of_zero_shot_models(name, backbone, tag):
    config = zero_shot_config(name)
    assert (config.backbone, config.pretrained) == (backbone, tag)
    assert (config.interaction, config.temporal) == ("dot_product", "mean")
    # The whole context: zero-shot features are exactly the backbone's own.
    assert config.max_words == {"ViT-B-32": 77, "ViT-B/32": 77, "PE-Core-S-16-384": 32}.get(backbone, config.max_words)


def test_a_known_backbone_with_weights_in_a_file(tmp_path, shapes, monkeypatch):
    file = tmp_path / "own.safetensors"
    shutil.copy(SHAPES / "model.safetensors", file)
    model = load_model(f"shapes={file}")
    assert (model.config.interaction, model.config.temporal, model.config.num_frames) == ("dot_product", "mean", 12)
    assert torch.equal(sentences(model), shapes)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert torch.equal(sentences(load_model("shapes=~/own.safetensors")), shapes)


def test_a_folder_as_open_clip_publishes_it(tmp_path, shapes):
    folder = tmp_path / "from the hub"
    shutil.copytree(SHAPES, folder)
    (folder / "model.safetensors").rename(folder / "open_clip_model.safetensors")
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"the same in another format")
    for source in (folder, str(folder), folder / "open_clip_config.json"):
        assert torch.equal(sentences(load_model(source)), shapes)


def test_weights_beside_a_config_under_any_name(tmp_path, shapes):
    folder = tmp_path / "towers"
    shutil.copytree(SHAPES, folder)
    torch.save(build_and_load(folder), folder / "weights.pt")
    (folder / "model.safetensors").unlink()
    assert torch.equal(sentences(load_model(folder)), shapes)
    other = shutil.copy(SHAPES / "model.safetensors", tmp_path / "a=b.safetensors")
    assert torch.equal(sentences(load_model(f"{folder}={other}")), shapes)
    assert torch.equal(sentences(load_model(f"{folder / 'open_clip_config.json'}={other}")), shapes)
    shutil.copy(other, folder / "second.safetensors")
    with pytest.raises(
        ModelError, match=r"several weights files \(second.safetensors, weights.pt\): say which one .*="
    ):
        load_model(folder)
    for file in ("second.safetensors", "weights.pt"):
        (folder / file).unlink()
    with pytest.raises(ModelError, match=r"beside .*open_clip_config.json there is no weights file: .*=FILE\.$"):
        load_model(folder)


def build_and_load(folder):
    from tvrkit.core.weights import load_weights, read_weights

    clip = build_clip(find_spec(str(folder)))
    load_weights(clip, read_weights(SHAPES / "model.safetensors"), "the built-in weights")
    return clip.state_dict()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ViT-B-32=nowhere.pt", r"^ViT-B-32=nowhere.pt: there is no weights file nowhere.pt\.$"),
        ("ViT-B-33={file}", r"'ViT-B-33' is neither .* open_clip name/tag; the nearest are ViT-B-32"),
        ("ViT-B-32/opnai={file}", r"neither a file nor a tag of ViT-B-32; the nearest are openai"),
        ("RN50={file}", r"the weights in .* do not fit this model"),
        (
            "nowhere/open_clip_config.json",
            r"cannot read .* nowhere/open_clip_config.json: No such file",
        ),
        ("nowhere.json={file}", r"cannot read the backbone config nowhere.json"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, source, message):
    file = shutil.copy(SHAPES / "model.safetensors", tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=message) as caught:
        load_model(source.format(file=file))
    assert "\n" not in str(caught.value)


def test_a_file_without_a_name_is_asked_for_it(tmp_path):
    file = shutil.copy(SHAPES / "model.safetensors", tmp_path / "weights.safetensors")
    said = rf"^which backbone is {file}\? \(by its size it could be shapes\) Say so, as in shapes={file}\.$"
    with pytest.raises(ModelError, match=said):
        load_model(file)
    save_file({"visual.x": torch.zeros(3)}, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match=r"odd.safetensors\? Say so, as in ViT-B-16="):
        load_model(tmp_path / "odd.safetensors")
    save_model(load_model("shapes/shapes"), tmp_path / "run")
    with pytest.raises(ModelError, match="belongs to a model of tvrkit: give the folder that it lies in, not the file"):
        load_model(tmp_path / "run" / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "first"),
    [("ViT-B-32", "ViT-B-32"), ("PE-Core-S-16-384", "PE-Core-S-16-384"), ("RN50", "RN50"), ("ViT-L-14-336", None)],
)
def test_sizes_tell_backbones_apart(name, first):
    """By the numbers that lie in a file: those of running statistics and masks too."""
    from tvrkit.core.catalogue import fitting
    from tvrkit.core.zero_shot import _sizes

    with torch.device("meta"):
        clip = build_clip(find_spec(name))
    found = fitting(*_sizes({**dict(clip.state_dict()), **dict(clip.named_buffers())}))
    assert found[0] == (first or name)
    assert not {"ViT-H-14", "ViT-S-16"} & set(found)


def test_a_tag_before_a_file_brings_its_preprocessing_and_activation(tmp_path):
    file = tmp_path / "w.pt"
    file.write_bytes(b"")
    as_tag = f"openai={file}"
    assert find_spec("ViT-B-32", as_tag) == find_spec("ViT-B-32", "openai")
    assert find_weights("ViT-B-32", as_tag) == file
    assert find_spec("ViT-L-14", f"laion2b_s32b_b82k={file}").preprocess_cfg["mean"] == (0.5, 0.5, 0.5)
    config = zero_shot_config(f"ViT-B-16/dfn2b={file}")
    assert (config.backbone, config.pretrained, config.max_words) == ("ViT-B-16", f"dfn2b={file}", 77)


def test_a_bare_file_is_taken_as_what_all_tags_share(tmp_path):
    file = str(tmp_path / "w.safetensors")
    # All of PE-Core's are normalised to -1 ... 1 and squashed; open_clip's default is another.
    assert find_spec("PE-Core-S-16-384", file).preprocess_cfg == find_spec("PE-Core-S-16-384", "meta").preprocess_cfg
    assert find_spec("ViT-L-14", file).preprocess_cfg == {}
    assert find_spec("ViT-L-14-336", file).model_cfg["quick_gelu"] is True
    assert not find_spec("ViT-B-32", file).model_cfg.get("quick_gelu")
    assert unclear_activation("PE-Core-S-16-384", file) == unclear_activation("ViT-L-14-336", file) == ""
    assert unclear_activation("ViT-B-32", "openai") == unclear_activation("ViT-B-32", f"openai={file}") == ""
    assert unclear_activation("ViT-B-16", file).startswith(
        "some weights of ViT-B-16 were trained with QuickGELU (opena"
    )
    assert unclear_activation("ViT-B-16", file).endswith(f"if it is of openai, name it ViT-B-16/openai={file}.")


def standard(name: str, file: Path) -> Path:
    """Random weights of a real architecture."""
    torch.manual_seed(0)
    save_file(build_clip(find_spec(name)).state_dict(), file)
    return file


@pytest.mark.slow
def test_a_real_architecture_from_a_file_is_open_clips_own(tmp_path, caplog):
    file = standard("ViT-B-32", tmp_path / "weights.safetensors")
    for source, quick in ((f"ViT-B-32={file}", False), (f"ViT-B-32/openai={file}", True)):
        caplog.clear()
        model = load_model(source)
        theirs, _, preprocess = open_clip.create_model_and_transforms(
            "ViT-B-32-quickgelu" if quick else "ViT-B-32", pretrained=str(file)
        )
        ids = open_clip.get_tokenizer("ViT-B-32")(CAPTIONS)
        with torch.no_grad():
            torch.testing.assert_close(sentences(model), theirs.eval().encode_text(ids, normalize=True))
        assert [r.message[:30] for r in caplog.records if r.levelno == logging.WARNING and r.name == "tvrkit.core"] == (
            [] if quick else ["some weights of ViT-B-32 were t"[:30]]
        )
    with pytest.raises(ModelError, match=r"by its size it could be ViT-B-32, "):
        load_model(file)

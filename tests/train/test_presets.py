from __future__ import annotations

import dataclasses

import pytest
from support import REPO

from tvrkit.config import Config, load_config, preset_names

PUBLISHED = {  # frames, words, epochs, batch, data set, backbone
    "msrvtt-b32": (12, 32, 5, 128, "msrvtt", "ViT-B-32-quickgelu"),
    "msrvtt-b16": (12, 32, 5, 128, "msrvtt", "ViT-B-16-quickgelu"),
    "msvd-b32": (12, 32, 5, 128, "msvd", "ViT-B-32-quickgelu"),
    "didemo-b32": (64, 64, 20, 64, "didemo", "ViT-B-32-quickgelu"),
    "activitynet-b32": (64, 64, 20, 112, "activitynet", "ViT-B-32-quickgelu"),
}


def test_every_preset_loads():
    assert set(preset_names()) == {"tiny", "folder", *PUBLISHED}
    for name in preset_names():
        load_config(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_presets_are_the_whole_method_with_the_papers_recipe(name):
    config = load_config(name)
    model, loss, train = config.model, config.loss, config.train
    assert (model.num_frames, model.max_words, train.epochs, train.batch_size) == PUBLISHED[name][:4]
    assert (config.data.dataset, model.backbone, model.pretrained) == (*PUBLISHED[name][4:], "openai")
    assert (model.temporal, model.temporal_layers, model.text_side) == ("transformer", 4, "both")
    assert model.interaction == "weighted_token_wise" and model.key_words and model.nearest_frame
    assert (loss.name, loss.logit_scale, loss.negative_margin) == ("neg_nce", 100, 0)
    assert (loss.positive_weight, loss.negative_weight) == (1.0, 0.5)
    assert loss.partial_weight > 0 and loss.partial_threshold == 0.6
    assert (train.lr, train.clip_lr, train.weight_decay) == (1e-4, 1e-7, 0.2)
    assert (train.betas, train.eps, train.warmup, train.clip_gradient) == ((0.9, 0.98), 1e-6, 0.1, 1.0)
    assert train.freeze == "none" and config.data.captions == "all"


def test_the_ablations_of_the_documentation_are_configs():
    base = [
        "model.temporal=mean",
        "model.interaction=dot_product",
        "model.key_words=false",
        "model.nearest_frame=false",
    ]
    config = load_config("msrvtt-b32", [*base, "loss.name=info_nce", "loss.partial_weight=0"])
    assert config.model.interaction == "dot_product" and config.loss.partial_weight == 0
    page = (REPO / "docs" / "training.md").read_text(encoding="utf-8")
    for override in [*base, "loss.name=info_nce", "loss.partial_weight=0"]:
        assert f"--set {override}" in page


def test_the_documentation_lists_every_preset_and_every_key_with_its_default():
    page = (REPO / "docs" / "training.md").read_text(encoding="utf-8")
    for name in preset_names():
        assert f"`{name}`" in page
    words = {None: "null", True: "true", False: "false"}
    for section in dataclasses.fields(Config):
        for key, value in dataclasses.asdict(getattr(Config(), section.name)).items():
            default = words.get(value) if value is None or isinstance(value, bool) else value
            default = list(default) if isinstance(default, tuple) else default
            assert f"| `{section.name}.{key}` | `{default}` |" in page

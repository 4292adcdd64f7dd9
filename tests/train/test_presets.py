from __future__ import annotations

import dataclasses
import re

import pytest
import yaml
from support import REPO

from tvrkit.config import PRESETS, Config, load_config, preset_names

DATA = {  # frames, words, epochs, batch (method: CLIP4Clip, TS2-Net, X-CLIP)
    "msrvtt": (12, 32, 5, 128),
    "msvd": (12, 32, 5, 128),
    "didemo": (64, 64, 20, 64),
    "activitynet": (64, 64, 20, 112),
}
BACKBONES = {  # open_clip's name and tag, and the most tokens that its text tower reads
    "b32": ("ViT-B-32-quickgelu", "openai", 77),
    "b16": ("ViT-B-16-quickgelu", "openai", 77),
    "pe-b16": ("PE-Core-B-16", "meta", 32),
    "siglip2-b16": ("ViT-B-16-SigLIP2", "webli", 64),
    "mobileclip2": ("MobileCLIP2-S2", "dfndr2b", 77),
}
PUBLISHED = {f"{data}-{backbone}": (data, backbone) for data in DATA for backbone in BACKBONES}


def test_every_preset_loads():
    assert set(preset_names()) == {"tiny", "folder", "msrvtt-mini", *PUBLISHED}
    for name in preset_names():
        load_config(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_presets_are_the_whole_method_with_the_papers_recipe(name):
    data, backbone = PUBLISHED[name]
    config = load_config(name)
    model, loss, train = config.model, config.loss, config.train
    frames, words, epochs, batch = DATA[data]
    architecture, tag, context = BACKBONES[backbone]
    assert (model.num_frames, model.max_words) == (frames, min(words, context))
    assert (train.epochs, train.batch_size, config.data.dataset) == (epochs, batch, data)
    assert (model.backbone, model.pretrained) == (architecture, tag)
    assert (model.temporal, model.temporal_layers, model.text_side) == ("transformer", 4, "both")
    assert model.interaction == "weighted_token_wise" and model.key_words and model.nearest_frame
    assert (loss.name, loss.logit_scale, loss.negative_margin) == ("neg_nce", 100, 0)
    assert (loss.positive_weight, loss.negative_weight) == (1.0, 0.5)
    assert loss.partial_weight > 0 and loss.partial_threshold == 0.6
    assert (train.lr, train.clip_lr, train.weight_decay) == (1e-4, 1e-7, 0.2)
    assert (train.betas, train.eps, train.warmup, train.clip_gradient) == ((0.9, 0.98), 1e-6, 0.1, 1.0)
    assert train.freeze == "none" and config.data.captions == "all"


def test_presets_name_backbones_and_tags_that_open_clip_has():
    from tvrkit.core.spec import find_spec, pretrained_tags

    for architecture, tag, context in BACKBONES.values():
        assert tag in pretrained_tags(architecture)
        assert find_spec(architecture, tag).text_cfg.get("context_length", 77) == context


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_value_of_a_published_preset_has_its_source(name):
    lines = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    for line in lines:
        if match := re.match(r"  (\w+): ", line):
            told = match[1] in ("dataset", "pretrained")  # these follow from the preset's name and its backbone
            source = re.search(r"# .*(the paper|CLIP4Clip|TS2-Net|X-CLIP|DRL|ours|its text tower)", line)
            assert told or source, f"{name}: {line}"


def test_a_preset_with_a_base_says_what_is_different_and_nothing_else():
    for path in PRESETS.glob("*.yaml"):
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "base" in tree:
            base = load_config(tree.pop("base"))
            own = load_config(path.stem)
            for section, keys in tree.items():
                said = path.read_text(encoding="utf-8")
                for key, value in keys.items():
                    changed = getattr(getattr(base, section), key) != value
                    # A rate that is kept on purpose is written out with the reason.
                    kept = re.search(rf"  {key}: .*#", said)
                    assert changed or kept, f"{path.name}: {section}.{key} is its base's"
                    assert getattr(getattr(own, section), key) == value


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


def test_the_documentation_lists_every_preset():
    page = (REPO / "docs" / "recipes.md").read_text(encoding="utf-8")
    for name in preset_names():
        assert f"`{name}`" in page


def test_the_documentation_lists_every_key_with_its_default():
    page = (REPO / "docs" / "training.md").read_text(encoding="utf-8")
    words = {None: "null", True: "true", False: "false"}
    for section in dataclasses.fields(Config):
        for key, value in dataclasses.asdict(getattr(Config(), section.name)).items():
            default = words.get(value) if value is None or isinstance(value, bool) else value
            default = f"[{', '.join(map(str, default))}]" if isinstance(default, tuple) else default
            assert f"| `{section.name}.{key}` | `{default}` |" in page

"""Layers told from parameters' names, for every kind of tower that open_clip has."""

from __future__ import annotations

import pytest
import torch
from backbones import KINDS

from tvrkit.core.architecture import build_clip
from tvrkit.core.spec import BackboneSpec, find_spec
from tvrkit.errors import ConfigError
from tvrkit.train.depth import distances


def of_spec(spec):
    with torch.device("meta"):
        names = [name for name, _ in build_clip(spec).named_parameters()]
    return distances([name for name in names if not name.startswith("text_decoder.")])


@pytest.mark.parametrize("kind", KINDS)
def test_small_ones_of_each_kind(kind):
    found = of_spec(BackboneSpec(KINDS[kind], {}))
    image = {name: away for name, away in found.items() if name.startswith("visual.")}
    text = {name: away for name, away in found.items() if name not in image}
    layers = KINDS[kind]["vision_cfg"]["layers"]
    assert set(image.values()) == set(range((sum(layers) if isinstance(layers, list) else layers) + 2))
    assert set(text.values()) == set(range(KINDS[kind]["text_cfg"]["layers"] + 2))
    embedding = next(name for name in text if name.endswith("token_embedding.weight"))
    assert text[embedding] == max(text.values()) and text["logit_scale"] == 0
    assert image["visual.conv1.weight"] == max(image.values())


# Name of a parameter -> layers behind it, counted from the towers' own depths.
REAL = {
    "ViT-B-32": {"visual.transformer.resblocks.11.ln_1.weight": 1, "visual.conv1.weight": 13, "ln_final.bias": 0},
    "RN50": {
        "visual.layer4.2.conv1.weight": 1,
        "visual.layer1.0.downsample.0.weight": 16,
        "visual.bn3.weight": 17,
        "visual.attnpool.positional_embedding": 0,
    },
    "PE-Core-T-16-384": {
        "visual.trunk.blocks.0.norm1.weight": 12,
        "visual.trunk.pos_embed": 13,
        "visual.trunk.head.weight": 0,
    },
    "ViT-B-16-SigLIP2": {
        "visual.trunk.attn_pool.latent": 0,
        "visual.trunk.norm.weight": 0,
        "text.token_embedding.weight": 13,
    },
    "MobileCLIP2-S0": {
        "visual.trunk.stages.3.blocks.1.layer_scale_1.gamma": 1,
        "visual.trunk.stem.0.conv_kxk.0.conv.weight": 21,
        "visual.trunk.final_conv.conv_scale.conv.weight": 0,
    },
    "convnext_tiny": {"visual.trunk.stages.3.downsample.1.weight": 3, "visual.trunk.stages.0.blocks.0.gamma": 18},
    "coca_ViT-B-32": {"visual.attn_pool.query": 0, "text.cls_emb": 13, "text.transformer.resblocks.0.ln_1.bias": 12},
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_published_ones(name):
    found = of_spec(find_spec(name))
    wanted = {parameter: away for parameter, away in REAL[name].items() if parameter in found}
    assert wanted == REAL[name], sorted(found)
    assert {parameter: found[parameter] for parameter in wanted} == wanted


def test_towers_of_transformers():
    """BERT's, T5's encoder's and NLLB's names, as transformers 4 and 5 give them under open_clip's tower."""
    visual = {"visual.conv1.weight": 2, "visual.transformer.resblocks.0.ln_1.weight": 1}
    bert = {
        "text.transformer.embeddings.word_embeddings.weight": 3,
        "text.transformer.encoder.layer.0.attention.self.query.weight": 2,
        "text.transformer.encoder.layer.1.output.dense.bias": 1,
        "text.transformer.pooler.dense.weight": 0,
        "text.proj.0.weight": 0,
    }
    t5 = {
        "text.transformer.embed_tokens.weight": 3,
        "text.transformer.block.0.layer.0.SelfAttention.relative_attention_bias.weight": 2,
        "text.transformer.block.0.layer.1.layer_norm.weight": 2,
        "text.transformer.block.1.layer.0.layer_norm.weight": 1,
        "text.transformer.final_layer_norm.weight": 0,
    }
    nllb = {
        "text.transformer.embed_tokens.weight": 3,
        "text.transformer.layers.0.self_attn.k_proj.weight": 2,
        "text.transformer.layers.1.fc1.weight": 1,
        "text.transformer.layer_norm.weight": 0,
    }
    for names in (bert, t5, nllb):
        assert distances([*visual, *names, "logit_scale"]) == {**visual, **names, "logit_scale": 0}


def test_a_tower_without_numbered_blocks_is_an_error():
    with pytest.raises(ConfigError, match="image tower cannot be told"):
        distances(["visual.body.weight", "transformer.resblocks.0.ln_1.weight"])

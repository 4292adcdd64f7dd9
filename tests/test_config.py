from __future__ import annotations

import dataclasses

import pytest
import yaml

from tvrkit.config import (
    Config,
    LossConfig,
    ModelConfig,
    config_from_dict,
    config_to_dict,
    config_to_yaml,
    load_config,
    preset_names,
)
from tvrkit.errors import ConfigError


def test_yaml_floats_without_a_dot_are_numbers():
    config = load_config(None, ["train.lr=1e-5", "train.clip_lr=3E-7"])
    assert (config.train.lr, config.train.clip_lr) == (1e-5, 3e-7)


def test_overrides_go_on_top_of_a_preset_file(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("train: {lr: 1e-3, epochs: 7}\nmodel: {interaction: token_wise}\n")
    config = load_config(str(preset), ["train.epochs=9"])
    assert (config.train.lr, config.train.epochs, config.model.interaction) == (1e-3, 9, "token_wise")


def test_a_preset_changes_a_few_keys_of_its_base(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "mine.yaml").write_text("base: msrvtt-b32\ntrain: {epochs: 7, rates: {temporal.*: 1e-5}}\n")
    (tmp_path / "deeper" / "again.yaml").write_text("base: ../mine.yaml\ntrain: {lr: 1e-3}\nmodel: {num_frames: 8}\n")
    own = load_config(str(tmp_path / "deeper" / "again.yaml"), ["train.batch_size=9"])
    base = load_config("msrvtt-b32")
    changed = {"epochs": 7, "rates": {"temporal.*": 1e-5}, "lr": 1e-3, "batch_size": 9}
    assert own.train == dataclasses.replace(base.train, **changed)
    assert own.model == dataclasses.replace(base.model, num_frames=8)
    assert (own.loss, own.data) == (base.loss, base.data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: msrvt-b32", "there is no preset 'msrvt-b32' (the base of"),
        ("base: gone.yaml", "there is no preset 'gone.yaml'"),
        ("base: mine.yaml", "is its own base"),
        ("base: other.yaml", "is its own base"),
        ("base: [tiny]", "base is the name of a preset"),
        ("base: tiny\ntrian: {lr: 1}", "there is no setting trian: did you mean train?"),
        ("base: tiny\ntrain: 3", "train must be a section of keys"),
    ],
)
def test_a_wrong_base_is_one_sentence(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("base: mine.yaml")
    with pytest.raises(ConfigError) as error:
        load_config(str(tmp_path / "mine.yaml"))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_round_trip_through_yaml():
    config = load_config(None, ["loss.logit_scale=learned", "train.max_steps=3", "train.betas=[0.8, 0.9]"])
    assert config_from_dict(yaml.safe_load(config_to_yaml(config))) == config
    assert config_to_dict(config)["train"]["betas"] == [0.8, 0.9]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lrr=1", "there is no setting train.lrr: did you mean train.lr?"),
        ("modle.num_frames=1", "there is no setting modle: did you mean model?"),
        ("model.interaction=tokenwise", "did you mean token_wise?"),
        ("train.lr=fast", "train.lr must be a number, not 'fast'."),
        ("train.lr=.nan", "train.lr must be a number"),
        ("train.epochs=1.5", "train.epochs must be a whole number, not 1.5."),
        ("train.epochs=true", "train.epochs must be a whole number, not True."),
        ("model.key_words=1", "model.key_words must be true or false, not 1."),
        ("train.betas=[0.1]", "train.betas must be a list of 2 numbers"),
        ("train.max_steps=soon", "train.max_steps must be a whole number or null, not 'soon'."),
        ("train", "--set takes section.key=value"),
        ("train.lr=[", "is no YAML value"),
        ("train=3", "--set takes section.key=value"),
        ("loss.partial_threshold=0", "above 0 and at most 1"),
        ("model.weight_layers=4", "must be 1, 2 or 3"),
        ("train.batch_size=1", "train.batch_size must be at least 2, not 1."),
        ("train.lr=-1e-4", "train.lr must be at least 0, not -0.0001."),
        ("train.clip_lr=-1", "train.clip_lr must be at least 0"),
        ("train.weight_decay=-1", "train.weight_decay must be at least 0"),
        ("train.eps=-1", "train.eps must be at least 0"),
        ("train.clip_gradient=-1", "train.clip_gradient must be at least 0"),
        ("train.seed=-1", "train.seed must be at least 0 and below"),
        ("train.betas=[0.9, 1]", "train.betas are decays, each 0 to below 1, not [0.9, 1.0]."),
        ("train.trackers=wandb", "train.trackers must be a list of tensorboard, wandb, not 'wandb'."),
        ("train.freeze_parameters=x", "train.freeze_parameters must be a list of texts, not 'x'."),
    ],
)
def test_a_wrong_override_is_one_sentence(override, message):
    with pytest.raises(ConfigError) as error:
        load_config(None, [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_contradictions_are_refused():
    with pytest.raises(ConfigError, match="dot_product has none"):
        ModelConfig(interaction="dot_product", key_words=True)
    with pytest.raises(ConfigError, match="sampling cannot be random"):
        load_config(None, ["train.freeze=vision", "data.sampling=random"])
    with pytest.raises(ConfigError, match="weighs words"):
        ModelConfig(interaction="token_wise", text_side="sentence", key_words=True)


def test_a_preset_that_is_no_mapping_is_refused(tmp_path):
    preset = tmp_path / "list.yaml"
    preset.write_text("- 1\n")
    with pytest.raises(ConfigError, match="must hold the sections"):
        load_config(str(preset))
    preset.write_text("{: }")
    with pytest.raises(ConfigError, match="no valid YAML"):
        load_config(str(preset))


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ConfigError, match="there is no preset"):
        load_config("no-such-preset-at-all")


def test_every_preset_loads():
    assert preset_names()
    for name in preset_names():
        assert isinstance(load_config(name), Config)


def test_sections_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LossConfig().name = "neg_nce"  # type: ignore[misc]

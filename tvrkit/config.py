"""Settings as frozen dataclasses: a YAML preset comes in, `--set section.key=value` changes it, nothing is implied.

Each section belongs to the part of the program that reads it; `model` alone goes into an exported model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from tvrkit.coerce import build_dataclass, nearest
from tvrkit.errors import ConfigError

Temporal = Literal["mean", "transformer"]
Interaction = Literal["dot_product", "token_wise", "weighted_token_wise"]
TextSide = Literal["sentence", "words", "both"]
Sampling = Literal["uniform", "head", "random"]
Reader = Literal["auto", "av", "decord"]


@dataclass(frozen=True)
class ModelConfig:
    """What the model is: all that is needed to rebuild it beside its weights."""

    backbone: str = "ViT-B-32"
    """Name of an open_clip model, or the path of an open_clip config JSON; `shapes` is the built-in tiny one."""
    pretrained: str | None = "openai"
    """open_clip's tag, or the path of a weights file (.safetensors, or an OpenAI / state-dict .pt); null is random."""
    num_frames: int = 12
    """Frames sampled from a video, F."""
    max_words: int = 32
    """Tokens kept of a text, W, start and end tokens included."""
    temporal: Temporal = "mean"
    temporal_layers: int = 4
    interaction: Interaction = "dot_product"
    text_side: TextSide = "both"
    """Texts that meet the frames token by token: the sentence as one word, the words, or the mean of both."""
    key_words: bool = False
    """Textual attention: key words (nouns, adjectives, verbs) count twice."""
    nearest_frame: bool = False
    """Visual attention: a frame's score is raised by its nearest frame's."""
    weight_layers: int = 2
    """Linear layers of the MLPs that weigh tokens in `weighted_token_wise`: 1, 2 or 3."""

    def __post_init__(self) -> None:
        _at_least("model.num_frames", self.num_frames, 1)
        _at_least("model.max_words", self.max_words, 3)
        _at_least("model.temporal_layers", self.temporal_layers, 1)
        if self.weight_layers not in (1, 2, 3):
            raise ConfigError(f"model.weight_layers must be 1, 2 or 3, not {self.weight_layers}.")
        if self.interaction == "dot_product" and (self.key_words or self.nearest_frame):
            raise ConfigError(
                "model.key_words and model.nearest_frame weigh tokens, and dot_product has none:"
                " set model.interaction=token_wise, or switch both off."
            )
        if self.key_words and self.text_side == "sentence":
            raise ConfigError("model.key_words weighs words: set model.text_side=words or both.")


@dataclass(frozen=True)
class LossConfig:
    """What training minimises (arXiv 2309.11082: NegNCE and TPM-CL, triplet partial margin contrastive learning)."""

    name: Literal["info_nce", "neg_nce"] = "info_nce"
    logit_scale: float | Literal["learned"] = 100.0
    """Factor on the cosine similarities; `learned` trains the backbone's own, at most 100."""
    negative_margin: float = 0.0
    """mu of NegNCE: a negative is hard when mu + its score is above the positive's."""
    positive_weight: float = 1.0
    negative_weight: float = 0.5
    partial_weight: float = 0.0
    """Weight of the triplet partial margin loss; 0 leaves it out."""
    partial_margin: float = 0.1
    """delta of its three partial orders."""
    partial_threshold: float = 0.6
    """Cumulative weight below which the most important tokens are hidden."""
    partial_start_step: int = 0
    """Optimiser step from which it counts."""
    partial_predictor: Literal["linear", "attention"] = "linear"

    def __post_init__(self) -> None:
        if self.logit_scale != "learned" and self.logit_scale <= 0:
            raise ConfigError(f"loss.logit_scale must be above 0, not {self.logit_scale}.")
        if not 0 < self.partial_threshold <= 1:
            raise ConfigError(f"loss.partial_threshold must be above 0 and at most 1, not {self.partial_threshold}.")
        for key in ("positive_weight", "negative_weight", "partial_weight", "partial_start_step"):
            _at_least(f"loss.{key}", getattr(self, key), 0)


@dataclass(frozen=True)
class DataConfig:
    """Which data set, and how its videos are read."""

    dataset: str | None = None
    """Name of a prepared data set, or the path of a manifest; null is the only one prepared."""
    train_split: str = "train"
    val_split: str = "val"
    """Split that chooses the checkpoint; `none`, or a data set without `val`, keeps the last."""
    sampling: Sampling = "uniform"
    """How training frames are chosen; validation and search are always uniform."""
    captions: Literal["all", "one"] = "all"
    """An epoch shows every caption of a video, or one drawn anew each epoch."""
    reader: Reader = "auto"
    workers: int = 2
    """Processes that decode and preprocess."""
    timeout_seconds: float = 60.0
    """Time limit for one video."""
    cache_frames: bool = False
    """Keep decoded frames at training size on disk (lossless, 8 bits a colour), so that each video is decoded once."""

    def __post_init__(self) -> None:
        _at_least("data.workers", self.workers, 0)
        if self.train_split == "test":
            raise ConfigError(
                "data.train_split=test would train on the very videos that models are measured on: train on another"
                " split."
            )
        if self.timeout_seconds <= 0:
            raise ConfigError(f"data.timeout_seconds must be above 0, not {self.timeout_seconds}.")
        if self.cache_frames and self.sampling == "random":
            raise ConfigError(
                "data.cache_frames keeps the frames that a video is shown by, and data.sampling=random takes others"
                " each time: set data.sampling=uniform or data.cache_frames=false (`tvrkit prepare --compress` makes"
                " any sampling fast)."
            )


@dataclass(frozen=True)
class TrainConfig:
    """How it is trained."""

    epochs: int = 5
    max_steps: int | None = None
    """Stop after this many optimiser steps, whatever `epochs` says."""
    batch_size: int = 128
    sampler: Literal["random", "family", "neighbours"] = "random"
    """What shares a batch: anything, the one-word edits of a family (tag `family`), or similar captions."""
    lr: float = 1e-4
    """Peak learning rate of new modules."""
    clip_lr: float = 1e-7
    """Peak learning rate of the backbone."""
    weight_decay: float = 0.2
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    warmup: float = 0.1
    """Part of the steps over which the rates rise linearly; a cosine to 0 follows."""
    clip_gradient: float = 1.0
    """Largest global gradient norm; 0 leaves gradients alone."""
    layer_decay: float = 1.0
    """Factor on the backbone's rate for each layer further from its output; 1 leaves all alike."""
    rates: dict[str, float] = field(default_factory=dict)
    """Peak rates of parameters whose names match a pattern, as `temporal.*: 1e-4`; the last that matches counts."""
    freeze: Literal["none", "vision", "text", "backbone"] = "none"
    """`vision`: frame features are computed once and cached; `backbone`: both towers."""
    freeze_parameters: tuple[str, ...] = ()
    """Patterns of parameter names that stand still beside that, as `backbone.clip.visual.conv1.*`."""
    init_from: str | None = None
    """A run, a checkpoint or an exported folder whose weights are taken over where they fit (warm start)."""
    micro_batch: int | None = None
    """Pairs that go through the towers at a time on each process, the loss being over the whole batch all the same."""
    gradient_checkpointing: bool = False
    """Compute the towers' activations twice instead of keeping them: less memory, more time."""
    compile: bool = False
    """torch.compile for the towers' blocks."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Several processes: each holds the whole model (ddp), or a part of the backbone and its optimiser state (fsdp)."""
    ema: float = 0.0
    """Decay of the moving average of the weights that is validated and kept as the best; 0 takes the weights."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast where the device is good at it."""
    seed: int = 0
    eval_every_epochs: int = 1
    select_by: str = "t2v/R@1"
    """Validation metric that chooses the best checkpoint."""
    patience: int | None = None
    """Stop after this many validations in a row without a better one."""
    log_every: int = 10
    save_every_steps: int = 500
    """Steps between checkpoints to resume from, beside the one at each epoch's end."""
    keep_last: int = 1
    """How many of them are kept."""
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    """Where the numbers go beside log.jsonl."""

    def __post_init__(self) -> None:
        _at_least("train.epochs", self.epochs, 1)
        _at_least("train.batch_size", self.batch_size, 2)
        _at_least("train.log_every", self.log_every, 1)
        _at_least("train.save_every_steps", self.save_every_steps, 1)
        _at_least("train.eval_every_epochs", self.eval_every_epochs, 1)
        for key in ("max_steps", "micro_batch", "patience"):
            if getattr(self, key) is not None:
                _at_least(f"train.{key}", getattr(self, key), 1)
        _at_least("train.keep_last", self.keep_last, 1)
        for key in ("lr", "clip_lr", "weight_decay", "eps", "clip_gradient"):
            _at_least(f"train.{key}", getattr(self, key), 0)
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"train.seed must be at least 0 and below 2 to the power of 64, not {self.seed}.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"train.betas are decays, each 0 to below 1, not {list(self.betas)}.")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"train.layer_decay must be above 0 and at most 1, not {self.layer_decay}.")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"train.ema is a decay, 0 to below 1, not {self.ema}.")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"train.warmup is a part of the steps, 0 to 1, not {self.warmup}.")


@dataclass(frozen=True)
class Config:
    """The four sections."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.train.freeze in ("vision", "backbone") and self.data.sampling == "random":
            raise ConfigError(
                f"train.freeze={self.train.freeze} computes frame features once, so data.sampling cannot be random:"
                " set data.sampling=uniform or train.freeze=none."
            )


PRESETS = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """Names for `--preset`, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_config(preset: str | None = None, overrides: Sequence[str] = ()) -> Config:
    """A preset (a name, or the path of a YAML file) with `section.key=value` overrides on top of the defaults.

    A preset that says `base: NAME|FILE` takes that one's settings and changes some; a file is looked for beside it.

    Raises:
        ConfigError: an unknown preset or key (the nearest known one is named), a wrong type, a contradiction.
    """
    tree = {} if preset is None else _preset_tree(preset, None, ())
    for override in overrides:
        key, equals, text = override.partition("=")
        section, dot, name = key.strip().partition(".")
        if not (equals and dot):
            raise ConfigError(f"--set takes section.key=value (as in train.lr=1e-4), not {override!r}.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {override}: {text!r} is no YAML value.") from None
        tree.setdefault(section, {})
        if not isinstance(tree[section], dict):
            raise ConfigError(f"{section} must be a section of keys.")
        tree[section][name] = value
    return config_from_dict(tree)


def config_from_dict(tree: Mapping[str, Any]) -> Config:
    """Build a checked `Config` from nested mappings; missing keys take their defaults."""
    config: Config = build_dataclass(Config, tree)
    return config


def config_to_dict(config: Config | ModelConfig) -> dict[str, Any]:
    """Nested plain mappings, ready for YAML or JSON."""
    return {key: _plain(value) for key, value in dataclasses.asdict(config).items()}


def config_to_yaml(config: Config) -> str:
    """The whole config as YAML, every key written out."""
    return yaml.safe_dump(config_to_dict(config), sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _preset_tree(preset: str, beside: Path | None, heirs: tuple[Path, ...]) -> dict[str, Any]:
    """The sections of a preset, on top of those of its base; `heirs` are the presets that led here."""
    if preset.endswith((".yaml", ".yml")):
        path = Path(preset) if beside is None else beside / preset
    else:
        path = PRESETS / f"{preset}.yaml"
    if not path.is_file():
        of = f" (the base of {heirs[-1]})" if heirs else ""
        raise ConfigError(f"there is no preset {preset!r}{of}{nearest(preset, preset_names())}")
    path = path.resolve()
    if path in heirs:
        raise ConfigError(f"{path} is its own base, by way of {heirs[-1]}: take one `base` out.")
    tree = _read_yaml(path)
    if "base" not in tree:
        return tree
    base = tree.pop("base")
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base is the name of a preset or the path of a YAML file, not {base!r}.")
    return _on_top(_preset_tree(base, path.parent, (*heirs, path)), tree)


def _on_top(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The sections of `base` with single keys changed; a key's value is replaced whole."""
    merged = dict(base)
    for section, keys in changes.items():
        both = isinstance(keys, dict) and isinstance(base.get(section), dict)
        merged[section] = {**base[section], **keys} if both else keys
    return merged


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(error).split())}.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold the sections {', '.join(f.name for f in dataclasses.fields(Config))}.")
    return tree


def _at_least(key: str, value: float, least: float) -> None:
    if value < least:
        raise ConfigError(f"{key} must be at least {least}, not {value}.")

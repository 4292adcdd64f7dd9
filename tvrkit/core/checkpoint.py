"""Models on disk: a folder of safetensors, config and what the tokenizer needs, complete in itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

import tvrkit
from tvrkit.config import ModelConfig, config_from_dict, config_to_dict
from tvrkit.core.architecture import build_clip
from tvrkit.core.backbone import Backbone
from tvrkit.core.model import RetrievalModel, build_model
from tvrkit.core.spec import CONFIG_NAME, read_spec
from tvrkit.core.weights import check_match, read_weights
from tvrkit.core.zero_shot import is_open_clip_folder, zero_shot_config
from tvrkit.errors import CheckpointError, ConfigError, ModelError
from tvrkit.files import atomic_folder, whole_folder, write_json, write_text
from tvrkit.workspace import RUN_FILE

WEIGHTS_NAME = "model.safetensors"
CONFIG_FILE = "config.yaml"
METRICS_NAME = "metrics.json"
BACKBONE_FOLDER = "backbone"
BEST = Path("checkpoints") / "best"


def save_model(
    model: RetrievalModel,
    folder: str | Path,
    extra: Mapping[str, Any] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a model's folder, in place of one that is there; killed at any moment, the old or the new one is whole.

    Args:
        model: on any device.
        folder: its path; parents are made.
        extra: written as metrics.json.
        half: store weights as float16, half the size; they are float32 again when loaded.

    Raises:
        OSError: what the file system says; the old folder is then as it was.
    """
    with atomic_folder(folder) as temporary:
        write_model(model, temporary, extra, half=half)


def write_model(
    model: RetrievalModel, folder: Path, extra: Mapping[str, Any] | None = None, *, half: bool = False
) -> None:
    """Write a model's files into a folder that is there; see `save_model`."""
    from safetensors.torch import save_file

    tensors = {name: _stored(tensor, half) for name, tensor in model.state_dict().items()}
    # One key only: safetensors writes several in an order that changes from run to run.
    save_file(tensors, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    tree = {"tvrkit": tvrkit.__version__, "model": config_to_dict(model.config)}
    write_text(folder / CONFIG_FILE, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    _write_backbone(model.backbone, folder / BACKBONE_FOLDER)
    if extra is not None:
        write_json(folder / METRICS_NAME, dict(extra))


def load_model(source: str | Path, device: torch.device | str = "cpu") -> RetrievalModel:
    """Load a model, in eval mode.

    Args:
        source: an exported folder, a checkpoint folder, a run's folder (its best checkpoint), or what
            `zero_shot_config` takes (an open_clip `NAME/TAG`, a local `NAME=FILE` …): mean of the frames against the
            sentence.
        device: where to put it.

    Raises:
        CheckpointError: a folder that is no model, or whose weights do not fit its config.
        ModelError: a name that open_clip does not know, or weights that do not fit it.
        WeightsUnavailableError: weights would have to be downloaded and cannot be.
    """
    if whole_folder(source).is_dir() and not is_open_clip_folder(source):
        return _load_folder(checkpoint_of(source), device)
    return build_model(zero_shot_config(str(source)), device)


def checkpoint_of(source: str | Path) -> Path:
    """The folder that holds the model of a run or export, or `source` itself when it is one.

    Raises:
        CheckpointError: there is none.
    """
    folder = whole_folder(source)
    if (folder / RUN_FILE).is_file():
        best = whole_folder(folder / BEST)
        if not best.is_dir():
            raise CheckpointError(
                f"the run {folder} has no checkpoint yet: let it train to its first evaluation, or resume it with"
                " `tvrkit train --resume`."
            )
        return best
    if not (folder / CONFIG_FILE).is_file() or not (folder / WEIGHTS_NAME).is_file():
        raise CheckpointError(f"{folder} holds no model: {CONFIG_FILE} and {WEIGHTS_NAME} were expected in it.")
    return folder


def read_config(folder: Path) -> ModelConfig:
    """The model section of a folder's config.yaml.

    Raises:
        CheckpointError: it cannot be read, or is of another version of tvrkit.
    """
    path = folder / CONFIG_FILE
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("model"), dict):
        raise CheckpointError(f"{path} has no section `model`: it is no model's config.")
    try:
        return config_from_dict({"model": tree["model"]}).model
    except ConfigError as error:
        raise CheckpointError(
            f"{path} was written by tvrkit {tree.get('tvrkit', 'unknown')} and this is {tvrkit.__version__}: {error}"
        ) from None


def _load_folder(folder: Path, device: torch.device | str) -> RetrievalModel:
    config = read_config(folder)
    path = folder / WEIGHTS_NAME
    try:
        weights = read_weights(path)
        spec = read_spec(folder / BACKBONE_FOLDER / CONFIG_NAME)
        backbone = Backbone(spec, build_clip(spec), max_words=config.max_words, key_words=config.key_words)
        model = RetrievalModel(config, backbone)
        check_match(weights, model.state_dict(), str(path))
    except CheckpointError:
        raise
    except ModelError as error:
        raise CheckpointError(str(error)) from None
    model.load_state_dict(weights, strict=True)
    return model.eval().to(device)


def _write_backbone(backbone: Backbone, folder: Path) -> None:
    """The architecture and its tokenizer's files, so that loading needs neither the first config nor the network."""
    folder.mkdir()
    spec = backbone.spec
    content = spec.to_json()
    content["preprocess_cfg"] = backbone.preprocess_cfg
    if backbone.bpe_file is not None:
        name, byte_pairs = backbone.bpe_file
        (folder / name).write_bytes(byte_pairs)
        content = json.loads(json.dumps(content))
        content["model_cfg"]["text_cfg"]["tokenizer_kwargs"]["bpe_path"] = name
    encoder = backbone.tokenizer.encoder
    if hasattr(encoder, "save_pretrained"):
        encoder.save_pretrained(str(folder))
    tower_config = getattr(getattr(backbone.clip, "text", None), "config", None)
    if tower_config is not None:
        tower_config.save_pretrained(str(folder))
    write_json(folder / CONFIG_NAME, content)


def _stored(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    # Single numbers such as logit_scale cost nothing, and what float16 cannot hold would come back as infinity.
    if half and tensor.is_floating_point() and tensor.ndim > 1 and float(tensor.abs().amax()) < 6e4:
        return tensor.half()
    return tensor

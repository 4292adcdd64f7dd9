"""A trained model as one folder that loads anywhere: weights, config, tokenizer, measured numbers, model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tvrkit.config import ModelConfig
from tvrkit.core.checkpoint import CONFIG_FILE, METRICS_NAME, checkpoint_of, load_model, write_model
from tvrkit.core.model import RetrievalModel
from tvrkit.core.spec import SHAPES, is_local, pretrained_tags
from tvrkit.core.zero_shot import is_open_clip_folder
from tvrkit.errors import ConfigError
from tvrkit.export.card import CARD_NAME, model_card
from tvrkit.files import atomic_folder, whole_folder, write_json, write_text
from tvrkit.workspace import RUN_FILE

EVALUATIONS = "evaluations"


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        folder: the export.
        checkpoint: the folder that it was made from, or the name of a zero-shot model.
        size_bytes: of all its files.
        measured: evaluations that went into the card, as (data set, split).
    """

    folder: Path
    checkpoint: Path | str
    size_bytes: int
    measured: tuple[tuple[str, str], ...]


def export(source: str | Path, out: str | Path, *, half: bool = False) -> Exported:
    """Write the model of a run, or of anything else that `load_model` takes, into `out`.

    Args:
        source: a run's folder (its best checkpoint), a checkpoint, an earlier export, or what names a zero-shot model.
        out: a new folder, or an earlier export, which is replaced whole.
        half: store the weights as float16.

    Raises:
        CheckpointError: `source` holds no model.
        ModelError: it names none.
        ConfigError: `out` holds something else.
        OSError: what the file system says.
    """
    folder_there, out = whole_folder(source), Path(out)
    checkpoint: Path | str
    if not folder_there.is_dir() or is_open_clip_folder(folder_there):
        _check_free(out, folder_there)
        model, checkpoint = load_model(source), str(source)
        metrics: dict[str, Any] = {"zero_shot": True}
        evaluations, training = [], {}
    else:
        checkpoint = checkpoint_of(source)
        _check_free(out, Path(source), checkpoint)
        model = load_model(checkpoint)
        metrics = _read_json(checkpoint / METRICS_NAME)
        evaluations, training = _evaluations(Path(source), metrics), _training(Path(source), metrics)
    model.config = _without_local_paths(model.config)
    card = model_card(
        out.resolve().name, _facts(model, half), metrics, evaluations, training, about_shapes=_is_shapes(model)
    )
    with atomic_folder(out) as folder:
        write_model(model, folder, half=half)
        write_json(folder / METRICS_NAME, {**metrics, "evaluations": evaluations, "training": training})
        write_text(folder / CARD_NAME, card)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    measured = tuple((str(row["dataset"]), str(row["split"])) for row in evaluations)
    return Exported(out, checkpoint, size, measured)


def _check_free(out: Path, *sources: Path) -> None:
    inside = out.resolve()
    for taken in (source.resolve() for source in sources):
        if inside == taken or inside in taken.parents:
            raise ConfigError(f"--out {out} would take the place of {taken}, which it is made from: choose another.")
    if (out / RUN_FILE).exists():
        raise ConfigError(f"--out {out} is a run: choose another folder.")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / CONFIG_FILE).is_file()):
        raise ConfigError(f"--out {out} is there and is no earlier export: choose another folder.")


def _without_local_paths(config: ModelConfig) -> ModelConfig:
    """Where the first weights lay on this machine is nobody else's business; their names stay."""
    backbone, pretrained = config.backbone, config.pretrained
    if backbone != SHAPES and (backbone.endswith(".json") or is_local(backbone)):
        backbone = "/".join(Path(backbone).parts[-2:])
        known: list[str] = []
    else:
        known = pretrained_tags(backbone)
    if pretrained is not None and pretrained not in known:
        pretrained = Path(pretrained).name
    return replace(config, backbone=backbone, pretrained=pretrained)


def _evaluations(source: Path, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What `tvrkit eval` measured of this very checkpoint, or what an earlier export kept."""
    kept = metrics.get("evaluations")
    if isinstance(kept, list):
        return [row for row in kept if _is_evaluation(row)]
    rows = [_read_json(path) for path in sorted((source / EVALUATIONS).glob("*.json"))]
    # The run may have got further since it was evaluated.
    step = metrics.get("step")
    return [row for row in rows if _is_evaluation(row) and (row.get("checkpoint") or {}).get("step") == step]


def _is_evaluation(row: Any) -> bool:
    wanted = {"dataset": str, "split": str, "t2v": dict, "v2t": dict}
    return isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in wanted.items())


def _facts(model: RetrievalModel, half: bool) -> dict[str, Any]:
    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows: dict[str, Any] = {
        "Backbone": f"{config.backbone} ({model.backbone.kind})",
        "Its first weights": config.pretrained or "random",
        "Frames of a video": f"{config.num_frames}, uniform over its length",
        "Tokens of a text": f"at most {model.backbone.max_words}",
        "Temporal encoder": "none"
        if config.temporal == "mean"
        else f"{config.temporal}, {config.temporal_layers} layers",
        "Interaction": config.interaction,
        "Features": f"{model.backbone.dim} numbers a frame",
        "Parameters": f"{parameters / 1e6:.1f} million, stored as {'float16' if half else 'float32'}",
    }
    if config.interaction != "dot_product":
        rows["Text side"] = config.text_side
        rows["Key words count twice"] = "yes" if config.key_words else "no"
        rows["Nearest-frame attention"] = "yes" if config.nearest_frame else "no"
    return rows


def _training(source: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's settings a reader of the card wants to know, or what an earlier export kept of them."""
    if isinstance(metrics.get("training"), dict):
        return dict(metrics["training"])
    try:
        tree = yaml.safe_load((source / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    if not isinstance(tree, dict) or not isinstance(tree.get("train"), dict):
        return {}
    loss = tree.get("loss") or {}
    rows = {
        "Loss": loss.get("name"),
        "Triplet partial margin weight": loss.get("partial_weight") or None,
        "Frozen": tree["train"].get("freeze"),
        "Batch size": tree["train"].get("batch_size"),
        "Seed": tree["train"].get("seed"),
    }
    return {key: value for key, value in rows.items() if value is not None}


def _is_shapes(model: RetrievalModel) -> bool:
    return model.config.backbone == SHAPES and model.config.pretrained == SHAPES


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

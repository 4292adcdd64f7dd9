"""Warm start: weights of another model, taken over where they fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tvrkit.core.checkpoint import BACKBONE_FOLDER, WEIGHTS_NAME, checkpoint_of
from tvrkit.core.layouts import CLIP, our_names
from tvrkit.core.matching import Match, first, take_over
from tvrkit.core.model import RetrievalModel
from tvrkit.core.spec import CONFIG_NAME, BackboneSpec, read_spec
from tvrkit.core.weights import fit_names, read_weights
from tvrkit.errors import ConfigError, ModelError
from tvrkit.files import whole_folder

SETTING = "train.init_from"


@dataclass(frozen=True)
class WarmStart:
    """What a warm start did.

    Attributes:
        match: which tensors were taken over.
        remarks: sentences on what weights do not say and the two models have differently; usually none.
    """

    match: Match
    remarks: tuple[str, ...]

    def words(self) -> str:
        """One line for people."""
        return self.match.words()


def warm_start(model: RetrievalModel, source: str | Path) -> WarmStart:
    """Take weights over where name and shape fit; what does not fit stays as the model has it.

    Positions of a temporal encoder for more frames are cut to the model's first ones. The weights that only training
    has (the cross-weight predictors of the partial loss) start anew.

    Args:
        model: on any device, changed in place; whole, not in shards.
        source: a run (its best checkpoint), a checkpoint, an exported or converted folder, or a weights file: a
            checkpoint's own, or a state dict of a layout that `tvrkit convert` knows.

    Raises:
        ConfigError: there is no such folder or file.
        ModelError: it cannot be read safely, or nothing in it fits.
    """
    path = Path(source).expanduser()
    remarks: tuple[str, ...] = ()
    if whole_folder(path).is_dir():
        folder = checkpoint_of(path)
        tensors = read_weights(folder / WEIGHTS_NAME)
        remarks = _remarks(model, read_spec(folder / BACKBONE_FOLDER / CONFIG_NAME))
    elif path.is_file():
        tensors = _from_file(model, path)
    else:
        raise ConfigError(f"{SETTING}: there is neither a folder nor a weights file {source}.")
    match = take_over(model, tensors)
    if not match.matched:
        names = match.reshaped or match.unused
        raise ModelError(
            f"{SETTING}: nothing in {source} fits this model ({first(names)}): give weights of a model with the"
            " backbone model.backbone."
        )
    return WarmStart(match, remarks)


def _from_file(model: RetrievalModel, path: Path) -> dict[str, Tensor]:
    tensors = our_names(read_weights(path))
    clip = {name.removeprefix(CLIP): tensor for name, tensor in tensors.items() if name.startswith(CLIP)}
    fitted = fit_names(model.backbone.clip, clip, str(path))
    others = {name: tensor for name, tensor in tensors.items() if not name.startswith(CLIP)}
    return others | {CLIP + name: tensor for name, tensor in fitted.items()}


def _remarks(model: RetrievalModel, theirs: BackboneSpec) -> tuple[str, ...]:
    """What changes a tower's features and leaves names and shapes alone."""
    backbone = model.backbone
    # A folder's preprocessing is written out whole; a spec holds what differs from open_clip's.
    own = _facts(BackboneSpec(backbone.spec.model_cfg, backbone.preprocess_cfg))
    different = [
        f"{key} {value} there and {own[key]} here" for key, value in _facts(theirs).items() if value != own[key]
    ]
    if not different:
        return ()
    return (
        f"the towers that the weights come from are built otherwise ({'; '.join(different)}), so features will differ"
        " at first: take the same model.backbone and model.pretrained if that is not meant.",
    )


def _facts(spec: BackboneSpec) -> Mapping[str, Any]:
    vision: Mapping[str, Any] = spec.model_cfg["vision_cfg"]
    return {
        "quick_gelu": bool(spec.model_cfg.get("quick_gelu", False)),
        "vision head_width": vision.get("head_width", 64),
        "text heads": spec.text_cfg.get("heads", 8),
        "mean": list(spec.preprocess_cfg.get("mean", ())),
    }

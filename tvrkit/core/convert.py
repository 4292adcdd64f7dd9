"""Models of published code as folders of ours: CLIP4Clip, X-CLIP, TS2-Net, DRL, OpenAI's CLIP and open_clip's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tvrkit.config import ModelConfig
from tvrkit.core.architecture import build_clip
from tvrkit.core.backbone import Backbone
from tvrkit.core.catalogue import fitting
from tvrkit.core.checkpoint import CONFIG_FILE, save_model
from tvrkit.core.layouts import CLIP, clip_spec, is_ours, model_settings, our_names, strangers
from tvrkit.core.matching import Match, first, take_over
from tvrkit.core.model import RetrievalModel
from tvrkit.core.spec import CONFIG_NAME, BackboneSpec, find_spec, is_local, pretrained_tags
from tvrkit.core.weights import fit_names, read_weights
from tvrkit.core.zero_shot import name_and_tag
from tvrkit.errors import ConfigError, ModelError
from tvrkit.workspace import RUN_FILE

_OPENAI = "openai"
_OPENAI_NAMES = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "RN50", "RN101", "RN50x4", "RN50x16", "RN50x64")


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote.

    Attributes:
        folder: the model's, as `load_model` takes it.
        model: its settings.
        quick_gelu: whether the towers are built with QuickGELU, as all of OpenAI's are.
        match: which tensors went over.
        remarks: sentences on why the model is not quite the one that was trained; empty where it is.
    """

    folder: Path
    model: ModelConfig
    quick_gelu: bool
    match: Match
    remarks: tuple[str, ...]


def convert(
    file: str | Path, out: str | Path, *, backbone: str | None = None, num_frames: int = 12, max_words: int = 32
) -> Converted:
    """Write a state dict of the field's code as a model's folder.

    Args:
        file: the state dict, read without running anything in it; see `read_weights`.
        out: a new folder, or an earlier model's, which is replaced whole.
        backbone: open_clip's `NAME` or `NAME/TAG`, or a config's path, whose architecture it is; None tells it from
            shapes, which works for OpenAI's CLIPs.
        num_frames: frames that the model samples from a video; weights do not say it.
        max_words: tokens that it keeps of a text; nor that.

    Raises:
        ModelError: it cannot be read safely, is no such state dict, or its backbone is not whole.
        ConfigError: `out` holds something else, or there are no positions for so many frames.
    """
    file, out = Path(file), Path(out)
    _check_free(out)
    weights = read_weights(file)
    if is_ours(weights):
        raise ModelError(f"{file} belongs to a model of tvrkit already: its folder is what --model takes.")
    tensors = our_names(weights)
    name, spec = _architecture(_under_clip(tensors), backbone, file)
    clip = build_clip(spec)
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith(CLIP)}
    given |= {CLIP + name: tensor for name, tensor in fit_names(clip, _under_clip(tensors), str(file)).items()}
    config = _settings(given, spec, num_frames, max_words)
    config = replace(config, backbone=name, pretrained=file.name)
    model = RetrievalModel(config, Backbone(spec, clip, max_words=config.max_words, key_words=False))
    match = take_over(model, given)
    _check_whole(match, file, name)
    save_model(model, out, {"converted_from": file.name})
    quick_gelu = bool(spec.model_cfg.get("quick_gelu"))
    return Converted(out, model.config, quick_gelu, match, _remarks(given, match, config))


def _under_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(CLIP): tensor for name, tensor in tensors.items() if name.startswith(CLIP)}


def _architecture(clip: Mapping[str, Tensor], backbone: str | None, file: Path) -> tuple[str, BackboneSpec]:
    """The backbone's name and what it means."""
    if backbone is not None:
        if is_local(backbone):
            return backbone, find_spec(backbone)
        name, tag = name_and_tag(backbone)
        # Where it is not said, it is the one that papers build on.
        tag = tag or (_OPENAI if _OPENAI in pretrained_tags(name) else "")
        return name, find_spec(name, tag or None)
    spec = clip_spec(clip)
    if spec is None:
        image = sum(tensor.numel() for name, tensor in clip.items() if name.startswith("visual."))
        likely = fitting(image, sum(tensor.numel() for tensor in clip.values()) - image)
        guess = f" (by its size it could be {', '.join(likely[:4])})" if likely else ""
        raise ModelError(f"{file} is none of OpenAI's CLIPs: say whose architecture it is by --backbone{guess}.")
    for name in _OPENAI_NAMES:
        known = find_spec(name, _OPENAI)
        if known.model_cfg == spec.model_cfg:
            return name, known
    return f"backbone/{CONFIG_NAME}", spec


def _settings(given: Mapping[str, Tensor], spec: BackboneSpec, num_frames: int, max_words: int) -> ModelConfig:
    settings: dict[str, Any] = model_settings(given)
    context = int(spec.text_cfg.get("context_length", 77))
    config = ModelConfig(num_frames=num_frames, max_words=min(max_words, context), **settings)
    if config.temporal == "transformer":
        positions = len(given["temporal.positional_embedding"])
        if positions < num_frames:
            raise ConfigError(f"these weights have positions for {positions} frames, not for {num_frames}: --frames.")
    return config


def _check_whole(match: Match, file: Path, name: str) -> None:
    """A head that is not whole starts at random; a backbone, or a layer of the temporal encoder, may not."""
    lacking = [
        *(name for name in match.missing if not name.endswith("num_batches_tracked")),
        *match.reshaped,
    ]
    if lacking:
        raise ModelError(
            f"{file} does not fill a model with the backbone {name}: {len(lacking)} of its tensors are not there or of"
            f" another shape ({first(lacking)}); if it is of another architecture, say which by --backbone."
        )


def _remarks(given: Mapping[str, Tensor], match: Match, config: ModelConfig) -> tuple[str, ...]:
    remarks = []
    if parts := strangers({name: given[name] for name in match.unused}):
        remarks.append(
            f"these weights are of a model with {' and '.join(parts)}, which tvrkit has not: what is written is a start"
            " for training, and its scores are not that model's."
        )
    if config.interaction == "weighted_token_wise":
        remarks.append(
            "the token weights were learned on features before normalisation, and here features are normalised first:"
            " train a little before you compare scores."
        )
    return tuple(remarks)


def _check_free(out: Path) -> None:
    if (out / RUN_FILE).exists():
        raise ConfigError(f"--out {out} is a run: choose another folder.")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / CONFIG_FILE).is_file()):
        raise ConfigError(f"--out {out} is there and holds no model: choose another folder.")

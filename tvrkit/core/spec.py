"""Which architecture a backbone's name means: open_clip's list, a config JSON of your own, or the built-in `shapes`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tvrkit.core import hub
from tvrkit.errors import ModelError

CONFIG_NAME = "open_clip_config.json"
SHAPES = "shapes"
_SHAPES_FOLDER = Path(__file__).parents[1] / "assets" / "shapes"
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class BackboneSpec:
    """An architecture, fully written out, in open_clip's terms.

    Attributes:
        model_cfg: open_clip's `model_cfg`: embed_dim, vision_cfg, text_cfg, and such as quick_gelu, custom_text.
        preprocess_cfg: what differs from open_clip's default preprocessing (mean, std, interpolation, resize_mode).
        folder: where the files lie that the config names by relative path; None when it names none.
        tower_weights: files of single towers' weights, `image` and `text`; a model's own weights come in their place.
    """

    model_cfg: Mapping[str, Any]
    preprocess_cfg: Mapping[str, Any]
    folder: Path | None = None
    tower_weights: Mapping[str, str] = field(default_factory=dict)

    @property
    def text_cfg(self) -> Mapping[str, Any]:
        """The text tower's part."""
        text_cfg: Mapping[str, Any] = self.model_cfg["text_cfg"]
        return text_cfg

    def with_quick_gelu(self) -> BackboneSpec:
        """The same with QuickGELU activations."""
        return replace(self, model_cfg={**self.model_cfg, "quick_gelu": True})

    def to_json(self) -> dict[str, Any]:
        """What `open_clip_config.json` holds."""
        return {"model_cfg": dict(self.model_cfg), "preprocess_cfg": dict(self.preprocess_cfg)}


def find_spec(backbone: str, pretrained: str | None = None) -> BackboneSpec:
    """Look a backbone up, together with what its weights imply (preprocessing, activation); nothing is downloaded.

    A file says nothing of either: `TAG=FILE` takes the tag's, a bare `FILE` what all tags of the backbone share.

    Raises:
        ModelError: an unknown name or tag (the nearest known ones are named), or a config that cannot be used.
    """
    if is_local(backbone):
        return read_spec(local_config(backbone))
    import open_clip

    name = open_clip_name(backbone)
    if not is_known(backbone):
        raise ModelError(
            f"there is no backbone {backbone!r}{nearest_backbones(backbone)} (one of your own is the path of its"
            f" {CONFIG_NAME}, or of the folder that has it; docs/towers.md tells how to make one)."
        )
    spec = BackboneSpec(deepcopy(open_clip.get_model_config(name)), {})
    if pretrained is None:
        return spec
    tags = _likely_tags(name, pretrained)
    parts = [_preprocess_part(tag) for tag in tags]
    if parts and parts.count(parts[0]) == len(parts):
        spec = replace(spec, preprocess_cfg=parts[0])
    # open_clip only warns when weights trained with QuickGELU meet a model without it, and the features are then off.
    return spec.with_quick_gelu() if tags and all(tag.get("quick_gelu") for tag in tags) else spec


def find_weights(backbone: str, pretrained: str | None) -> Path | None:
    """The weights file that `pretrained` (TAG, FILE or TAG=FILE) means; a tag's is downloaded if it is not cached.

    Raises:
        ModelError: neither a tag nor a file.
        WeightsUnavailableError: it would have to be downloaded and cannot be.
    """
    if pretrained is None:
        return None
    if backbone == SHAPES and pretrained == SHAPES:
        return _SHAPES_FOLDER / "model.safetensors"
    if not is_local(backbone):
        name = open_clip_name(backbone)
        if (tag := _tag_config(name, pretrained)) is not None:
            repository, names = weights_files(str(tag["hf_hub"]))
            return hub.fetch(repository, names, what=f"the weights {name}/{pretrained}")
    elif not Path(pretrained).is_file() and backbone != SHAPES:
        beside = local_config(backbone).parent / pretrained
        if beside.is_file():
            return beside
    if Path(pretrained).is_file():
        return Path(pretrained)
    known = pretrained_tags(backbone)
    tag_name, _, file = pretrained.partition("=")
    if tag_name in known and Path(file).is_file():
        return Path(file)
    raise ModelError(
        f"pretrained={pretrained!r} is neither a file nor a tag of {backbone}"
        + (nearest_names(tag_name, known) if known else ", which has no tags: give a weights file, or null")
        + "."
    )


def weights_files(location: str) -> tuple[str, Sequence[str]]:
    """The hub's repository of a tag's weights, and the names that their file may have, best first.

    Args:
        location: open_clip's `hf_hub`, `owner/repository/` or `owner/repository/file`.
    """
    owner, repository, file_name = location.split("/", 2)
    return f"{owner}/{repository}", _alternatives(file_name) if file_name else OPEN_CLIP_FILES


def needs_transformers(spec: BackboneSpec) -> bool:
    """Whether its text tower or its tokenizer comes from transformers (the extra `hf`)."""
    return "hf_model_name" in spec.text_cfg or "hf_tokenizer_name" in spec.text_cfg


def pretrained_tags(backbone: str) -> list[str]:
    """Tags of the weights that can be had for a backbone."""
    if backbone == SHAPES:
        return [SHAPES]
    if is_local(backbone):
        return []
    import open_clip

    return list(open_clip.list_pretrained_tags_by_model(open_clip_name(backbone)))


def is_known(backbone: str) -> bool:
    """Whether it is a name that `find_spec` knows without a file."""
    import open_clip

    return backbone == SHAPES or open_clip_name(backbone) in open_clip.list_models()


def nearest_backbones(word: str) -> str:
    """The end of a sentence that names the known backbones nearest to a word; empty where none is near."""
    import open_clip

    return nearest_names(open_clip_name(word), [*open_clip.list_models(), SHAPES])


def is_local(backbone: str) -> bool:
    """Whether a backbone is given by a config JSON (or its folder), and not by open_clip's name for it."""
    return backbone == SHAPES or backbone.endswith(".json") or (Path(backbone) / CONFIG_NAME).is_file()


def local_config(backbone: str) -> Path:
    """The config JSON of a local backbone."""
    if backbone == SHAPES:
        return _SHAPES_FOLDER / CONFIG_NAME
    path = Path(backbone)
    return path / CONFIG_NAME if path.is_dir() else path


def open_clip_name(backbone: str) -> str:
    """open_clip's own spelling: ViT-B/32 is ViT-B-32."""
    return backbone.replace("/", "-")


def read_spec(path: Path) -> BackboneSpec:
    """Read a config JSON: `{"model_cfg": …, "preprocess_cfg": …, "tower_weights": …}`, or a bare `{"embed_dim": …}`.

    Raises:
        ModelError: it is not there, or not such a config.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot read the backbone config {path}: {error.strerror or error}.") from None
    except ValueError as error:  # of which JSON and UTF-8 errors are kinds
        raise ModelError(f"{path} is no valid JSON ({error}).") from None
    model_cfg = config.get("model_cfg", config) if isinstance(config, dict) else None
    wanted = {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict}
    if not isinstance(model_cfg, dict) or any(not isinstance(model_cfg.get(key), kind) for key, kind in wanted.items()):
        raise ModelError(f"{path} is no open_clip config: it needs {', '.join(wanted)}.")
    preprocess_cfg = config.get("preprocess_cfg") or {}
    if not isinstance(preprocess_cfg, dict):
        raise ModelError(f"{path}: preprocess_cfg must be an object.")
    tower_weights = config.get("tower_weights") or {}
    if not isinstance(tower_weights, dict) or not all(isinstance(name, str) for name in tower_weights.values()):
        raise ModelError(f'{path}: tower_weights must be an object such as {{"image": "vit.safetensors"}}.')
    return BackboneSpec(model_cfg, _preprocess_part(preprocess_cfg), path.parent, tower_weights)


def unclear_activation(backbone: str, pretrained: str) -> str:
    """A sentence for weights in a file of a backbone that some tags want QuickGELU for and others not; else empty."""
    if is_local(backbone) or _tag_config(open_clip_name(backbone), pretrained.partition("=")[0]):
        return ""
    known = {tag: _tag_config(open_clip_name(backbone), tag) or {} for tag in pretrained_tags(backbone)}
    quick = [tag for tag, config in known.items() if config.get("quick_gelu")]
    if len(quick) in (0, len(known)):
        return ""
    return (
        f"some weights of {backbone} were trained with QuickGELU ({', '.join(quick[:3])}) and some without, and"
        f" {pretrained} does not say: taken as without; if it is of {quick[0]}, name it"
        f" {backbone}/{quick[0]}={pretrained}."
    )


def _likely_tags(name: str, pretrained: str) -> list[dict[str, Any]]:
    """The tag that `pretrained` names, or for a file all those that it could be of."""
    tag = _tag_config(name, pretrained) or _tag_config(name, pretrained.partition("=")[0])
    known = [tag] if tag is not None else [_tag_config(name, other) for other in pretrained_tags(name)]
    return [config for config in known if config is not None]


def _tag_config(name: str, pretrained: str | None) -> dict[str, Any] | None:
    from open_clip.pretrained import get_pretrained_cfg

    return (get_pretrained_cfg(name, pretrained) or None) if pretrained else None


def _preprocess_part(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color")
    return {key: config[key] for key in kept if config.get(key) is not None}


def _alternatives(file_name: str) -> Sequence[str]:
    stem, dot, suffix = file_name.rpartition(".")
    return (f"{stem}.safetensors", file_name) if dot and suffix in ("bin", "pth", "pt") else (file_name,)


def nearest_names(word: str, known: Sequence[str]) -> str:
    """The end of a sentence that names the known ones most like a word: all of a few, none where none is near."""
    if len(known) <= 8:
        return f"; it has {', '.join(known)}"
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=3, cutoff=0.6)
    return f"; the nearest are {', '.join(lowered[name] for name in close)}" if close else ""

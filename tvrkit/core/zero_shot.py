"""What names a zero-shot model: open_clip's name and tag, weights in a file, or a folder as open_clip publishes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from tvrkit.config import ModelConfig
from tvrkit.core.catalogue import fitting
from tvrkit.core.spec import (
    CONFIG_NAME,
    OPEN_CLIP_FILES,
    find_spec,
    is_known,
    is_local,
    local_config,
    nearest_backbones,
    pretrained_tags,
    read_spec,
)
from tvrkit.core.weights import is_openai, read_weights
from tvrkit.errors import ModelError

_WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


def zero_shot_config(source: str) -> ModelConfig:
    """Config of the zero-shot model that a name means: mean of the frames against the sentence.

    Args:
        source: one of
            `NAME/TAG`, or a `NAME` with one obvious tag;
            `NAME=FILE`, weights in a file; `NAME/TAG=FILE`, if they take that tag's preprocessing and activation;
            a folder with open_clip_config.json and weights, or such a config's path (`CONFIG=FILE`, if the weights lie
            elsewhere).

    Raises:
        ModelError: an unknown name or tag, a name whose tag must be chosen, or a file that is not there or could
            belong to any backbone.
    """
    backbone, pretrained = _backbone_and_weights(source)
    context_length = int(find_spec(backbone, pretrained).text_cfg.get("context_length", 77))
    return ModelConfig(backbone=backbone, pretrained=pretrained, max_words=context_length)


def name_and_tag(source: str) -> tuple[str, str]:
    """A known backbone and the tag behind it, which may be empty.

    Raises:
        ModelError: open_clip knows no such name; the nearest are named.
    """
    backbone, _, tag = (source, "", "") if is_known(source) else source.rpartition("/")
    if not is_known(backbone):
        near = "" if source.startswith((".", "/", "~")) else nearest_backbones(backbone or source)
        raise ModelError(f"{source!r} is neither a folder with a model nor an open_clip name/tag{near}.")
    return backbone, tag


def is_open_clip_folder(path: str | Path) -> bool:
    """Whether a folder holds a backbone as open_clip publishes it, on the hub for one."""
    return (Path(path) / CONFIG_NAME).is_file()


def _backbone_and_weights(source: str) -> tuple[str, str]:
    path = Path(source)
    named, equals, file = source.partition("=")
    if equals and not path.exists():
        return _with_file(named, file)
    if source.endswith(".json") or is_open_clip_folder(path):
        return source, str(_weights_beside(source))
    if path.is_file():
        raise ModelError(_which_backbone(path))
    backbone, tag = name_and_tag(source)
    tags = pretrained_tags(backbone)
    if not tag:
        if len(tags) != 1 and "openai" not in tags:
            choice = f"choose its weights, as in {backbone}/{tags[0]}" if tags else "there are none for it"
            raise ModelError(f"{backbone} names no weights: {choice} (tags: {', '.join(tags) or 'none'}).")
        tag = "openai" if "openai" in tags else tags[0]
    return backbone, tag


def _with_file(named: str, file: str) -> tuple[str, str]:
    path = Path(file).expanduser()  # no shell does it behind an equals sign
    if not path.is_file():
        raise ModelError(f"{named}={file}: there is no weights file {path}.")
    if is_local(named):
        return named, str(path)
    backbone, tag = name_and_tag(named)
    return backbone, f"{tag}={path}" if tag else str(path)


def _weights_beside(source: str) -> Path:
    """The weights file in the folder of a config."""
    config = local_config(source)
    read_spec(config)  # if it cannot be read, that is the news
    folder = config.parent
    for name in OPEN_CLIP_FILES:
        if (folder / name).is_file():
            return folder / name
    there = sorted(file for file in folder.iterdir() if file.suffix in _WEIGHTS_SUFFIXES)
    if len(there) == 1:
        return there[0]
    found = f"several weights files ({', '.join(file.name for file in there)})" if there else "no weights file"
    example = f"{source}={there[0] if there else 'FILE'}"
    raise ModelError(f"beside {config} there is {found}: say which one it is, as in {example}.")


def _which_backbone(path: Path) -> str:
    """The sentence for weights that come without a name, with the backbones that they could belong to."""
    weights = read_weights(path)
    if any(name.startswith("backbone.clip.") for name in weights):
        return f"{path} belongs to a model of tvrkit: give the folder that it lies in, not the file."
    image, text = _sizes(weights)
    likely = [name for name in fitting(image, text) if not is_openai(weights) or "openai" in pretrained_tags(name)]
    guess = f" (by its size it could be {', '.join(likely[:4])})" if likely else ""
    return f"which backbone is {path}?{guess} Say so, as in {likely[0] if likely else 'ViT-B-16'}={path}."


def _sizes(weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """Numbers in the image tower, and in the rest."""
    image = sum(tensor.numel() for name, tensor in weights.items() if name.startswith("visual."))
    masks = sum(tensor.numel() for name, tensor in weights.items() if name.endswith("attn_mask"))
    return image, sum(tensor.numel() for tensor in weights.values()) - image - masks

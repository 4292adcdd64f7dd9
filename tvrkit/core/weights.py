"""Weights files: read safely, fitted to a backbone strictly."""

from __future__ import annotations

import pickle
import tarfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tvrkit.core import torchscript
from tvrkit.errors import ModelError

# OpenAI's archives carry these three numbers as tensors beside the weights.
_OPENAI_NUMBERS = frozenset({"input_resolution", "context_length", "vocab_size"})


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a file of tensors onto the CPU; nothing in it is executed.

    Args:
        path: .safetensors, a TorchScript archive as OpenAI published CLIP, or a `torch.save`d state dict, alone or
            under the key `state_dict` or `model`.

    Raises:
        ModelError: it is not there, damaged, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no weights file {path}.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if torchscript.is_archive(path):
        return torchscript.read_archive(path)
    return _read_pickle(path)


def is_openai(weights: Mapping[str, Tensor]) -> bool:
    """Whether these are an archive of OpenAI's own, all of which were trained with QuickGELU."""
    return _OPENAI_NUMBERS <= weights.keys()


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put weights into an open_clip model, in place: every tensor of both must match.

    Older and third-party layouts are renamed, and position embeddings of another grid resized, as open_clip does.

    Raises:
        ModelError: one sentence that names what is missing, unexpected or of another shape.
    """
    fitted = fit_names(model, weights, source)
    check_match(fitted, model.state_dict(), source)
    model.load_state_dict(fitted, strict=True)


def fit_names(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Weights by the names and in the shapes that an open_clip model has for them; what is strange to it stays.

    Raises:
        ModelError: a layout that cannot be renamed or resized.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed

    # Numbers and causal masks are rebuilt from the config; an archive keeps them as if they were weights.
    fitted = {
        name: tensor
        for name, tensor in weights.items()
        if name not in _OPENAI_NUMBERS and name.rpartition(".")[2] not in ("attn_mask", "position_ids")
    }
    try:
        fitted = convert_state_dict(model, fitted)
        if "positional_embedding" in fitted and not hasattr(model, "positional_embedding"):
            fitted = convert_to_custom_text_state_dict(fitted)
        for name, own in model.state_dict().items():
            if name.endswith(".position_ids"):  # counted up anew by some versions of transformers, stored by others
                fitted[name] = own
        for name in ("logit_scale", "logit_bias"):  # a number in some releases, a vector of one in others
            own = getattr(model, name, None)
            if own is not None and name in fitted and fitted[name].numel() == 1:
                fitted[name] = fitted[name].reshape(own.shape)
        bias = getattr(model, "logit_bias", None)
        if bias is not None:  # which weights of before SigLIP lack, and no similarity needs
            fitted.setdefault("logit_bias", torch.zeros_like(bias))
        resize_pos_embed(fitted, model)
        if "positional_embedding" in fitted or "text.positional_embedding" in fitted:
            resize_text_pos_embed(fitted, model)
    except (KeyError, AssertionError, RuntimeError, AttributeError, IndexError) as error:
        raise ModelError(f"the weights in {source} do not fit this model: {str(error) or 'another layout'}.") from None
    return fitted


def check_match(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> None:
    """Raise a ModelError that says in one sentence how two state dicts differ, if they do."""
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    reshaped = [
        f"{name} is {_shape(given[name])} instead of {_shape(wanted[name])}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    differences = [
        *([f"missing {_first(missing)}"] if missing else []),
        *([f"unexpected {_first(unexpected)}"] if unexpected else []),
        *([_first(reshaped)] if reshaped else []),
    ]
    if differences:
        raise ModelError(f"the weights in {source} do not fit this model: {'; '.join(differences)}.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {str(error).rstrip('.')}.") from None
    return weights


def _read_pickle(path: Path) -> dict[str, Tensor]:
    # torch before 2.6 unpickled what lies in its oldest format, a tar, without the guard that is asked for here.
    if tarfile.is_tarfile(path):
        raise ModelError(f"{path} is a tar, in which code could hide: save its state dict alone, best as .safetensors.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on old pickles, before it refuses them
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise ModelError(
                f"{path} holds more than tensors, and loading that could run code hidden in it: save its state dict"
                " alone, best as .safetensors."
            ) from None
        raise ModelError(f"{path} is no weights file, or a damaged one.") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelError(f"{path} is no weights file, or a damaged one ({reason}).") from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(_named_tensor(item) for item in content.items()):
        raise ModelError(f"{path} holds no state dict: a mapping of names to tensors was expected.")
    if all(name.startswith("module.") for name in content):  # saved from under DistributedDataParallel
        content = {name.removeprefix("module."): value for name, value in content.items()}
    return dict(content)


def _named_tensor(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _first(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"

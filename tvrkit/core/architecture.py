"""Building what a spec says, in open_clip's terms: the model, its tokenizer and its preprocessing."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from tvrkit.core import hub, towers
from tvrkit.core.spec import BackboneSpec
from tvrkit.errors import InstallError, ModelError, TvrkitError

_SIMPLE_OPTIONS = frozenset({"bpe_path", "clean", "additional_special_tokens"})
_HUGGING_FACE_OPTIONS = frozenset({"clean", "strip_sep_token", "language"})
_TOKENIZER_FILES = (
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "config.json",
)


def build_clip(spec: BackboneSpec) -> Any:
    """open_clip's model for a spec, with random weights.

    Raises:
        ModelError: open_clip, timm or transformers cannot build it.
    """
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP

    config: dict[str, Any] = deepcopy(dict(spec.model_cfg))
    custom_text = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    multimodal = config.get("multimodal_cfg") is not None
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in config["text_cfg"]:
        _prepare_hugging_face(config["text_cfg"], spec)
    model_class = CLIP if not custom_text else CoCa if multimodal else CustomTextCLIP
    try:
        clip = model_class(**config)
        towers.check_pooling(clip)
        _fit_input_size(clip)
    except TvrkitError:
        raise
    except Exception as error:  # three libraries read the config, each with errors of its own
        raise ModelError(f"open_clip cannot build this backbone: {_first_line(error)}.") from None
    return clip


def _fit_input_size(clip: Any) -> None:
    """Let an image tower of timm's take the images that the config has, where its own default is another size.

    open_clip passes the size to the preprocessing alone.
    """
    trunk = getattr(clip.visual, "trunk", None)
    size = getattr(getattr(trunk, "patch_embed", None), "img_size", None)
    wanted = clip.visual.image_size
    if trunk is not None and size is not None and tuple(size) != tuple(wanted) and hasattr(trunk, "set_input_size"):
        trunk.set_input_size(img_size=tuple(wanted))


def _prepare_hugging_face(text_cfg: dict[str, Any], spec: BackboneSpec) -> None:
    """Point the text tower at a folder with its config, and at no weights."""
    _need_transformers("its text tower")
    text_cfg["hf_model_pretrained"] = False
    text_cfg["hf_model_name"] = str(_hugging_face_folder(str(text_cfg["hf_model_name"]), spec, "config.json", ()))


def build_encoder(spec: BackboneSpec, context_length: int) -> Any:
    """open_clip's tokenizer for a spec: a SimpleTokenizer or an HFTokenizer.

    Raises:
        ModelError: its files are damaged or not there.
        InstallError: it needs transformers.
        WeightsUnavailableError: its files would have to be downloaded and cannot be.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    options = dict(spec.text_cfg.get("tokenizer_kwargs") or {})
    name = spec.text_cfg.get("hf_tokenizer_name")
    known_options = _HUGGING_FACE_OPTIONS if name else _SIMPLE_OPTIONS
    # transformers takes options that make it run code out of the folder, and a config may be a stranger's.
    if unknown := set(options) - known_options:
        raise ModelError(
            f"the backbone's config has the tokenizer option {min(unknown)}, and tvrkit passes on only"
            f" {', '.join(sorted(known_options))}."
        )
    try:
        if name:
            _need_transformers("its tokenizer")
            folder = _hugging_face_folder(str(name), spec, "tokenizer_config.json", _TOKENIZER_FILES)
            mode = spec.text_cfg.get("tokenizer_mode")
            return HFTokenizer(str(folder), context_length=context_length, tokenizer_mode=mode, **options)
        if "bpe_path" in options:
            options["bpe_path"] = str(file_of(spec, str(options["bpe_path"])))
        encoder = SimpleTokenizer(context_length=context_length, **options)
    except TvrkitError:
        raise
    except Exception as error:  # files of a stranger's making, read by two libraries
        raise ModelError(f"this backbone's tokenizer cannot be built: {_first_line(error)}.") from None
    known = int(spec.text_cfg.get("vocab_size", 49408))
    if encoder.vocab_size > known:
        raise ModelError(
            f"this backbone's tokenizer has {encoder.vocab_size} tokens, and its text tower knows {known} (vocab_size)."
        )
    return encoder


def file_of(spec: BackboneSpec, relative: str) -> Path:
    """A file that a config names, which must lie in the config's own folder."""
    if spec.folder is None:
        raise ModelError(f"the backbone's config names the file {relative}, and has no folder.")
    path = (spec.folder / relative).resolve()
    if not path.is_relative_to(spec.folder.resolve()):
        raise ModelError(f"the backbone's config names {relative}, which lies outside its folder {spec.folder}.")
    if not path.is_file():
        raise ModelError(f"the backbone's config names {relative}, which is not in {spec.folder}.")
    return path


def bpe_file(spec: BackboneSpec) -> tuple[str, bytes] | None:
    """Name and content of the byte pairs that a config names; None where it names none.

    Raises:
        ModelError: they are not there.
    """
    options = spec.text_cfg.get("tokenizer_kwargs") or {}
    if "bpe_path" not in options:
        return None
    path = file_of(spec, str(options["bpe_path"]))
    return path.name, path.read_bytes()


def _hugging_face_folder(name: str, spec: BackboneSpec, required: str, optional: tuple[str, ...]) -> Path:
    """The config's own folder if the files are there, else the hub's cache, else downloaded."""
    if spec.folder is not None and (spec.folder / required).is_file():
        return spec.folder
    if Path(name).is_absolute():
        raise ModelError(f"the backbone's config names the folder {name}: put its files beside the config.")
    return hub.fetch_folder(name, required, optional, what=f"{name}'s {required.partition('.')[0]}")


def _need_transformers(what: str) -> None:
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise InstallError(f"{what} needs the package transformers: run `pip install 'tvrkit[hf]'`.") from None


def preprocess_config(spec: BackboneSpec, clip: Any) -> dict[str, Any]:
    """open_clip's preprocessing options for a spec, every one written out."""
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    merged: dict[str, Any] = merge_preprocess_dict(PreprocessCfg(), dict(spec.preprocess_cfg))
    merged["size"] = clip.visual.image_size  # what the tower takes, whatever the config says
    return merged


def build_transform(preprocess_cfg: dict[str, Any]) -> Any:
    """open_clip's validation transform: a PIL image to (3, H, W) float32.

    Raises:
        ModelError: an option has no meaning to open_clip.
    """
    from open_clip.transform import PreprocessCfg, image_transform_v2

    try:
        return image_transform_v2(PreprocessCfg(**preprocess_cfg), is_train=False)
    except (AssertionError, ValueError, TypeError) as error:
        raise ModelError(f"the backbone's preprocess_cfg cannot be used: {error or preprocess_cfg}.") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")

"""The public references' own modules, loaded from checkouts that lie elsewhere; only their numbers come in here."""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import nn

DMAE = "prj/dmae_vtp/roi_univl/univl/model"


def dmae(folder: Path) -> Any:
    """The module `dmae_utils` of alipay/Ant-Multi-Modal-Framework, without the framework around it."""
    place = folder / DMAE
    stand_ins = {
        "antmmf.utils.distributed_utils": {"gather_tensor": None},
        "antmmf.modules.vision.backbone.clip.model": {"QuickGELU": nn.GELU},
    }
    with _modules(stand_ins):
        _load("parity_dmae.tpmcl_utils", place / "tpmcl_utils.py")
        return _load("parity_dmae.dmae_utils", place / "dmae_utils.py")


def dmae_model(module: Any, dim: int, frames: int, words: int, interaction: str, nearest: bool, layers: int) -> Any:
    """Its `DmaeUtils`, in training mode, for matched batches on a CPU."""
    config = SimpleNamespace(
        hidden_size=dim,
        l3_interaction=interaction,
        l3_with_nfc=nearest,
        l3_wti_arch=layers,
        l3_sim_header="meanP",
        l3_partial_type=4,
        l3_max_frames=frames - 1,  # it adds one
        l3_max_words=words,
        l3_cis_thresh=0.6,
        l3_margin_loss_thresh=0.6,
    )
    return module.DmaeUtils(config).train()


def drl(folder: Path) -> Any:
    """The class `DRL` of foolwood/DRL; its methods are called on an object that has only what they read."""
    parts = {
        "module_clip": {"CLIP": nn.Module, "convert_weights": None, "_PT_NAME": {}},
        "module_cross": {"CrossModel": nn.Module, "Transformer": nn.Module},
        "until_module": {
            "LayerNorm": nn.Module,
            "AllGather": SimpleNamespace(apply=None),
            "AllGather2": SimpleNamespace(apply=None),
            "CrossEn": nn.Module,
        },
    }
    with _modules({f"parity_drl.{name}": names for name, names in parts.items()}):
        return _load("parity_drl.modeling", folder / "tvr/models/modeling.py").DRL


def clip4clip(folder: Path) -> Any:
    """The class `CLIP4Clip` of ArrowLuo/CLIP4Clip."""
    parts = {
        "until_module": {
            "PreTrainedModel": type("PreTrainedModel", (), {}),
            "AllGather": SimpleNamespace(apply=None),
            "CrossEn": nn.Module,
        },
        "module_cross": {"CrossModel": nn.Module, "CrossConfig": object, "Transformer": nn.Module},
        "module_clip": {"CLIP": nn.Module, "convert_weights": None},
    }
    with _modules({f"modules.{name}": names for name, names in parts.items()}):
        return _load("parity_clip4clip.modeling", folder / "modules/modeling.py").CLIP4Clip


@contextmanager
def _modules(stand_ins: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Let imports of a framework find stand-ins: what is compared here uses none of what they would bring."""
    known = dict(sys.modules)
    for name, content in stand_ins.items():
        parts = name.split(".")
        for end in range(1, len(parts)):
            package = types.ModuleType(".".join(parts[:end]))
            package.__path__ = []  # a package
            sys.modules.setdefault(package.__name__, package)
        module = types.ModuleType(name)
        vars(module).update(content)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in set(sys.modules) - set(known):
            if name.partition(".")[0] in {stand_in.partition(".")[0] for stand_in in stand_ins}:
                del sys.modules[name]


def _load(name: str, path: Path) -> Any:
    if not path.is_file():
        raise SystemExit(f"{path} is not there: give the folder of a checkout.")
    package = name.partition(".")[0]
    if package not in sys.modules:
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = []
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    warnings.filterwarnings("ignore", message="To copy construct from a tensor")
    spec.loader.exec_module(module)
    return module

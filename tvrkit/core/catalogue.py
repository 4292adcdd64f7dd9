"""The backbones that there are: sizes, licences, what is said of them and what is at hand, without loading torch.

Sizes were counted once (`docs/backbone_table.py`); licences and figures are other people's words, each with its source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tvrkit.config import load_config, preset_names
from tvrkit.core import hub
from tvrkit.core.spec import SHAPES, BackboneSpec, needs_transformers, weights_files

DEFAULT_SEARCH_BACKBONE = "PE-Core-S-16-384/meta"
"""What `tvrkit query` searches with when no model was trained or named; docs/backbones.md says why."""

SHORTLIST = (
    "shapes/shapes",
    "PE-Core-T-16-384/meta",
    "PE-Core-S-16-384/meta",
    "PE-Core-B-16/meta",
    "PE-Core-L-14-336/meta",
    "PE-Core-bigG-14-448/meta",
    "MobileCLIP2-S0/dfndr2b",
    "MobileCLIP2-S2/dfndr2b",
    "MobileCLIP2-S4/dfndr2b",
    "ViT-B-32/openai",
    "ViT-B-16/openai",
    "ViT-L-14/openai",
    "ViT-L-14-336/openai",
    "ViT-B-32/laion2b_s34b_b79k",
    "ViT-B-16/datacomp_xl_s13b_b90k",
    "ViT-L-14/datacomp_xl_s13b_b90k",
    "ViT-H-14/dfn5b",
    "ViT-B-16-SigLIP2-256/webli",
    "ViT-L-16-SigLIP2-256/webli",
    "ViT-SO400M-14-SigLIP2-378/webli",
)
"""A sensible choice for each size: the strongest of their kind, those of OpenAI that papers build on, the built-in."""

ARCHITECTURES = Path(__file__).parents[1] / "assets" / "backbones" / "architectures.json"
_FACTS = ARCHITECTURES.with_name("facts.json")


@dataclass(frozen=True)
class Licence:
    """Under which terms weights are given away, as their owners state it."""

    name: str
    note: str
    source: str


@dataclass(frozen=True)
class Figure:
    """Somebody's zero-shot result: percent on a benchmark, and how and where it was published."""

    measure: str
    value: float
    what: str
    source: str


@dataclass(frozen=True)
class Entry:
    """A backbone with one of its weights: what `--model` takes.

    Attributes:
        backbone, tag: open_clip's names; a tag of None has no published weights.
        parameters: of the image tower and of the rest; None where the backbone is newer than our counts.
        image_size: side of its input in pixels.
        dim: D, length of its features.
        context_length: positions of its text tower.
        needs_transformers: whether it works only with the extra `hf`.
        repository: where its weights lie on the hub.
        licence: None where nothing is known: the repository's page says it.
        figures: zero-shot results that were published.
        cached: whether its weights are here, in the hub's cache or in the package.
        default_of: commands and presets that take it by themselves.
    """

    backbone: str
    tag: str | None
    parameters: tuple[int, int] | None
    image_size: int
    dim: int
    context_length: int
    needs_transformers: bool
    repository: str | None
    licence: Licence | None
    figures: tuple[Figure, ...]
    cached: bool
    default_of: tuple[str, ...]

    @property
    def name(self) -> str:
        """As `--model` takes it."""
        return self.backbone if self.tag is None else f"{self.backbone}/{self.tag}"

    @property
    def built_in(self) -> bool:
        """Whether tvrkit itself brings its weights."""
        return self.backbone == SHAPES

    def figure(self, measure: str) -> float | None:
        """The published value of a measure, if there is one."""
        return next((figure.value for figure in self.figures if figure.measure == measure), None)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, **asdict(self), "built_in": self.built_in}


def catalogue() -> list[Entry]:
    """Every backbone with each of its weights, small ones first.

    Imports open_clip, and with it torch, only where another version of it is installed than the sizes were counted for.
    """
    entries = [
        _entry(name, tag, facts)
        for name, facts in _architectures().items()
        for tag in (facts["tags"] or [None])  # an architecture that nobody published weights of
    ]
    return sorted(entries, key=lambda entry: (sum(entry.parameters or (10**12,)), entry.name))


def describe(spec: BackboneSpec, tags: Mapping[str, str | None]) -> dict[str, Any]:
    """What `architectures.json` says of a backbone, but for its parameters."""
    vision_cfg: Mapping[str, Any] = spec.model_cfg["vision_cfg"]
    return {
        "parameters": None,
        "image_size": vision_cfg.get("image_size", 224),
        "dim": spec.model_cfg["embed_dim"],
        "context_length": spec.text_cfg.get("context_length", 77),
        "needs_transformers": needs_transformers(spec),
        "tags": dict(tags),
    }


def fitting(image: int, rest: int) -> list[str]:
    """Backbones with about so many parameters in the image tower and in the rest, the likeliest first.

    Half a percent is left for what is stored beside parameters (running statistics, masks).
    """
    found = []
    for name, facts in _architectures().items():
        if facts["parameters"] is not None:
            own_image, own_rest = facts["parameters"]
            apart = max(abs(image - own_image) / own_image, abs(rest - own_rest) / own_rest)
            if apart < 0.005:
                found.append((apart, not facts["tags"], len(name), name))
    return [name for *_, name in sorted(found)]


def _entry(name: str, tag: str | None, facts: Mapping[str, Any]) -> Entry:
    location = facts["tags"].get(tag)
    repository, files = weights_files(location) if location else (None, ())
    weights = f"{name}/{tag}"
    return Entry(
        backbone=name,
        tag=tag,
        parameters=tuple(facts["parameters"]) if facts["parameters"] else None,
        image_size=facts["image_size"],
        dim=facts["dim"],
        context_length=facts["context_length"],
        needs_transformers=facts["needs_transformers"],
        repository=repository,
        licence=_licence(weights) if tag else None,
        figures=_figures(weights),
        cached=name == SHAPES or (repository is not None and hub.cached(repository, files) is not None),
        default_of=tuple(_defaults().get(weights, ())),
    )


def _architectures() -> dict[str, Any]:
    table = json.loads(ARCHITECTURES.read_text(encoding="utf-8"))
    known: dict[str, Any] = table["backbones"]
    return known if metadata.version("open_clip_torch") == table["open_clip"] else _installed(known)


def _installed(known: Mapping[str, Any]) -> dict[str, Any]:
    """The backbones and tags of the open_clip that is installed, with what is known of them."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    from tvrkit.core.spec import find_spec

    found = {SHAPES: known[SHAPES]}
    for name in open_clip.list_models():
        tags = {
            tag: get_pretrained_cfg(name, tag).get("hf_hub") for tag in open_clip.list_pretrained_tags_by_model(name)
        }
        found[name] = {**known[name], "tags": tags} if name in known else describe(find_spec(name), tags)
    return found


@cache
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(_FACTS.read_text(encoding="utf-8"))
    return facts


def _licence(weights: str) -> Licence | None:
    for terms in _facts()["licences"]:
        if any(fnmatchcase(weights, pattern) for pattern in terms["weights"]):
            return Licence(terms["licence"], terms["note"], terms["source"])
    return None


def _figures(weights: str) -> tuple[Figure, ...]:
    # open_clip lists the same weights under the backbone's plain name and under that with QuickGELU.
    name, _, tag = weights.partition("/")
    plain = name.removesuffix("-quickgelu")
    spellings = dict.fromkeys([weights, f"{plain}/{tag}", f"{plain}-quickgelu/{tag}"])
    found: dict[str, Figure] = {}
    for spelling in spellings:
        for table in _facts()["figures"]:
            if spelling in table["values"]:
                figure = Figure(table["measure"], table["values"][spelling], table["what"], table["source"])
                found.setdefault(figure.measure, figure)
    return tuple(found.values())


@cache
def _defaults() -> Mapping[str, Sequence[str]]:
    """name/tag -> what takes it by itself."""
    found: dict[str, list[str]] = {DEFAULT_SEARCH_BACKBONE: ["query"]}
    for preset in preset_names():
        model = load_config(preset).model
        found.setdefault(f"{model.backbone}/{model.pretrained}", []).append(f"preset {preset}")
    return found

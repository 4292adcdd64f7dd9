from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.pretrained import get_pretrained_cfg
from support import clean_environment

from tvrkit.core import catalogue as module
from tvrkit.core.architecture import build_clip
from tvrkit.core.catalogue import ARCHITECTURES, DEFAULT_SEARCH_BACKBONE, SHORTLIST, catalogue
from tvrkit.core.spec import find_spec, needs_transformers

FACTS = json.loads(ARCHITECTURES.with_name("facts.json").read_text(encoding="utf-8"))
SAME_OPEN_CLIP = metadata.version("open_clip_torch") == json.loads(ARCHITECTURES.read_text())["open_clip"]
as_counted = pytest.mark.skipif(not SAME_OPEN_CLIP, reason="the table was made with another open_clip")


@pytest.fixture(scope="module")
def entries():
    return {entry.name: entry for entry in catalogue()}


def test_it_holds_every_backbone_with_each_of_its_weights(entries):
    listed = {f"{name}/{tag}" for name, tag in open_clip.list_pretrained()}
    trained = {name for name, entry in entries.items() if entry.tag is not None}
    assert trained == listed | {"shapes/shapes"}
    assert {entry.backbone for entry in entries.values()} == {*open_clip.list_models(), "shapes"}
    assert max(Counter(entry.name for entry in catalogue()).values()) == 1


@as_counted
def test_what_it_says_of_an_architecture_is_open_clips(entries):
    for entry in entries.values():
        spec = find_spec(entry.backbone)
        assert entry.dim == spec.model_cfg["embed_dim"]
        assert entry.image_size == spec.model_cfg["vision_cfg"].get("image_size", 224)
        assert entry.context_length == spec.text_cfg.get("context_length", 77)
        assert entry.needs_transformers == needs_transformers(spec)
        if entry.tag is not None and not entry.built_in:
            assert get_pretrained_cfg(entry.backbone, entry.tag)["hf_hub"].startswith(f"{entry.repository}/")


@as_counted
@pytest.mark.parametrize("name", ["shapes", "ViT-B-32", "RN50", "PE-Core-T-16-384", "coca_ViT-B-32"])
def test_parameters_are_counted_as_they_are(entries, name):
    with torch.device("meta"):
        clip = build_clip(find_spec(name))
    vision = sum(p.numel() for p in clip.visual.parameters())
    rest = sum(p.numel() for key, p in clip.named_parameters() if not key.startswith(("visual.", "text_decoder.")))
    assert next(entry for entry in entries.values() if entry.backbone == name).parameters == (vision, rest)


def test_the_short_list_and_the_defaults_are_in_it(entries):
    assert set(SHORTLIST) <= set(entries)
    assert "query" in entries[DEFAULT_SEARCH_BACKBONE].default_of
    assert "preset msrvtt-b16" in entries["ViT-B-16-quickgelu/openai"].default_of
    assert "preset tiny" in entries["shapes/shapes"].default_of


def test_small_ones_come_first():
    sizes = [sum(entry.parameters) for entry in catalogue() if entry.parameters]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("shapes/shapes", "Apache-2.0"),
        ("PE-Core-B-16/meta", "Apache-2.0"),
        ("ViT-B-32/openai", "MIT"),
        ("ViT-B-16/metaclip_fullcc", "CC-BY-NC-4.0"),
        ("ViT-H-14-worldwide/metaclip2_worldwide", "CC-BY-NC-4.0"),
        ("ViT-L-14/dfn2b_s39b", "Apple AMLR"),
        ("MobileCLIP-B/datacompdr", "Apple AMLR"),
        ("ViT-B-16-SigLIP2/webli", "Apache-2.0"),
        ("EVA02-E-14/laion2b_s4b_b115k", "MIT"),
        ("ViT-H-14-CLIPA-336/laion2b", "Apache-2.0"),
        ("nllb-clip-base/v1", "CC-BY-NC-4.0"),
        ("ViT-B-16/datacomp_xl_s13b_b90k", "MIT"),
        ("RN50/cc12m", None),  # nobody says: the page of its weights is named instead
    ],
)
def test_licences(entries, name, licence):
    found = entries[name].licence
    assert (found and found.name) == licence


def test_every_licence_and_figure_belongs_to_something_and_has_a_source(entries):
    for terms in FACTS["licences"]:
        assert terms["source"] and terms["licence"]
        for pattern in terms["weights"]:
            assert any(fnmatchcase(name, pattern) for name in entries), pattern
    for table in FACTS["figures"]:
        assert table["source"].startswith("https://") and table["what"]
        assert set(table["values"]) <= set(entries)
        assert all(0 < value < 100 for value in table["values"].values())


def test_figures_are_those_that_were_published(entries):
    published = {"T-16-384": 28.8, "S-16-384": 39.3, "B-16": 47.6, "L-14-336": 50.3, "bigG-14-448": 51.2}
    for name, value in published.items():
        assert entries[f"PE-Core-{name}/meta"].figure("MSR-VTT") == value
    assert entries["ViT-B-32/openai"].figure("MSR-VTT") == 31.2
    # The same weights under open_clip's two names for the architecture.
    assert entries["ViT-B-16/metaclip_fullcc"].figures == entries["ViT-B-16-quickgelu/metaclip_fullcc"].figures != ()
    assert entries["MobileCLIP2-S0/dfndr2b"].figures == ()


def test_another_open_clip_is_asked_itself(tmp_path, monkeypatch, entries):
    """With its own names: those that are new to us have no count, those that it lacks are not listed."""
    table = json.loads(ARCHITECTURES.read_text())
    table["open_clip"] = "0.0.1"
    del table["backbones"]["ViT-B-32"]
    table["backbones"]["ViT-Old-1"] = {**table["backbones"]["RN50"], "tags": {"gone": "a/b/"}}
    table["backbones"]["RN50"]["tags"] = {"gone": "a/b/"}
    older = tmp_path / "architectures.json"
    older.write_text(json.dumps(table))
    monkeypatch.setattr(module, "ARCHITECTURES", older)
    found = {entry.name: entry for entry in catalogue()}
    assert set(found) == set(entries)
    new = found["ViT-B-32/openai"]
    assert new.parameters is None and (new.image_size, new.dim, new.context_length) == (224, 512, 77)
    assert new.licence == entries["ViT-B-32/openai"].licence
    assert found["RN50/openai"] == entries["RN50/openai"]
    assert list(found)[-1].startswith("ViT-B-32/")  # of unknown size


CACHED = """
import sys
from tvrkit.core.catalogue import catalogue
print(*[entry.name for entry in catalogue() if entry.cached])
assert not {"torch", "open_clip", "transformers"} & set(sys.modules)
"""


def in_a_fresh_process(home: Path) -> list[str]:
    # Where the hub's cache lies is read when its package is imported.
    run = [sys.executable, "-W", "error", "-c", CACHED]
    done = subprocess.run(run, env=clean_environment(home), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@as_counted
def test_what_is_cached_is_found_without_torch(tmp_path):
    assert in_a_fresh_process(tmp_path) == ["shapes/shapes"]
    repository = tmp_path / ".cache/huggingface/hub/models--timm--vit_base_patch32_clip_224.openai"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "open_clip_config.json").write_text("{}")
    assert in_a_fresh_process(tmp_path) == ["shapes/shapes"]  # a config alone is no weights
    (snapshot / "open_clip_model.safetensors").write_bytes(b"")
    assert in_a_fresh_process(tmp_path) == ["shapes/shapes", "ViT-B-32-quickgelu/openai", "ViT-B-32/openai"]

"""What is told of each benchmark, and that the parts agree."""

from __future__ import annotations

import pytest
from support import REPO

from tvrkit.config import preset_names
from tvrkit.prepare.benchmarks import BENCHMARKS
from tvrkit.protocols import PROTOCOLS

PAGE = REPO / "docs/benchmarks.md"


def test_names_and_order():
    assert list(BENCHMARKS) == ["msrvtt", "msvd", "didemo", "activitynet", "lsmdc", "vatex", "charades"]


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda b: b.name)
def test_every_benchmark_is_whole(benchmark):
    assert set(benchmark.splits.values()) <= set(PROTOCOLS)
    for words in (benchmark.about, benchmark.licence, benchmark.by_hand):
        assert words.endswith(".") and not words[0].islower() and "\n" not in words
    assert benchmark.homepage.startswith("http") and benchmark.paper[-4:].isdigit()
    assert len(set(benchmark.annotation_files)) == len(benchmark.annotation_files)
    names = [asset.name for asset in benchmark.assets]
    assert len(set(names)) == len(names)
    for asset in benchmark.assets:
        assert asset.urls and set(asset.splits) <= set(benchmark.splits)
        archive = asset.name.endswith((".zip", ".tar")) or ".tar.part" in asset.name
        assert archive or asset.name in benchmark.annotation_files
    for split in benchmark.splits:
        needed = [a for a in benchmark.assets if a.holds == "annotations" and a.needed_by(split)]
        assert benchmark.name == "lsmdc" or needed


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda b: b.name)
def test_the_page_tells_of_every_file(benchmark):
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {benchmark.title}\n")[2].partition("\n## ")[0]
    assert section, f"docs/benchmarks.md has no section {benchmark.title}"
    missing = [name for name in benchmark.annotation_files if f"`{name}`" not in section]
    assert not missing
    assert all(f"`{protocol}`" in section for protocol in benchmark.splits.values())


def test_presets_are_there():
    for benchmark in BENCHMARKS.values():
        assert benchmark.preset is None or benchmark.preset in preset_names()

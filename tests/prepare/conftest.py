"""A short clip, a small MSVD, and the preparation of a benchmark in this process."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
from media import make_video
from small_msvd import write_lists

from tvrkit.frames.reading import Reading
from tvrkit.manifest import read_manifest
from tvrkit.prepare.benchmark import prepare_benchmark
from tvrkit.prepare.benchmarks import BENCHMARKS
from tvrkit.prepare.material import BenchmarkOptions


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """One second of video."""
    return make_video(tmp_path_factory.mktemp("clip") / "clip.avi", num_frames=10, fps=10, codec="mpeg4", size=(64, 48))


@pytest.fixture
def lists(tmp_path):
    """The lists of the small MSVD."""
    return write_lists(tmp_path / "lists")


@pytest.fixture
def prepare_named(tmp_path):
    """Prepare a benchmark, decoding in this process; gives (report, records by id, lines of videos.csv by id)."""

    def run(benchmark="msvd", name=None, assets=None, **options):
        options.setdefault("reading", Reading(workers=0))
        name = name or benchmark
        folder = tmp_path / "data" / name
        known = BENCHMARKS[benchmark]
        if assets is not None:
            known = replace(known, assets=assets)
        report = prepare_benchmark(known, folder, name=name, options=BenchmarkOptions(**options))
        manifest = read_manifest(report.manifest)
        with (folder / "videos.csv").open(encoding="utf-8", newline="") as file:
            lines = {line["video_id"]: line for line in csv.DictReader(file)}
        assert all(manifest.file_of(record).is_file() for record in manifest.records)
        return report, {record.video_id: record for record in manifest.records}, lines

    return run

"""Recall against exact scores: 1 where nothing can be missed, and by hand where much is."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

import pytest
import torch
from galleries import PlainEngine, filled, moments_of
from searching import make_model
from torch import Tensor

import tvrkit.index.measure as measure_module
from tvrkit.core import RetrievalModel
from tvrkit.index.engine import MomentRef
from tvrkit.index.measure import RANKS, exact_scores, measure
from tvrkit.index.parts import query_of_frames
from tvrkit.index.search import Searcher


@pytest.fixture(autouse=True)
def fewer_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_module, "_SENTENCES", 16)
    monkeypatch.setattr(measure_module, "_OF_THE_INDEX", 16)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> RetrievalModel:
    return make_model(tmp_path_factory.mktemp("model") / "m", nearest_frame=True)


def videos_of(model: RetrievalModel, count: int) -> dict[str, object]:
    random = torch.Generator().manual_seed(0)
    return {f"{i:04x}": moments_of([torch.randn(3, model.backbone.dim, generator=random)]) for i in range(count)}


class Blind(PlainEngine):
    """Its candidates are always the first moments, whatever is asked."""

    def candidates(self, vectors: Tensor, count: int, allowed: Collection[str] | None = None) -> list[MomentRef]:
        return sum(self.refs(allowed), [])[:count]


def test_where_all_are_candidates_nothing_is_missed(small: RetrievalModel, tmp_path: Path) -> None:
    with filled(tmp_path, videos_of(small, 30)) as index:
        steps: list[tuple[int, int]] = []
        found = measure(Searcher(small, index.engine()), lambda *step: steps.append(step))
    assert found.videos == found.moments == 30 and steps[-1] == (30, 30)
    assert found.queries == {"sentences": 16, "frames": 15, "moments": 15}
    assert set(found.recall.values()) == {1.0} and found.candidates == dict.fromkeys(RANKS, 30)
    assert 0 < found.seconds <= found.slow_seconds and found.encode_seconds > 0 and found.exact_seconds > 0


def test_what_a_blind_first_stage_finds_is_what_chance_gives(small: RetrievalModel) -> None:
    found = measure(Searcher(small, Blind(videos_of(small, 1000))))
    assert found.candidates == {1: 400, 10: 400, 100: 1000}
    for kind in found.queries:
        # 400 of 1,000 are looked at: two fifths of the best are among them, more or less; of 100, all are looked at.
        assert found.recall[kind, 10] == pytest.approx(0.4, abs=0.14) and found.recall[kind, 100] == 1.0
        assert found.recall[kind, 1] < 0.8


def test_a_good_first_stage_finds_nearly_all(small: RetrievalModel, tmp_path: Path) -> None:
    with filled(tmp_path, videos_of(small, 1000)) as index:
        found = measure(Searcher(small, index.engine()))
    assert found.recall["frames", 10] > 0.9 and found.recall["moments", 10] > 0.9
    rows = found.rows()
    assert rows[0] == ["asked for", "queries", "recall@1", "recall@10", "recall@100"]
    assert [row[0] for row in rows[1:]] == list(found.queries)
    assert rows[2][3] == f"{found.recall['frames', 10]:.3f}"
    words = str(found)
    assert "1,000 videos, 1,000 moments" in words and "400 for 1, 400 for 10, 1,000 for 100" in words
    assert str(dataclasses.replace(found, seconds=0.0123)).count("12.3 ms") == 1


def test_exact_scores_are_the_best_moment_s_and_not_one_s_own(small: RetrievalModel) -> None:
    dim = small.backbone.dim
    x, y = torch.eye(2, dim)
    engine = PlainEngine({"bb": moments_of([y[None], x[None]]), "aa": moments_of([y[None]])})
    queries = [query_of_frames(small, x[None]), query_of_frames(small, y[None], identity="bb")]
    scores = exact_scores(engine, {"q": queries})["q"]
    assert scores.tolist() == [[0.0, pytest.approx(1)], [pytest.approx(1), -torch.inf]]  # by identity: aa, bb

"""A folder sorted by words, against the judge asked moment by moment."""

from __future__ import annotations

import pytest
import torch
from indexing import meta_of, open_new
from searching import make_model

from tvrkit.core import RetrievalModel, load_model
from tvrkit.encode import encode_texts
from tvrkit.encode.moments import VideoMoments, pooled_vectors
from tvrkit.index import filtering
from tvrkit.index.calibration import Calibration
from tvrkit.index.confidence import Judge
from tvrkit.index.engine import Engine, MomentRef
from tvrkit.index.filtering import Verdict, judge_videos
from tvrkit.index.video_index import FileRow

KEEP, DROP = ("a dog", "a red square"), ("a cartoon", "a cat")


def made_up(dim: int, moments: int) -> VideoMoments:
    frames = torch.nn.functional.normalize(torch.randn(moments * 2, dim), dim=-1)
    parts = frames.view(moments, 2, dim)
    return VideoMoments(
        spans=torch.zeros(moments, 2, dtype=torch.float64),
        counts=torch.full((moments,), 2),
        frame_features=frames.half(),
        pts_seconds=torch.zeros(moments * 2, dtype=torch.float64),
        nearest_gain=torch.zeros(moments * 2),
        nearest_frame=torch.zeros(moments * 2, dtype=torch.int16),
        pooled=pooled_vectors(parts, torch.ones(moments, 2, dtype=torch.bool)).half(),
        duration_seconds=1.0,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[RetrievalModel, Engine, Judge]:
    folder = tmp_path_factory.mktemp("filtering")
    make_model(folder / "m")
    model = load_model(folder / "m")
    torch.manual_seed(3)
    with open_new(folder / "index", meta_of(model)) as index:
        counts = [("a", 1), ("b", 3), ("c", 1), ("d", 2), ("e", 1), ("blank", 0)]
        index.put({one: made_up(model.backbone.dim, moments) for one, moments in counts})
        index.put_files([FileRow(f"/{one}.mp4", "s", 1.0, one) for one, _ in counts])
        return model, index.engine(), Judge(model, Calibration(standing=1.0, offset=2.0, bank=("a", "b", "c d")))


def test_verdicts_are_the_best_moments_confidence(world: tuple[RetrievalModel, Engine, Judge]) -> None:
    model, engine, judge = world
    plain: dict[str, Verdict] = {}
    for identity in ("a", "b", "c", "d", "e"):
        moments = engine.facts()[identity].moments
        sides = []
        for texts in (KEEP, DROP):
            values = []
            for words in texts:
                text = encode_texts(model, [words])
                for moment in range(moments):
                    found = engine.read([MomentRef(identity, moment)])
                    with torch.no_grad():
                        score = model.interaction(text, found.features, found.nearest)[0]
                    values.append(float(judge.confidence(text, score, found, searched=moments)))
            sides.append(max(values))
        plain[identity] = Verdict(sides[0], sides[1], sides[0] >= 0.5 and sides[0] > sides[1])
    got = judge_videos(model, engine, judge, keep=KEEP, drop=DROP, identities=list(plain))
    for identity, verdict in got.items():
        assert (verdict.keep, verdict.drop) == pytest.approx((plain[identity].keep, plain[identity].drop), abs=1e-5)
        assert verdict.kept == plain[identity].kept and verdict.margin == verdict.keep - verdict.drop
    assert len({verdict.kept for verdict in got.values()}) == 2


def test_other_videos_and_chunks_make_no_difference(
    world: tuple[RetrievalModel, Engine, Judge], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, engine, judge = world
    seen: list[int] = []
    whole = judge_videos(model, engine, judge, keep=KEEP, drop=(), identities=["a", "b", "d"], on_progress=seen.append)
    assert sum(seen) == 6 and all(verdict.drop == 0 for verdict in whole.values())
    monkeypatch.setattr(filtering, "_CHUNK", 2)
    alone = judge_videos(model, engine, judge, keep=KEEP, drop=(), identities=["b"])
    assert alone["b"].keep == pytest.approx(whole["b"].keep, abs=1e-6)


def test_a_threshold_of_ones_own_and_blank_videos(world: tuple[RetrievalModel, Engine, Judge]) -> None:
    model, engine, judge = world
    everything = ["a", "b", "c", "d", "e", "blank"]
    low = judge_videos(model, engine, judge, keep=KEEP, drop=(), identities=everything, threshold=0.0)
    assert [one for one, verdict in low.items() if not verdict.kept] == ["blank"]
    high = judge_videos(model, engine, judge, keep=KEEP, drop=(), identities=everything, threshold=1.0)
    assert not any(verdict.kept for verdict in high.values())

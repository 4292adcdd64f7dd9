"""Videos like another one, against plain loops, and copies found among many."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from indexing import make_meta, meta_of, open_new
from searching import make_model
from tiny import COLOURS, HERE, write_video
from torch.nn import functional

from tvrkit.core import load_model
from tvrkit.encode.moments import POOLED, VideoMoments, iter_moments
from tvrkit.frames.identity import content_hash
from tvrkit.index import similar
from tvrkit.index.engine import Engine
from tvrkit.index.similar import common_part, find_similar, frames_of, near_duplicates, similarity, without
from tvrkit.index.video_index import FileRow

DIM = 32


def video(frames: torch.Tensor, moments: int = 1) -> VideoMoments:
    """A video of given frame features (N, D), cut into equal moments."""
    frames = functional.normalize(frames, dim=-1)
    parts = frames.view(moments, -1, frames.shape[1])
    n = len(frames)
    return VideoMoments(
        spans=torch.zeros(moments, 2, dtype=torch.float64),
        counts=torch.full((moments,), parts.shape[1]),
        frame_features=frames.half(),
        pts_seconds=torch.zeros(n, dtype=torch.float64),
        nearest_gain=torch.zeros(n),
        nearest_frame=torch.zeros(n, dtype=torch.int16),
        pooled=functional.normalize(parts.mean(dim=1), dim=-1)[:, None].expand(-1, POOLED, -1).half(),
        duration_seconds=float(n),
    )


def engine_of(folder: Path, videos: dict[str, VideoMoments], paths: dict[str, list[str]] | None = None) -> Engine:
    index = open_new(folder, make_meta(dim=DIM, num_frames=8))
    with index:
        index.put(videos)
        rows = [(path, one) for one in videos for path in (paths or {}).get(one, [f"/{one}.mp4"])]
        index.put_files([FileRow(path, "stamp", 1.0, one) for path, one in rows])
        return index.engine()


@pytest.fixture
def library(tmp_path: Path) -> tuple[Engine, torch.Tensor]:
    """40 videos that all lean one way, as image features do, with a re-encoded and a trimmed copy of the first two."""
    torch.manual_seed(0)
    common = functional.normalize(torch.randn(DIM), dim=0) * 5
    bare = {f"v{i:02d}": torch.randn(1, DIM) + 0.3 * torch.randn(12, DIM) for i in range(40)}
    bare["copy0"] = bare["v00"] + 0.05 * torch.randn(12, DIM)
    bare["part1"] = bare["v01"][4:12]
    videos = {name: video(common + frames, moments=2 if len(frames) == 12 else 1) for name, frames in bare.items()}
    engine = engine_of(tmp_path / "index", videos, {"v05": ["/v05.mp4", "/other/v05.mp4"]})
    means = [one.frame_features.float().mean(dim=0) for one in videos.values()]
    return engine, torch.stack(means).mean(dim=0)


def test_similarity_is_the_mean_of_best_partners_both_ways() -> None:
    a, b = (functional.normalize(torch.randn(n, 8), dim=1) for n in (3, 5))
    one = sum(max(float(x @ y) for y in b) for x in a) / 3
    two = sum(max(float(x @ y) for x in a) for y in b) / 5
    assert similarity(a, b) == pytest.approx((one + two) / 2, abs=1e-6)
    assert similarity(a, a) == pytest.approx(1.0)


def test_the_most_similar_come_first_as_plain_loops_say(library: tuple[Engine, torch.Tensor]) -> None:
    engine, common = library
    frames = dict(frames_of(engine, engine.facts()))
    found = find_similar(engine, common, frames["v00"], top=50, leave_out={"v00"})
    plain = {
        name: similarity(without(common, frames["v00"]), without(common, other))
        for name, other in frames.items()
        if name != "v00"
    }
    assert [one.identity for one in found] == sorted(plain, key=lambda name: (-plain[name], name))
    assert {one.identity: one.similarity for one in found} == pytest.approx(plain, abs=1e-6)
    assert [one.identity for one in found if one.near_duplicate] == ["copy0"]
    some = find_similar(engine, common, frames["v00"], top=2, allowed={"v00", "v03", "v04"}, leave_out={"v00"})
    assert {one.identity for one in some} == {"v03", "v04"}


def test_groups_hold_copies_parts_and_identical_files(library: tuple[Engine, torch.Tensor]) -> None:
    engine, common = library
    groups = [{one.identity for one in group} for group in near_duplicates(engine, common)]
    assert sorted(map(sorted, groups)) == [["copy0", "v00"], ["part1", "v01"], ["v05"]]
    (alone,) = (group for group in near_duplicates(engine, common) if len(group) == 1)
    assert alone[0].facts.paths == ("/other/v05.mp4", "/v05.mp4") and alone[0].similarity == 1.0
    within = near_duplicates(engine, common, allowed={"v00", "copy0", "v01"})
    assert [{one.identity for one in group} for group in within] == [{"copy0", "v00"}]
    assert near_duplicates(engine, common, threshold=0.999) == [alone]


def test_groups_do_not_depend_on_how_many_are_compared_at_once(
    library: tuple[Engine, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, common = library
    before = near_duplicates(engine, common)
    monkeypatch.setattr(similar, "_CHUNK", 3)
    assert near_duplicates(engine, common) == before


def test_chains_make_one_group_and_blank_videos_none(tmp_path: Path) -> None:
    torch.manual_seed(1)
    start, step = torch.randn(1, DIM), torch.randn(1, DIM)
    videos = {f"c{i}": video((start + 0.35 * i * step).expand(4, -1)) for i in range(4)}
    videos["blank"] = replace(
        video(torch.ones(1, DIM)),
        **{
            name: getattr(video(torch.ones(1, DIM)), name)[:0]
            for name in ("spans", "counts", "frame_features", "pts_seconds", "nearest_gain", "nearest_frame", "pooled")
        },
    )
    engine = engine_of(tmp_path / "index", videos)
    common = torch.zeros(DIM)
    ends = [dict(frames_of(engine, [name]))[name] for name in ("c0", "c3")]
    (group,) = near_duplicates(engine, common, threshold=0.9)
    assert similarity(*ends) < 0.9 and {one.identity for one in group} == {"c0", "c1", "c2", "c3"}
    assert dict(frames_of(engine, ["blank"])) == {}


def test_what_all_pictures_share_is_taken_away(tmp_path: Path) -> None:
    """Real clips and a real encoder: with random weights all pictures are alike, until that is taken away."""
    make_model(tmp_path / "m", num_frames=6)
    model = load_model(tmp_path / "m")
    names = list(itertools.product(COLOURS, ("left", "top")))
    paths = [tmp_path / f"{colour}-{place}.mp4" for colour, place in names]
    for number, (path, (colour, place)) in enumerate(zip(paths, names, strict=True)):
        write_video(path, colour, place, seed=number)
    write_video(tmp_path / "copy.mp4", *names[0], seed=0, frames=7)  # the same drift, one frame less
    paths.append(tmp_path / "copy.mp4")
    with open_new(tmp_path / "index", meta_of(model)) as index:
        encoded = list(iter_moments(model, map(str, paths), reading=HERE))
        identities = [content_hash(path) for path in paths]
        index.put(dict(zip(identities, encoded, strict=True)))
        index.put_files([FileRow(str(p), "s", 1.0, one) for p, one in zip(paths, identities, strict=True)])
        engine = index.engine()
    frames = dict(frames_of(engine, identities))
    bare = [similarity(frames[a], frames[b]) for a, b in itertools.combinations(identities[:-1], 2)]
    common = common_part(model, engine)
    clean = [
        similarity(without(common, frames[a]), without(common, frames[b]))
        for a, b in itertools.combinations(identities[:-1], 2)
    ]
    assert min(bare) > 0.99 and sorted(clean)[len(clean) // 2] < 0.9
    best = find_similar(engine, common, frames[identities[-1]], leave_out={identities[-1]})[0]
    assert best.identity == identities[0] and best.near_duplicate and best.similarity > 0.95
    assert torch.equal(common, common_part(model, engine))

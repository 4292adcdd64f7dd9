"""The same loss and the same gradients, however many processes, pieces and interactions.

Tolerance: float32; a gradient may differ by 1e-5 of its own largest entry, or by 2e-7 where all of it is tiny.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from team import run_team
from tiny import tiny_config, write_clip

from tvrkit.core import build_model
from tvrkit.data import Batch, Pair
from tvrkit.distributed import SOLO, Team
from tvrkit.errors import TrainingError
from tvrkit.manifest import Record
from tvrkit.reporting import Silent
from tvrkit.train.gradients import Gradients
from tvrkit.train.objective import Objective
from tvrkit.train.parallel import parallel_of

WORDS = "a small red circle moves up and then two big blue stars fall left while green squares stand still".split()
VIDEOS = 9

CASES = {
    "mean, InfoNCE": {"interaction": "dot_product", "temporal": "mean", "loss": "info_nce", "partial": 0.0},
    "mean, transformer": {"interaction": "dot_product", "loss": "neg_nce", "partial": 0.0},
    "words, InfoNCE": {"interaction": "token_wise", "text_side": "words", "loss": "info_nce", "partial": 0.0},
    "sentence, NegNCE": {"interaction": "token_wise", "text_side": "sentence", "loss": "neg_nce", "partial": 0.0},
    "DMAE": {"interaction": "token_wise", "nearest": True, "key_words": True, "loss": "neg_nce", "partial": 0.0},
    "all parts": {"interaction": "weighted_token_wise", "nearest": True, "key_words": True, "loss": "neg_nce"},
    "frozen vision": {"interaction": "weighted_token_wise", "freeze": "vision", "loss": "neg_nce"},
    "frozen towers, mean": {"interaction": "weighted_token_wise", "freeze": "backbone", "temporal": "mean"},
    "a late start": {"interaction": "token_wise", "loss": "info_nce", "start": 5},
}


class Pixels:
    """A source whose frames are at hand."""

    def features(self, model, batch):
        return model.encode_frames(batch.frames, batch.frame_mask), batch.frame_mask

    def stand_in(self, model, pair):
        return Batch((pair,), torch.ones(1, 4, 3, 32, 32), torch.tensor([[True, False, False, False]]))


class Short(Pixels):
    """Of so many videos at a time and no more; of more it says `words`."""

    def __init__(self, most: int, words: str) -> None:
        self.most, self.words = most, words

    def features(self, model, batch):
        if len(batch) > self.most:
            raise RuntimeError(self.words)
        return super().features(model, batch)


def records() -> list[Record]:
    captions = [" ".join(WORDS[i : i + 3 + i % 5]) for i in range(VIDEOS)]
    return [Record(f"v{i}", f"v{i}.mp4", (c, f"{c} again"), key_words=(((2, 5),), ())) for i, c in enumerate(captions)]


def whole_batch(size: int, ids: list[int]) -> Batch:
    """Videos of 1 to 4 frames, some of them twice with another caption."""
    generator = torch.Generator().manual_seed(size)
    mask = torch.arange(4)[None] < torch.tensor([1 + i % 4 for i in range(size)])[:, None]
    frames = torch.randn(size, 4, 3, 32, 32, generator=generator) * mask[:, :, None, None, None]
    seen: list[int] = []
    pairs = []
    for video in ids[:size]:
        pairs.append(Pair(video, seen.count(video)))
        seen.append(video)
    return Batch(tuple(pairs), frames, mask)


def rows(batch: Batch, part: slice) -> Batch | None:
    if part.start == part.stop:
        return None
    return Batch(batch.pairs[part], batch.frames[part], batch.frame_mask[part])


def outcome(
    team: Team, clip: Path, case: dict, size: int, micro: int | None, how: str = "ddp", steps: int = 2, source=None
):
    """Loss parts and gradients of the last of a few steps on one batch; the weights do not move."""
    config = tiny_config(
        clip,
        Path("nowhere"),
        model={
            "interaction": case["interaction"],
            "text_side": case.get("text_side", "both"),
            "temporal": case.get("temporal", "transformer"),
            "key_words": case.get("key_words", False),
            "nearest_frame": case.get("nearest", False),
        },
        loss={
            "name": case.get("loss", "neg_nce"),
            "partial_weight": case.get("partial", 0.5),
            "partial_start_step": case.get("start", 0),
        },
        train={"freeze": case.get("freeze", "none"), "micro_batch": micro, "parallel": how},
    )
    torch.manual_seed(0)
    model = build_model(config.model)
    objective = Objective(config.loss, dim=model.backbone.dim, num_frames=4, max_words=model.backbone.max_words)
    from tvrkit.train.optim import freeze, train_mode

    freeze(model, config.train.freeze, learn_scale=True)
    train_mode(model)
    parallel = parallel_of(how, model, objective, team, "cpu")
    gradients = Gradients(model, objective, source or Pixels(), records(), config, parallel, team, Silent())
    batch = whole_batch(size, [0, 1, 2, 3, 0, 5, 6, 7, 8])
    mine = rows(batch, team.split(size))
    counts = [int(n) for n in team.numbers(0 if mine is None else len(mine))[:, 0]]
    for step in range(steps):
        loss = gradients(mine or Pixels().stand_in(model, batch.pairs[0]), counts, step)
    named = [*model.named_parameters(), *objective.named_parameters(prefix="objective")]
    found = {name: p.grad for name, p in named if p.requires_grad and p.grad is not None}
    return loss.numbers(), {name: parallel.whole(gradient) for name, gradient in found.items()}


def every_outcome(team: Team, clip: Path, sizes: tuple[int, ...], micros: tuple[int | None, ...]) -> dict:
    return {
        (name, size, micro): outcome(team, clip, case, size, micro)
        for (name, case), size, micro in itertools.product(CASES.items(), sizes, micros)
    }


def assert_same(found: tuple, wanted: tuple, what: object) -> None:
    numbers, gradients = found
    assert numbers == pytest.approx(wanted[0], rel=2e-6, abs=1e-6), what
    assert gradients.keys() == wanted[1].keys(), what
    for name, gradient in wanted[1].items():
        largest = float(gradient.abs().max())
        off = float((gradients[name] - gradient).abs().max())
        assert off <= max(1e-5 * largest, 2e-7), (
            f"{what}: {name} is off by {off:.2g} where the largest is {largest:.2g}"
        )


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def wanted(clip) -> dict:
    return every_outcome(SOLO, clip, (3, 8), (None,))


@pytest.mark.parametrize("micro", [1, 3, 7])
def test_micro_batches_change_nothing(clip, wanted, micro):
    for name, case in CASES.items():
        found = outcome(SOLO, clip, case, 8, micro)
        assert_same(found, wanted[name, 8, None], (name, micro))
        assert any(gradient.abs().max() > 1e-4 for gradient in found[1].values())


@pytest.mark.parametrize("words", ["could not create a primitive", "could not execute a primitive", "std::bad_alloc"])
def test_too_little_memory_under_other_names_makes_smaller_pieces(clip, wanted, words):
    """A real limit on memory is in test_loop_team.py; which of oneDNN's allocations fails there is chance."""
    case = CASES["all parts"]
    assert_same(outcome(SOLO, clip, case, 8, None, source=Short(2, words)), wanted["all parts", 8, None], words)
    with pytest.raises(TrainingError, match="out of memory at step 1 with 1 pair at a time") as error:
        outcome(SOLO, clip, case, 8, None, source=Short(0, words))
    assert (f"(so it seems: {words})" in str(error.value)) == ("primitive" in words)
    impossible = "could not create a primitive descriptor for the matmul primitive. Run workload with"
    with pytest.raises(RuntimeError, match=impossible):
        outcome(SOLO, clip, case, 8, None, source=Short(0, impossible))


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_any_number_of_processes_gives_one_process_gradients(clip, wanted, size):
    """Batches of 8 and of 3 pairs: the small one is uneven for 2 processes, and one of 4 has no pair of it."""
    for rank, everything in enumerate(run_team(every_outcome, size, clip, (3, 8), (None, 1, 3), timeout=400)):
        for (name, pairs, micro), found in everything.items():
            assert_same(found, wanted[name, pairs, None], (name, pairs, micro, f"rank {rank} of {size}"))

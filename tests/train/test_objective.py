from __future__ import annotations

import pytest
import torch
from tiny import tiny_config, write_clip
from torch.nn.functional import normalize

from tvrkit.config import LossConfig
from tvrkit.core import TextFeatures, VideoFeatures, build_model
from tvrkit.losses import info_nce, neg_nce, triplet_partial_margin
from tvrkit.train.objective import ORDERS, Objective


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return build_model(tiny_config(write_clip(tmp_path), tmp_path / "none").model)


def batch(size=5, words=16, frames=4, dim=32):
    torch.manual_seed(1)
    text = TextFeatures(
        normalize(torch.randn(size, dim), dim=-1),
        normalize(torch.randn(size, words, dim), dim=-1),
        torch.ones(size, words, dtype=torch.bool),
        torch.ones(size, words),
    )
    video = VideoFeatures(normalize(torch.randn(size, frames, dim), dim=-1), torch.ones(size, frames, dtype=torch.bool))
    return text, video


def objective(**loss):
    torch.manual_seed(2)
    return Objective(LossConfig(**loss), dim=32, num_frames=4, max_words=16)


def test_the_total_is_the_contrast_and_the_weighted_margins(model):
    text, video = batch()
    ids = torch.tensor([0, 1, 2, 0, 3])
    made = objective(
        name="neg_nce",
        logit_scale=50.0,
        negative_margin=0.01,
        negative_weight=0.3,
        partial_weight=0.7,
        partial_margin=0.2,
    )
    loss = made(model, text, video, ids, step=0)
    contrast = neg_nce(
        model.similarity(text, video), 50.0, margin=0.01, positive_weight=1.0, negative_weight=0.3, video_ids=ids
    )
    orders = made.partial(text, video)
    margins = [triplet_partial_margin(orders.positive[i], orders.negative[i], orders.valid[i], 0.2) for i in range(3)]
    torch.testing.assert_close(loss.total, contrast + 0.7 * sum(margins))
    assert loss.numbers() == pytest.approx(
        {"loss": loss.total.item(), "neg_nce": contrast.item()}
        | {name: margin.item() for name, margin in zip(ORDERS, margins, strict=True)}
    )
    assert f"loss {loss.total.item():.3f} (neg_nce" in loss.words()
    loss.total.backward()
    # The words are weighed with a gradient; the frames are only chosen, by order of weight.
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())


def test_two_captions_of_one_video_are_no_negatives_of_each_other(model):
    text, video = batch()
    made = objective(name="info_nce")
    told = made(model, text, video, torch.tensor([0, 1, 2, 0, 3]), step=0).total
    untold = made(model, text, video, torch.arange(5), step=0).total
    torch.testing.assert_close(told, info_nce(model.similarity(text, video), 100.0, torch.tensor([0, 1, 2, 0, 3])))
    assert not torch.allclose(told, untold)


def test_margins_start_late_or_never(model):
    text, video = batch()
    late = objective(partial_weight=0.5, partial_start_step=10)
    assert not set(ORDERS) & set(late(model, text, video, torch.arange(5), step=9).parts)
    assert set(ORDERS) <= set(late(model, text, video, torch.arange(5), step=10).parts)
    never = objective(partial_weight=0.0)
    assert never.partial is None and not list(never.parameters())


def test_a_learned_scale_learns_and_stops_at_a_hundred(model):
    text, video = batch()
    made = objective(logit_scale="learned")
    with torch.no_grad():
        model.backbone.logit_scale.fill_(3.0)
    loss = made(model, text, video, torch.arange(5), step=0)
    assert loss.parts["logit_scale"].item() == pytest.approx(20.0855, rel=1e-4)
    loss.total.backward()
    assert model.backbone.logit_scale.grad.item() != 0
    with torch.no_grad():
        model.backbone.logit_scale.fill_(6.0)
    assert made(model, text, video, torch.arange(5), step=0).parts["logit_scale"].item() == pytest.approx(100.0)


@pytest.mark.parametrize("name", ["info_nce", "neg_nce"])
def test_losses_are_full_precision_under_autocast(model, name):
    text, video = batch()
    made = objective(name=name, partial_weight=0.5)
    exact = made(model, text, video, torch.arange(5), step=0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = made(model, text, video, torch.arange(5), step=0)
    assert loss.total.dtype == torch.float32
    assert all(part.dtype == torch.float32 for part in loss.parts.values())
    assert loss.total.item() == pytest.approx(exact.total.item(), rel=0.02)

"""Losses against hand-worked values, plain loops in float64, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch

from tvrkit.losses import (
    _log_one_minus_softmax,
    _logits,
    _row_info_nce,
    info_nce,
    neg_nce,
    triplet_partial_margin,
)

GOLDEN = torch.tensor([[0.30, 0.28, 0.10], [0.31, 0.25, 0.20], [0.05, 0.22, 0.27]])
# Golden numbers came out of float32 with 1 - p taken literally, which costs it 3e-6; ours is exact to float64.
GOLDEN_TOLERANCE = 4e-6
BEHIND = torch.tensor([[0.10, 0.30], [0.0, 0.30]])


def random_scores(size, seed=0, spread=0.05):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(size, size, generator=generator, dtype=torch.float64)


def naive_row(scores, scale, margin, positive_weight, negative_weight, ids, hard=None):
    """One direction by loops: (loss, hard set)."""
    size = len(scores)
    rows = scores.tolist()
    positives, negatives = [], []
    if hard is None:
        hard = {
            (i, j)
            for i in range(size)
            for j in range(size)
            if ids[i] != ids[j] and (margin + rows[i][j] > rows[i][i] or margin + rows[i][j] > rows[j][j])
        }
    for i in range(size):
        allowed = [j for j in range(size) if j == i or ids[i] != ids[j]]
        top = max(rows[i][j] for j in allowed)
        weight = {j: math.exp(scale * (rows[i][j] - top)) for j in allowed}
        total = sum(weight.values())
        positives.append(-math.log(weight[i] / total))
        for j in allowed:
            if (i, j) in hard:
                others = sum(value for k, value in weight.items() if k != j)
                negatives.append(-math.log(others / total))
    loss = positive_weight * sum(positives) / size
    if negatives:
        loss += negative_weight * sum(negatives) / len(negatives)
    return loss, hard


def naive_neg_nce(scores, scale, margin=0.0, positive_weight=1.0, negative_weight=0.5, ids=None):
    ids = list(range(len(scores))) if ids is None else ids
    arguments = (scale, margin, positive_weight, negative_weight, ids)
    rows, hard = naive_row(scores, *arguments)
    columns, _ = naive_row(scores.T, *arguments, hard={(j, i) for i, j in hard})
    return 0.5 * (rows + columns), rows, columns, hard


def test_golden_neg_nce():
    total, rows, columns, hard = naive_neg_nce(GOLDEN.double(), 100.0)
    assert hard == {(0, 1), (1, 0)}
    assert rows == pytest.approx(3.576058, abs=GOLDEN_TOLERANCE)
    assert columns == pytest.approx(2.533944, abs=GOLDEN_TOLERANCE)
    assert total == pytest.approx(3.055001, abs=GOLDEN_TOLERANCE)
    assert neg_nce(GOLDEN.double(), 100.0).item() == pytest.approx(total, rel=1e-12)
    assert neg_nce(GOLDEN, 100.0).item() == pytest.approx(3.055001, abs=GOLDEN_TOLERANCE)


def one_direction(scores, columns=False):
    """The half of `neg_nce` that looks along rows, or along columns, out of the library's own parts."""
    logits, negatives = _logits(scores, 100.0, None)
    own = scores.diagonal()
    hard = negatives & ((scores > own[:, None]) | (scores > own))
    if columns:
        logits, negatives, hard = logits.T, negatives.T, hard.T
    return _row_info_nce(logits) - 0.5 * _log_one_minus_softmax(logits, negatives)[hard].mean()


def test_golden_halves():
    assert one_direction(GOLDEN).item() == pytest.approx(3.576058, abs=GOLDEN_TOLERANCE)
    assert one_direction(GOLDEN, columns=True).item() == pytest.approx(2.533944, abs=GOLDEN_TOLERANCE)
    assert _row_info_nce(100 * GOLDEN).item() == pytest.approx(2.045378, abs=2e-6)
    assert _row_info_nce(100 * GOLDEN.T).item() == pytest.approx(1.455039, abs=2e-6)
    assert info_nce(GOLDEN, 100.0).item() == pytest.approx((2.045378 + 1.455039) / 2, abs=2e-6)


def test_golden_hardest_positive_keeps_its_gradient():
    """A positive behind by cosine 0.2: p rounds to e^-20, yet the full slope k/2 comes from each of the two terms."""
    scores = BEHIND.clone().requires_grad_()
    assert _row_info_nce(100 * scores).item() == pytest.approx(10.0, abs=1e-5)
    half = one_direction(scores)
    assert half.item() == pytest.approx(20.0, abs=1e-5)
    (gradient,) = torch.autograd.grad(half, scores)
    torch.testing.assert_close(gradient[0], torch.tensor([-100.0, 100.0]), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("gap", [0.138, 0.5, 1.5])
def test_no_zero_gradient_however_far_behind(gap):
    scores = torch.tensor([[-gap / 2, gap / 2], [-1.0, 1.0]], requires_grad=True)
    for loss in (info_nce(scores, 100.0), neg_nce(scores, 100.0)):
        (gradient,) = torch.autograd.grad(loss, scores)
        assert gradient.isfinite().all()
        assert gradient[0, 0] < -20
        assert gradient[0, 1] > 20


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_equal_scores_give_log_b(size):
    equal = torch.full((size, size), 0.3)
    assert info_nce(equal, 100.0).item() == pytest.approx(math.log(size), abs=1e-5)
    # No negative is above its positive, so the second term is absent.
    assert neg_nce(equal, 100.0).item() == pytest.approx(math.log(size), abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ids", [None, [0, 1, 2, 0, 4, 1, 6, 0]])
@pytest.mark.parametrize("margin", [0.0, 0.05, -0.02])
def test_neg_nce_equals_loops(seed, ids, margin):
    scores = random_scores(8, seed)
    video_ids = None if ids is None else torch.tensor(ids)
    got = neg_nce(scores, 30.0, margin, 0.7, 0.4, video_ids)
    expected = naive_neg_nce(scores, 30.0, margin, 0.7, 0.4, ids)[0]
    assert got.item() == pytest.approx(expected, rel=1e-10)
    plain = naive_neg_nce(scores, 30.0, margin, 1.0, 0.0, ids)[0]
    assert info_nce(scores, 30.0, video_ids).item() == pytest.approx(plain, rel=1e-10)


@pytest.mark.parametrize("video_ids", [None, torch.tensor([0, 1, 0, 3, 1])])
@pytest.mark.parametrize("scale", [10.0, 100.0])
def test_gradients(video_ids, scale):
    scores = random_scores(5, 3).requires_grad_()
    learned = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, k: info_nce(s, k, video_ids), (scores, learned))
    assert torch.autograd.gradcheck(lambda s, k: neg_nce(s, k, margin=0.1, video_ids=video_ids), (scores, learned))


def test_captions_of_one_video_do_not_push_each_other():
    scores = random_scores(4, 1).requires_grad_()
    ids = torch.tensor([5, 9, 5, 7])
    for loss in (info_nce(scores, 100.0, ids), neg_nce(scores, 100.0, margin=1.0, video_ids=ids)):
        (gradient,) = torch.autograd.grad(loss, scores)
        assert gradient[0, 2] == 0 and gradient[2, 0] == 0
        assert gradient[0, 1] != 0 and gradient[2, 2] != 0


def test_one_video_only_costs_nothing():
    """No negative is left in any row: the loss is 0 and its gradient finite, not NaN."""
    scores = random_scores(3).requires_grad_()
    loss = neg_nce(scores, 100.0, margin=1.0, video_ids=torch.zeros(3, dtype=torch.int64))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss.item() == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_under_autocast(dtype):
    narrow = GOLDEN.to(dtype)
    expected = naive_neg_nce(narrow.double(), 100.0)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = neg_nce(narrow, torch.tensor(100.0))
        plain = info_nce(GOLDEN, 100.0)
    assert loss.dtype == plain.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert plain.item() == pytest.approx((2.045378 + 1.455039) / 2, abs=2e-6)


def test_shapes_are_refused():
    with pytest.raises(ValueError, match=r"square, got \(2, 3\)"):
        info_nce(torch.zeros(2, 3), 1.0)
    with pytest.raises(ValueError, match=r"video_ids must have shape \(2,\)"):
        neg_nce(torch.zeros(2, 2), 1.0, video_ids=torch.zeros(3))
    with pytest.raises(ValueError, match="one shape"):
        triplet_partial_margin(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(2, 3).bool(), 0.1)


def test_margin_loss_by_hand():
    positive = torch.tensor([[0.5, 0.4, 0.9], [0.3, 0.3, 0.3], [0.2, 0.2, 0.2]])
    negative = torch.tensor([[0.45, 0.5, 0.0], [0.3, 0.1, 0.2], [0.9, 0.9, 0.9]])
    valid = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    # Order 1: (0.05 + 0.2 + 0) / 3. Order 2: (0.1 + 0) / 2, the middle pair not counted. Order 3: no pair, 0.
    expected = 0.25 / 3 + 0.1 / 2
    assert triplet_partial_margin(positive, negative, valid, 0.1).item() == pytest.approx(expected, abs=1e-6)


def test_margin_loss_gradients_and_precision():
    generator = torch.Generator().manual_seed(0)
    positive, negative = torch.rand(2, 3, 6, generator=generator, dtype=torch.float64)
    valid = torch.rand(3, 6, generator=generator) < 0.7
    positive.requires_grad_(), negative.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, n: triplet_partial_margin(p, n, valid, 0.3), (positive, negative))
    (gradient,) = torch.autograd.grad(triplet_partial_margin(positive, negative, valid, 0.3), positive)
    assert (gradient[~valid] == 0).all()
    assert triplet_partial_margin(positive.bfloat16(), negative.bfloat16(), valid, 0.3).dtype == torch.float32


def test_nan_where_nothing_was_hidden_does_not_spread():
    positive = torch.tensor([[0.5, math.nan]], requires_grad=True)
    loss = triplet_partial_margin(positive, torch.tensor([[0.5, 0.0]]), torch.tensor([[True, False]]), 0.1)
    assert loss.item() == pytest.approx(0.1)

"""Learning confidence: cases drawn as they should be, weights found again, and measures against plain counting."""

from __future__ import annotations

import pytest
import torch

from tvrkit.index.calibrating import Cases, draw_cases, fit
from tvrkit.index.calibration import Calibration
from tvrkit.index.calibration_report import best_threshold, measure_calibration, measure_threshold


def simulated(weights: tuple[float, float, float], cases: int = 20_000, seed: int = 0) -> Cases:
    """Cases whose odds are those of the given weights."""
    random = torch.Generator().manual_seed(seed)
    similarity, standing = torch.randn(2, cases, generator=random, dtype=torch.float64)
    searched = 10.0 ** torch.randint(0, 3, (cases,), generator=random).double()
    logit = weights[0] * similarity + weights[1] * standing + weights[2] - searched.log()
    fits = torch.rand(cases, generator=random, dtype=torch.float64) < torch.sigmoid(logit)
    return Cases(similarity, standing, searched, fits, fits | (torch.arange(cases) % 2 == 0))


def test_weights_are_found_again_and_then_hold_on_other_cases() -> None:
    weights = fit(simulated((1.5, 2.0, 1.0)))
    assert weights == pytest.approx((1.5, 2.0, 1.0), abs=0.1)
    other = measure_calibration(Calibration(*weights), simulated((1.5, 2.0, 1.0), seed=1))
    assert other.together.calibration_error < 0.01 and len(other.by_size) == 3
    wrong = measure_calibration(Calibration(0.0, 2.0, 3.0), simulated((1.5, 2.0, 1.0), seed=1))
    assert wrong.together.brier > other.together.brier and wrong.together.calibration_error > 0.05


def test_a_weight_below_0_is_left_out() -> None:
    similarity, standing, offset = fit(simulated((-1.0, 2.0, 0.5)))
    assert similarity == 0.0 and standing > 1.0
    assert fit(simulated((-1.0, -2.0, 0.5)))[:2] == (0.0, 0.0)


def test_cases_that_can_be_told_apart_without_fail_stay_finite() -> None:
    fits = torch.arange(100) % 2 == 0
    values = torch.where(fits, 1.0, -1.0).double()
    weights = fit(Cases(values, values, torch.ones(100, dtype=torch.float64), fits, fits))
    assert all(abs(weight) < 1e3 for weight in weights)
    assert Calibration(*weights).probability(values, values, 1)[0] > 0.9


def test_searches_are_drawn_with_the_right_video_and_without() -> None:
    texts, videos = 30, 25
    own = torch.arange(texts) % videos
    similarity = torch.rand(texts, videos, dtype=torch.float64)
    similarity[torch.arange(texts), own] = 2.0  # the right one always wins
    level, spread = torch.rand(videos, dtype=torch.float64), 1 + torch.rand(videos, dtype=torch.float64)
    cases = draw_cases(similarity, own, level, spread)
    assert sorted(set(cases.searched.tolist())) == [1.0, 10.0, 24.0]
    assert torch.equal(cases.fits, cases.present) and int(cases.present.sum()) * 2 == len(cases) == 30 * 3 * 2 * 2
    mine = cases.standing[cases.present][:texts]
    assert torch.allclose(mine, (2.0 - level[own]) / spread[own])
    assert bool((cases.similarity[~cases.present] <= 1.0).all())  # never drawn by chance


def test_equal_scores_are_no_success() -> None:
    """A model that scores everything alike finds nothing, whatever stands first."""
    cases = draw_cases(torch.zeros(30, 30, dtype=torch.float64), torch.arange(30), torch.zeros(30), torch.ones(30))
    rows = cases.present & (cases.searched > 1)
    assert float(cases.fits[rows].double().mean()) < 0.5


def test_measures_are_what_counting_gives() -> None:
    cases = simulated((1.0, 1.0, 0.0), cases=500)
    calibration = Calibration(1.0, 1.0, 0.0, threshold=0.3)
    probability = calibration.probability(cases.similarity, cases.standing, cases.searched).tolist()
    rows = list(zip(probability, cases.fits.tolist(), cases.present.tolist(), strict=True))
    got = measure_calibration(calibration, cases).together
    sure = [fits for p, fits, _ in rows if p >= 0.3]
    assert got.precision == pytest.approx(sum(sure) / len(sure))
    assert got.recall == pytest.approx(sum(sure) / sum(fits for _, fits, _ in rows))
    absent = [p < 0.3 for p, _, present in rows if not present]
    assert got.absent == pytest.approx(sum(absent) / len(absent))
    there = [p >= 0.3 and fits for p, fits, present in rows if present]
    assert got.present == pytest.approx(sum(there) / len(there))
    assert got.brier == pytest.approx(sum((p - fits) ** 2 for p, fits, _ in rows) / 500)
    ordered = sorted(rows)
    error = 0.0
    for first in range(0, 500, 50):
        part = ordered[first : first + 50]
        error += abs(sum(p for p, _, _ in part) - sum(fits for _, fits, _ in part))
    assert got.calibration_error == pytest.approx(error / 500)
    assert got.searched is None and got.cases == 500


def test_the_best_threshold_is_the_best() -> None:
    cases = simulated((2.0, 0.0, 0.0), cases=200)

    def f1(threshold: float) -> float:
        called = cases.similarity >= threshold
        right = int((called & cases.fits).sum())
        return 2 * right / (int(called.sum()) + int(cases.fits.sum()))

    best = best_threshold(cases.similarity, cases.fits)
    assert f1(best) == max(f1(value) for value in cases.similarity.tolist())
    judged = measure_threshold(torch.full((200,), 0.5, dtype=torch.float64), cases, cases)
    assert judged.threshold == best and judged.together.brier == 0.25
    assert judged.together.recall == pytest.approx(
        int(((cases.similarity >= best) & cases.fits).sum()) / int(cases.fits.sum())
    )

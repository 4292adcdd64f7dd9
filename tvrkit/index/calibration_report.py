"""How far confidence can be trusted: of all that it calls 70 % likely, do 70 % fit?

Letters: C cases.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tvrkit.index.calibration import Calibration

if TYPE_CHECKING:
    from tvrkit.index.calibrating import Cases

BINS = 10


@dataclass(frozen=True)
class Measures:
    """Of one way to judge, on cases that it was not learned on. Shares are 0 to 1; None where there was nothing.

    Attributes:
        searched: among how many moments; None: all sizes together.
        cases: how many.
        brier: mean square of probability minus outcome: 0 is perfect.
        calibration_error: mean distance of probability and share that fit, over ten equally full bins.
        precision: of the confident answers, how many fit.
        recall: of the answers that fit, how many are confident.
        absent: where the right video was not there, how often the answer was `no confident match`.
        present: where it was there, how often the right one was shown first, and as a confident match.
    """

    searched: int | None
    cases: int
    brier: float
    calibration_error: float
    precision: float | None
    recall: float | None
    absent: float | None
    present: float | None


@dataclass(frozen=True)
class Bin:
    """Cases of about one probability."""

    cases: int
    probability: float
    fits: float


@dataclass(frozen=True)
class Judged:
    """One way to judge: its threshold, measures of all cases and of each size, and the reliability of its numbers."""

    threshold: float
    together: Measures
    by_size: tuple[Measures, ...]
    reliability: tuple[Bin, ...]


@dataclass(frozen=True)
class Report:
    """What `tvrkit calibrate` found.

    Attributes:
        learned_on: data set and split.
        videos: how many were learned from, and how many measured on.
        calibrated: with what was learned.
        built_in: as it is without calibration.
        raw: the bare similarity: its probability learned without the bank and without regard to how many were
            searched, and the one threshold whose F1 was best, both on the half learned from.
    """

    learned_on: str
    videos: tuple[int, int]
    calibrated: Judged
    built_in: Judged
    raw: Judged

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_calibration(calibration: Calibration, cases: Cases) -> Judged:
    """How well a calibration does."""
    probability = calibration.probability(cases.similarity, cases.standing, cases.searched)
    return _judged(probability, cases, probability >= calibration.threshold, calibration.threshold)


def measure_threshold(probability: Tensor, learn: Cases, check: Cases) -> Judged:
    """How well one threshold for the bare similarity does, whatever was searched.

    Args:
        probability: (C,) what the similarity of `check` alone is worth, learned on `learn`.
        learn: cases whose best threshold is taken.
        check: cases to measure on.
    """
    chosen = best_threshold(learn.similarity, learn.fits)
    return _judged(probability, check, check.similarity >= chosen, chosen)


def best_threshold(values: Tensor, fits: Tensor) -> float:
    """The value (C,) from which on calling a case a fit (C,) has the best F1."""
    order = values.argsort(descending=True)
    right = fits[order].double().cumsum(0)
    f1 = 2 * right / (torch.arange(1, len(right) + 1) + right[-1]).clamp(min=1)
    return float(values[order[int(f1.argmax())]])


def _judged(probability: Tensor, cases: Cases, confident: Tensor, threshold: float) -> Judged:
    sizes = sorted(set(cases.searched.tolist()))
    return Judged(
        threshold=threshold,
        together=_measures(probability, cases, confident, None),
        by_size=tuple(_measures(probability, cases, confident, int(size)) for size in sizes),
        reliability=tuple(_reliability(probability, cases.fits)),
    )


def _measures(probability: Tensor, cases: Cases, confident: Tensor, searched: int | None) -> Measures:
    if searched is not None:
        rows = cases.searched == searched
        probability, cases, confident = probability[rows], cases[rows], confident[rows]
    fits = cases.fits
    bins = _reliability(probability, fits)
    return Measures(
        searched=searched,
        cases=len(cases),
        brier=float((probability - fits.double()).square().mean()),
        calibration_error=sum(one.cases * abs(one.probability - one.fits) for one in bins) / len(cases),
        precision=_share(fits[confident]),
        recall=_share(confident[fits]),
        absent=_share(~confident[~cases.present]),
        present=_share((confident & fits)[cases.present]),
    )


def _share(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None


def _reliability(probability: Tensor, fits: Tensor) -> list[Bin]:
    order = probability.argsort()
    parts = [rows for rows in order.tensor_split(BINS) if len(rows)]
    return [Bin(len(rows), float(probability[rows].mean()), float(fits[rows].double().mean())) for rows in parts]

"""What several seeds of one setting say: means, Student's t intervals, differences paired by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """A mean over seeds with its 95 % interval.

    Attributes:
        mean: of the values.
        low: lower end of the interval; None where one value says nothing of its spread.
        high: upper end.
        number: of values.
    """

    mean: float
    low: float | None
    high: float | None
    number: int


def summary(values: Sequence[float]) -> Summary:
    """Mean and t interval of values that are not the same seed's; of one value, the value."""
    mean, number = statistics.fmean(values), len(values)
    if number < 2:
        return Summary(mean, None, None, number)
    reach = t_quantile(number - 1) * statistics.stdev(values) / math.sqrt(number)
    return Summary(mean, mean - reach, mean + reach, number)


def paired(values: Mapping[int, float], base: Mapping[int, float]) -> Summary | None:
    """Values less the base's of the same seed; None where they share no seed.

    A seed decides the start and the order of the data for both, so their difference varies less than each.
    """
    common = sorted(values.keys() & base.keys())
    return summary([values[seed] - base[seed] for seed in common]) if common else None


def t_quantile(freedom: int, confidence: float = 0.95) -> float:
    """What Student's t stays below in absolute value with a probability of `confidence`.

    Args:
        freedom: degrees of freedom, 1 or more.
        confidence: above 0 and below 1.
    """
    low, high = 0.0, 1.0
    while _t_within(high, freedom) < confidence:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        if _t_within(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _t_within(t: float, freedom: int) -> float:
    """P(|T| < t), by the finite sums for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    square = math.cos(angle) ** 2
    odd = freedom % 2
    term = total = math.cos(angle) if odd else 1.0
    if freedom == 1:
        return 2 * angle / math.pi
    for k in range(2 + odd, freedom - 1, 2):
        term *= square * (k - 1) / k
        total += term
    within = math.sin(angle) * total
    return 2 / math.pi * (angle + within) if odd else within

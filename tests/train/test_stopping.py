from __future__ import annotations

import pytest

from tvrkit.train.state import Progress
from tvrkit.train.stopping import count_validation, out_of_patience, why_stopped
from tvrkit.train.validation import Outcome


def after(scores, lower_is_better: bool = False) -> Progress:
    progress = Progress()
    for step, score in enumerate(scores, start=1):
        progress.step, progress.validated = step, False
        outcome = Outcome(score, {}, "", lower_is_better)
        count_validation(progress, score, better=outcome.better_than(progress.best))
    return progress


@pytest.mark.parametrize(
    ("scores", "bad", "best", "step"),
    [
        ([10.0], 0, 10.0, 1),
        ([10.0, 9.0, 9.5], 2, 10.0, 1),
        ([10.0, 9.0, 11.0], 0, 11.0, 3),
        ([10.0, 10.0], 1, 10.0, 1),  # as good is not better
    ],
)
def test_validations_without_a_better_one_are_counted(scores, bad, best, step):
    progress = after(scores)
    assert (progress.bad_validations, progress.best, progress.best_step) == (bad, best, step)
    assert progress.validated
    assert [out_of_patience(progress, n) for n in (None, bad + 1, max(bad, 1))] == [False, False, bad > 0]


def test_lower_can_be_better():
    assert after([5.0, 4.0, 6.0], lower_is_better=True).best_step == 2


def test_without_a_validation_split_patience_never_ends():
    progress = after([None] * 5)
    assert progress.bad_validations == 0 and not out_of_patience(progress, 1)


def test_a_run_that_goes_on_after_its_step_is_not_over():
    progress = after([10.0, 9.0])
    assert out_of_patience(progress, 1)
    progress.validated = False  # as in the epoch after, or where the validation was not kept
    assert not out_of_patience(progress, 1)


def test_it_says_why():
    assert why_stopped(after([10.0, 9.0, 9.5]), "t2v/R@1") == (
        "Stopped early after step 3: 2 validations in a row without a better t2v/R@1 than 10.0 at step 1"
        " (train.patience)."
    )
    assert "after step 2: 1 validation without" in why_stopped(after([10.0, 9.0]), "t2v/R@1")

"""Early stopping: when validations no longer get better (`train.patience`)."""

from __future__ import annotations

from tvrkit.train.state import Progress


def count_validation(progress: Progress, score: float | None, *, better: bool) -> None:
    """Note in the progress what a validation gave.

    Args:
        progress: changed in place; its step is the one that was validated.
        score: of the metric that chooses; None where there is no validation split, and then nothing runs out.
        better: whether it is the best so far.
    """
    progress.validated = True
    if better:
        progress.best, progress.best_step, progress.bad_validations = score, progress.step, 0
    else:
        progress.bad_validations += 1


def out_of_patience(progress: Progress, patience: int | None) -> bool:
    """Whether the run is over before its last step; true again when it is resumed."""
    return patience is not None and progress.validated and progress.bad_validations >= patience


def why_stopped(progress: Progress, select_by: str) -> str:
    """The sentence that says so."""
    many = "1 validation" if progress.bad_validations == 1 else f"{progress.bad_validations} validations in a row"
    return (
        f"Stopped early after step {progress.step}: {many} without a better {select_by} than"
        f" {progress.best:.1f} at step {progress.best_step} (train.patience)."
    )

"""A run's checkpoints as training sees them: a disk that is full for a while costs no run.

What cannot be written is a warning, and the checkpoint before it stays whole; it is an error only where nothing is left
to be done: at the end of the run, or when a signal stops it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tvrkit.core.model import RetrievalModel
from tvrkit.distributed import SOLO, Team
from tvrkit.errors import TrainingError
from tvrkit.reporting import Reporter
from tvrkit.train.state import CHECKPOINTS, Progress, record_validation, save_last
from tvrkit.train.stopping import count_validation
from tvrkit.train.validation import Outcome

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Checkpoints:
    """Written by the process that leads; the others learn how it went, so that all go on alike.

    Attributes:
        saved: step of the newest one to go on from; None where there is none.
    """

    def __init__(self, run: Path, keep: int, report: Reporter, team: Team = SOLO, *, saved: int | None = None) -> None:
        """Look at no file.

        Args:
            run: the run's folder.
            keep: how many checkpoints to go on from are kept.
            report: is warned.
            team: all of its processes make the same calls.
            saved: step of the checkpoint that the run goes on from; None is a new run.
        """
        self._run, self._keep, self._report, self._team = run, keep, report, team
        self.saved = saved
        self._trouble: str | None = None

    def save(
        self,
        model: RetrievalModel,
        tensors: Mapping[str, Tensor],
        progress: Progress,
        metrics: Mapping[str, Any],
    ) -> bool:
        """Write `last`; says whether it could be done."""

        def write() -> None:
            save_last(self._run, model, tensors, progress, metrics, self._keep)

        done = self._try(write, f"the checkpoint of step {progress.step}")
        if done:
            self.saved = progress.step
        return done

    def validated(self, progress: Progress, outcome: Outcome, averaged: RetrievalModel | None = None) -> bool:
        """Count a validation in, and write it beside the checkpoint of its step.

        Args:
            progress: changed in place. What could not be kept does not count as the best, so that a later one that
                is better than all that is kept takes its place.
            outcome: what the validation gave.
            averaged: the model with the averaged weights in place, when it was these that were validated.

        Returns:
            Whether it is the best so far, and kept.
        """
        before = progress.best, progress.best_step, progress.bad_validations
        better = outcome.better_than(progress.best)
        count_validation(progress, outcome.score, better=better)

        def write() -> None:
            record_validation(self._run, progress, outcome.metrics, best=better, averaged=averaged)

        # Where `last` could not be written it is of an older step, and this validation is not its own.
        if self.saved == progress.step and self._try(write, f"the validation of step {progress.step}"):
            return better
        if better:
            progress.best, progress.best_step, progress.bad_validations = before
        return False

    def require(self) -> None:
        """Make sure that all that was to be written is.

        Raises:
            TrainingError: the newest could not be.
        """
        if self._trouble is not None:
            again = "start it anew" if self.saved is None else f"`tvrkit train --resume {self._run}` goes on from there"
            raise TrainingError(f"{self._trouble}, then {again}.")

    def _try(self, write: Callable[[], None], what: str) -> bool:
        """Write, on the process that leads; warn once for as long as it fails."""
        reason = None
        if self._team.leads:
            try:
                write()
            except OSError as error:
                reason = self._words(what, error)
        reason = self._team.from_leader(reason)
        if reason is not None and self._trouble is None:
            self._report.warn(f"{reason}; training goes on meanwhile.")
        elif reason is None and self._trouble is not None:
            self._report.say(f"{what[0].upper()}{what[1:]} could be written again.")
        self._trouble = reason
        return reason is None

    def _words(self, what: str, error: OSError) -> str:
        advice = "free some space there" if error.errno in _FULL else "see that it can be written to"
        kept = "there is none yet" if self.saved is None else f"the checkpoint of step {self.saved} is whole"
        return f"{what} could not be written to {self._run / CHECKPOINTS} ({error.strerror or error}); {kept}: {advice}"

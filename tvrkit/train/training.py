"""What a run is made of, and what is done with it beside the steps: agreeing, saving, validating, ending."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

import tvrkit
from tvrkit.config import Config
from tvrkit.core import RetrievalModel
from tvrkit.data import Batch, Quarantine
from tvrkit.distributed import Team
from tvrkit.errors import StoppedError
from tvrkit.manifest import Manifest, Record
from tvrkit.reporting import Bar, Reporter
from tvrkit.train.card import RunFacts, write_card
from tvrkit.train.ema import Ema
from tvrkit.train.finite import check_weights
from tvrkit.train.gradients import Gradients
from tvrkit.train.log import RunLog
from tvrkit.train.objective import Objective
from tvrkit.train.optim import optimizer_tensors
from tvrkit.train.parallel import Parallel
from tvrkit.train.samplers import Plan
from tvrkit.train.saving import Checkpoints
from tvrkit.train.session import UNDER_WAY, Session
from tvrkit.train.signals import saved_code
from tvrkit.train.sources import Source, tell_unreadable
from tvrkit.train.state import Progress
from tvrkit.train.stopping import out_of_patience, why_stopped
from tvrkit.train.times import Clock, StepTimes
from tvrkit.train.validation import Validation


@dataclass
class Training:
    """The parts of a run; what they do together is a collective of `team`.

    Attributes:
        records: the training split, with key words where the model weighs them.
        learning: names and parameters that are trained.
        model, objective: what is trained; under FSDP the backbone is sharded.
        ema: the moving average of the weights, if there is one.
    """

    config: Config
    run: Path
    team: Team
    report: Reporter
    manifest: Manifest
    records: Sequence[Record]
    plan: Plan
    model: RetrievalModel
    objective: Objective
    parallel: Parallel
    learning: list[tuple[str, nn.Parameter]]
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    progress: Progress
    quarantine: Quarantine
    source: Source
    gradients: Gradients
    validation: Validation
    checkpoints: Checkpoints
    log: RunLog
    times: StepTimes
    session: Session
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(self.progress.seconds)

    @property
    def gave_up(self) -> bool:
        """Whether validations no longer get better, by `train.patience`."""
        return out_of_patience(self.progress, self.config.train.patience)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.gave_up or (self.progress.step == self.plan.total and self.progress.validated)

    def agree(self, batch: Batch | None, signal: int | None) -> list[int]:
        """Tell the other processes what this one has for the next step, and learn what they have.

        Returns:
            Pairs of each process.

        Raises:
            StoppedError: one of them was asked to stop; everything is saved.
            DataError: too many videos are unreadable.
        """
        news = self.quarantine.news()
        table = self.team.numbers(0 if batch is None else len(batch), signal or 0, len(news))
        counts, signals, unreadable = table.T.tolist()
        if any(unreadable):
            for error in self.quarantine.merge([found for part in self.team.objects(news) for found in part]):
                tell_unreadable(error, self.quarantine, self.report)
        self._stop_if(max(signals))
        return counts

    def save(self) -> None:
        """Write a checkpoint to go on from."""
        with self.times("save"):
            check_weights(self.learning, step=self.progress.step, run=self.run)
            whole = self._for_a_file
            tensors = {f"optimizer/{name}": value for name, value in optimizer_tensors(self.optimizer, whole).items()}
            tensors |= {f"objective/{name}": value for name, value in self.objective.state_dict().items()}
            if self.ema is not None:
                tensors |= {f"ema/{name}": value for name, value in self.ema.tensors(whole).items()}
            about = {"tvrkit": tvrkit.__version__, "dataset": self.manifest.name, "step": self.progress.step}
            self.checkpoints.save(self.parallel.evaluated(self.model), tensors, self.progress, about)

    def _for_a_file(self, tensor: Tensor) -> Tensor:
        """A tensor for the process that writes, whole; no device has to hold all of them at once. A collective."""
        full = self.parallel.whole(tensor)
        return full.cpu() if self.team.leads else full.new_empty(0)

    def end_of_epoch(self, epoch: int, bar: Bar, signal: int | None) -> None:
        """Save, validate if that is due, and keep the best.

        Raises:
            StoppedError: a process was asked to stop; the validation is then left to the run that goes on.
        """
        progress = self.progress
        self._save_if_new()
        self._stop_if(int(self.team.numbers(signal or 0).max()))
        due = (epoch + 1) % self.config.train.eval_every_epochs == 0
        if not due and progress.step < self.plan.total:
            return
        bar.note("validating")
        averages = contextlib.nullcontext() if self.ema is None else self.ema.swapped()
        with self.times("validate"), averages:
            model = self.parallel.evaluated(self.model)
            outcome = self.validation(model, progress.step)
            best = self.checkpoints.validated(progress, outcome, None if self.ema is None else model)
        bar.note("")
        if outcome.score is not None:
            self.log.write(progress.step, {"epoch": epoch, "validation": outcome.metrics})
            self.report.say(f"Step {progress.step}: {outcome.words}{', best so far' if best else ''}.")
        self.card()

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Write run.md when training begins, and how it ended, however it does."""
        if self.finished:  # then the card says so already
            yield
            return
        self.card()
        try:
            yield
        except StoppedError:
            self.card("stopped when it was asked to")
            raise
        except BaseException as error:
            self.card(f"stopped by an error ({' '.join(str(error).split()).rstrip('.') or type(error).__name__})")
            raise
        self.card("stopped early, by train.patience" if self.gave_up else "finished")

    def card(self, ended: str = UNDER_WAY) -> None:
        """Write run.md as things stand."""
        if not self.team.leads:
            return
        facts = RunFacts(
            config=self.config,
            manifest=self.manifest,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            learning=sum(parameter.numel() for _, parameter in self.learning),
            steps=self.plan.total,
            progress=self.progress,
            session=self.session,
            unreadable=len(self.quarantine),
            parts=self.times.totals(),
            ended=ended,
        )
        write_card(self.run, facts)

    def end(self) -> None:
        """Make sure that everything is written, and say what came out."""
        self.checkpoints.require()
        progress, config = self.progress, self.config
        if self.gave_up:
            self.report.say(why_stopped(progress, config.train.select_by))
        if self.quarantine:
            self.report.warn(
                f"{len(self.quarantine)} training videos could not be read: {self.run / 'quarantine.jsonl'}"
            )
        kept = "the last checkpoint is kept"
        if progress.best is not None:
            kept = f"best {config.train.select_by} on {config.data.val_split}: {progress.best:.1f} at step"
            kept += f" {progress.best_step}"
        self.report.say(f"Trained {progress.step} steps in {progress.seconds:.0f} s; {kept}. Run: {self.run}")

    def say_begin(self, device: str) -> None:
        """What is trained on what."""
        step, total = self.progress.step, self.plan.total
        if self.finished:
            self.report.say(f"{self.run} is finished: there is nothing left to do.")
            return
        captions = sum(len(record.captions) for record in self.records)
        where = device if self.team.size == 1 else f"{self.team.size} processes, {device}"
        trained = sum(parameter.numel() for _, parameter in self.learning)
        self.report.say(
            f"Training on {self.manifest.name}: {len(self.records)} videos, {captions} captions, {total} steps on"
            f" {where}, {trained / 1e6:.2f} M parameters learn{f', going on after step {step}' if step else ''}."
            f" Run: {self.run}"
        )

    def _save_if_new(self) -> None:
        if self.checkpoints.saved != self.progress.step:
            self.save()

    def _stop_if(self, signal: int) -> None:
        if not signal:
            return
        self._save_if_new()
        self.checkpoints.require()
        raise StoppedError(
            f"stopped and saved after step {self.progress.step} of {self.plan.total};"
            f" `tvrkit train --resume {self.run}` goes on.",
            exit_code=saved_code(signal),
        )

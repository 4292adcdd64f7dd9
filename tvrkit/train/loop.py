"""Training, from a config to a run folder; read it from top to bottom.

runs/<name>/  run.json  config.yaml  log.jsonl  quarantine.jsonl  tensorboard/  checkpoints/{best,last}
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import tvrkit
from tvrkit.config import Config
from tvrkit.core import RetrievalModel, build_model, load_model
from tvrkit.data import Batch, Pair, Quarantine, with_key_words
from tvrkit.errors import CheckpointError, StoppedError
from tvrkit.manifest import Manifest, Record, read_manifest
from tvrkit.reporting import Bar, Reporter, Silent
from tvrkit.train.log import Clock, RunLog
from tvrkit.train.objective import Objective
from tvrkit.train.optim import (
    freeze,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    parameter_groups,
    schedule,
    set_rates,
    train_mode,
)
from tvrkit.train.run import check_free, check_same_data, start_run
from tvrkit.train.samplers import Plan
from tvrkit.train.signals import StopSignals
from tvrkit.train.sources import CachedFrames, DecodedFrames, Source, encode_cached, tell_unreadable
from tvrkit.train.state import (
    Progress,
    last_checkpoint,
    load_random_tensors,
    load_training_state,
    random_tensors,
    record_validation,
    save_last,
    under,
)
from tvrkit.train.step import forward, update
from tvrkit.train.validation import Validation
from tvrkit.workspace import manifest_path


def train(
    config: Config,
    run: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    report: Reporter | None = None,
    cache: bool = True,
) -> Path:
    """Train a model and leave it in `run`, whose `checkpoints/best` is what `load_model(run)` loads.

    Args:
        config: everything that decides the result.
        run: folder of the run; made if need be.
        resume: go on from `run/checkpoints/last`, with the same losses as if it had never stopped.
        device: where the model is trained.
        report: who is told how it goes; None is nobody.
        cache: with a frozen vision tower, whether its features are computed once and kept; the losses are the same.

    Returns:
        `run`.

    Raises:
        TvrkitError: data, weights or settings that do not do; a loss that is no number (TrainingError); a signal to
            stop (StoppedError), after which `resume` goes on.
    """
    report = report or Silent()
    with StopSignals(report) as signals, contextlib.ExitStack() as stack:
        training = _prepare(config, run, resume, device, report, cache, stack)
        progress, plan = training.progress, training.plan
        log = stack.enter_context(RunLog(run, progress.step, report))
        bar = stack.enter_context(report.progress("Training", plan.total))
        bar.advance(progress.step)
        clock = Clock(progress.seconds)
        signals.finish_steps = True
        for epoch, batches in plan.rest(progress.step, at_end=not progress.validated):
            training.epoch(epoch, batches, log, bar, clock, signals)
            training.end_of_epoch(epoch, log, bar)
            if signals.received and progress.step < plan.total:
                raise training.stopped(signals.received)
    training.say_end()
    return run


@dataclass
class _Training:
    """What a run is made of, and what is done with it in each epoch."""

    config: Config
    run: Path
    manifest: Manifest
    records: Sequence[Record]
    plan: Plan
    model: RetrievalModel
    objective: Objective
    optimizer: torch.optim.Optimizer
    progress: Progress
    quarantine: Quarantine
    source: Source
    validation: Validation
    report: Reporter

    def epoch(
        self,
        epoch: int,
        batches: list[tuple[Pair, ...]],
        log: RunLog,
        bar: Bar,
        clock: Clock,
        signals: StopSignals,
    ) -> None:
        """Train on the batches that are left of an epoch."""
        progress, every = self.progress, self.config.train.save_every_steps
        progress.validated = False
        train_mode(self.model)
        for left, batch in zip(reversed(range(len(batches))), self.source.batches(batches, epoch), strict=True):
            for error in self.quarantine.merge(self.quarantine.news()):
                tell_unreadable(error, self.quarantine, self.report)
            if batch is not None:  # else none of its videos could be read
                self.step(epoch, batch, log, bar, clock)
            progress.step += 1
            progress.seconds = clock.seconds()
            bar.advance()
            # An epoch's last step is saved with its validation, by end_of_epoch.
            if left and (progress.step % every == 0 or signals.received):
                self.save()
            if left and signals.received:
                raise self.stopped(signals.received)

    def step(self, epoch: int, batch: Batch, log: RunLog, bar: Bar, clock: Clock) -> None:
        """One optimiser step."""
        config, number = self.config, self.progress.step
        rates = set_rates(self.optimizer, schedule(number, self.plan.total, config.train.warmup))
        loss = forward(self.model, self.objective, self.source, batch, self.records, config, number)
        norm = update(loss, self.optimizer, config.train.clip_gradient, batch, self.records, number)
        clock.count(len(batch))
        if (number + 1) % config.train.log_every == 0:
            speed = clock.clips_per_second()
            numbers = loss.numbers() | {"gradient_norm": norm.item()} | rates
            log.write(number + 1, {"epoch": epoch, **numbers, "clips_per_second": round(speed, 1)})
            bar.note(f"{loss.words()}, {speed:.0f} clips/s")

    def end_of_epoch(self, epoch: int, log: RunLog, bar: Bar) -> None:
        """Save, validate if that is due, and keep the best."""
        self.save()
        progress = self.progress
        due = (epoch + 1) % self.config.train.eval_every_epochs == 0
        if not due and progress.step < self.plan.total:
            return
        bar.note("validating")
        outcome = self.validation(self.model, progress.step)
        best = outcome.better_than(progress.best)
        if best:
            progress.best, progress.best_step = outcome.score, progress.step
        progress.validated = True
        record_validation(self.run, progress, outcome.metrics, best=best)
        bar.note("")
        if outcome.score is not None:
            log.write(progress.step, {"epoch": epoch, "validation": outcome.metrics})
            self.report.say(f"Step {progress.step}: {outcome.words}{', best so far' if best else ''}.")

    def save(self) -> None:
        """Write a checkpoint to go on from."""
        tensors = random_tensors()
        tensors |= {f"optimizer/{name}": tensor for name, tensor in optimizer_tensors(self.optimizer).items()}
        tensors |= {f"objective/{name}": tensor for name, tensor in self.objective.state_dict().items()}
        about = {"tvrkit": tvrkit.__version__, "dataset": self.manifest.name, "step": self.progress.step}
        save_last(self.run, self.model, tensors, self.progress, about)

    def stopped(self, signal_number: int) -> StoppedError:
        """What to raise when a signal came and everything is saved."""
        return StoppedError(
            f"stopped and saved after step {self.progress.step} of {self.plan.total};"
            f" `tvrkit train --resume {self.run}` goes on.",
            exit_code=128 + signal_number,
        )

    def say_begin(self, device: str) -> None:
        """What is trained on what."""
        learning = sum(p.numel() for group in self.optimizer.param_groups for p in group["params"])
        step = self.progress.step
        if step == self.plan.total and self.progress.validated:
            self.report.say(f"{self.run} is finished: there is nothing left to do.")
            return
        self.report.say(
            f"Training on {self.manifest.name}: {len(self.records)} videos,"
            f" {sum(len(record.captions) for record in self.records)} captions, {self.plan.total} steps on {device},"
            f" {learning / 1e6:.2f} M parameters learn{f', going on after step {step}' if step else ''}."
            f" Run: {self.run}"
        )

    def say_end(self) -> None:
        """What came out."""
        progress, config = self.progress, self.config
        if self.quarantine:
            self.report.warn(
                f"{len(self.quarantine)} training videos could not be read: {self.run / 'quarantine.jsonl'}"
            )
        kept = "the last checkpoint is kept"
        if progress.best is not None:
            kept = f"best {config.train.select_by} on {config.data.val_split}: {progress.best:.1f} at step"
            kept += f" {progress.best_step}"
        self.report.say(f"Trained {progress.step} steps in {progress.seconds:.0f} s; {kept}. Run: {self.run}")


def _prepare(
    config: Config,
    run: Path,
    resume: bool,
    device: str,
    report: Reporter,
    cache: bool,
    stack: contextlib.ExitStack,
) -> _Training:
    """Data, model, optimiser and where frames come from: anew, or as the last checkpoint has them."""
    manifest_file = manifest_path(config.data.dataset)
    manifest = read_manifest(manifest_file)
    records: Sequence[Record] = manifest.split(config.data.train_split)
    if resume:
        check_same_data(run, records)
    else:
        check_free(run)
    if config.model.key_words:
        records = with_key_words(manifest, records)
    plan = Plan(records, config)

    torch.manual_seed(config.train.seed)
    model = load_model(last_checkpoint(run), device) if resume else build_model(config.model, device)
    objective = Objective(
        config.loss, dim=model.backbone.dim, num_frames=config.model.num_frames, max_words=model.backbone.max_words
    ).to(device)
    freeze(model, config.train.freeze, learn_scale=config.loss.logit_scale == "learned")
    optimizer = make_optimizer(parameter_groups(model, {"objective": objective}, config.train), config.train)

    quarantine = Quarantine(run / "quarantine.jsonl", records, fresh=not resume)
    still = config.train.freeze in ("vision", "backbone")
    source: Source
    if still and cache:
        split, sampling = config.data.train_split, config.data.sampling
        encoded = encode_cached(model, manifest, records, config, report, split, sampling)
        source = CachedFrames(encoded, quarantine, report)
    else:
        source = DecodedFrames(model, manifest, records, config, quarantine, report)
    stack.callback(source.close)
    validation = Validation(model, manifest, config, report, cache=still and cache)

    # Last: what is wrong above leaves no run behind, and draws nothing from the random state that is put back.
    progress = Progress()
    if resume:
        progress = _restore(last_checkpoint(run), objective, optimizer, device)
    else:
        start_run(run, config, manifest, manifest_file)
    training = _Training(
        config=config,
        run=run,
        manifest=manifest,
        records=records,
        plan=plan,
        model=model,
        objective=objective,
        optimizer=optimizer,
        progress=progress,
        quarantine=quarantine,
        source=source,
        validation=validation,
        report=report,
    )
    training.say_begin(device)
    return training


def _restore(checkpoint: Path, objective: Objective, optimizer: torch.optim.Optimizer, device: str) -> Progress:
    """Put the training state of a checkpoint back."""
    tensors, progress = load_training_state(checkpoint, device)
    try:
        objective.load_state_dict(under(tensors, "objective/"))
        load_optimizer_tensors(optimizer, under(tensors, "optimizer/"))
        load_random_tensors(tensors)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint} does not fit its own config ({' '.join(str(error).split())}): start a new run."
        ) from None
    return progress

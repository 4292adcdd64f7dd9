"""Training, from a config to a run folder; read it from top to bottom.

runs/<name>/  run.json  run.md  config.yaml  log.jsonl  quarantine.jsonl  tensorboard/  checkpoints/{best,last}

Every process of a team runs this, each on its part of every batch; the first one writes and speaks.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from tvrkit.config import Config
from tvrkit.data import Batch, Pair
from tvrkit.distributed import SOLO, Team
from tvrkit.reporting import Bar, Reporter, Silent
from tvrkit.train.finite import check_finite
from tvrkit.train.optim import clip_gradients, schedule, set_rates, train_mode
from tvrkit.train.prefetch import prefetched
from tvrkit.train.signals import StopSignals
from tvrkit.train.start import start
from tvrkit.train.training import Training


def train(
    config: Config,
    run: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    report: Reporter | None = None,
    cache: bool = True,
    team: Team = SOLO,
) -> Path:
    """Train a model and leave it in `run`, whose `checkpoints/best` is what `load_model(run)` loads.

    Args:
        config: everything that decides the result.
        run: folder of the run; made if need be.
        resume: go on from `run/checkpoints/last`, with the same losses as if it had never stopped.
        device: where the model is trained.
        report: who is told how it goes; None is nobody.
        cache: with a frozen vision tower, whether its features are computed once and kept; the losses are the same.
        team: the processes that train together, this one among them; any number of them trains the same model.

    Returns:
        `run`.

    Raises:
        TvrkitError: data, weights or settings that do not do; a loss that is no number (TrainingError); a signal to
            stop (StoppedError), after which `resume` goes on.
    """
    report = report if report is not None and team.leads else Silent()
    with StopSignals(report) as signals, contextlib.ExitStack() as stack:
        training = start(config, run, resume=resume, device=device, report=report, cache=cache, team=team, stack=stack)
        progress, plan = training.progress, training.plan
        bar = stack.enter_context(report.progress("Training", plan.total))
        bar.advance(progress.step)
        signals.finish_steps = True
        stack.enter_context(training.telling())
        for epoch, batches in plan.rest(progress.step, at_end=not progress.validated):
            if training.gave_up:
                break
            _epoch(training, epoch, batches, bar, signals)
            training.end_of_epoch(epoch, bar, signals.received)
        training.end()
    return run


def _epoch(training: Training, epoch: int, batches: list[tuple[Pair, ...]], bar: Bar, signals: StopSignals) -> None:
    """Train on the batches that are left of an epoch."""
    progress, every = training.progress, training.config.train.save_every_steps
    train_mode(training.model)
    with contextlib.closing(
        prefetched(training.source.batches(batches, epoch, training.team), training.model.device)
    ) as ahead:
        parts = zip(batches, training.times.waiting(ahead), strict=True)
        for left, (whole, batch) in zip(reversed(range(len(batches))), parts, strict=True):
            counts = training.agree(batch, signals.received)
            if sum(counts):  # else none of its videos could be read
                _step(training, epoch, whole, batch, counts, bar)
            progress.step += 1
            progress.validated = False
            progress.seconds = training.clock.seconds()
            bar.advance()
            # An epoch's last step is saved with its validation, by end_of_epoch.
            if left and progress.step % every == 0:
                training.save()


def _step(
    training: Training, epoch: int, whole: tuple[Pair, ...], batch: Batch | None, counts: list[int], bar: Bar
) -> None:
    """One optimiser step: a batch to a loss and gradients, gradients to new weights."""
    settings, number, optimizer = training.config.train, training.progress.step, training.optimizer
    rates = set_rates(optimizer, schedule(number, training.plan.total, settings.warmup))
    # A process with nothing of a batch takes part all the same, with a pair that does not count.
    batch = batch or training.source.stand_in(training.model, whole[0])
    loss = training.gradients(batch, counts, number)
    with training.times("optimiser"):
        norm = clip_gradients(optimizer, settings.clip_gradient)
        check_finite(
            {"the loss": loss.total, "the gradient": norm},
            step=number,
            run=training.run,
            pairs=[pair for pair in whole if pair.video not in training.quarantine],
            records=training.records,
            parts=loss.parts,
            parameters=training.learning,
            writes=training.team.leads,
        )
        optimizer.step()
        if training.ema is not None:
            training.ema.update(number + 1)
    training.clock.count(sum(counts))
    if (number + 1) % settings.log_every == 0:
        speed = training.clock.clips_per_second()
        numbers = loss.numbers() | {"gradient_norm": norm.item()} | rates
        about = {"clips_per_second": round(speed, 1), **training.times.take()}
        training.log.write(number + 1, {"epoch": epoch, **numbers, **about})
        bar.note(f"{loss.words()}, {speed:.0f} clips/s")

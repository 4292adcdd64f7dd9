"""Training, from a config to a run folder; read it from top to bottom.

runs/<name>/  run.json  config.yaml  log.jsonl  quarantine.jsonl  tensorboard/  checkpoints/{best,last}
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import torch

import tvrkit
from tvrkit.config import Config
from tvrkit.core import RetrievalModel, build_model, load_model
from tvrkit.data import Quarantine, with_key_words
from tvrkit.errors import CheckpointError, StoppedError
from tvrkit.manifest import Manifest, Record, read_manifest
from tvrkit.train.log import Clock, Reporter, RunLog, Silent
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
from tvrkit.train.run import check_same_data, start_run
from tvrkit.train.samplers import Plan
from tvrkit.train.signals import StopSignals
from tvrkit.train.sources import CachedFrames, DecodedFrames, Source, encode_cached
from tvrkit.train.state import (
    Progress,
    last_checkpoint,
    load_random_tensors,
    load_training_state,
    random_tensors,
    record_validation,
    save_checkpoint,
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
    source_path = manifest_path(config.data.dataset)
    manifest = read_manifest(source_path)
    records: Sequence[Record] = manifest.split(config.data.train_split)
    if resume:
        check_same_data(run, records)
    else:
        config = start_run(run, config, manifest, source_path)
    if config.model.key_words:
        records = with_key_words(manifest, records)
    plan = Plan(records, config)

    torch.manual_seed(config.train.seed)
    model = load_model(last_checkpoint(run), device) if resume else build_model(config.model, device)
    objective = Objective(config.loss, config.model, model.backbone.dim).to(device)
    freeze(model, config.train.freeze, learn_scale=config.loss.logit_scale == "learned")
    optimizer = make_optimizer(parameter_groups(model, {"objective": objective}, config.train), config.train)
    progress = Progress()
    if resume:
        progress = _restore(last_checkpoint(run), objective, optimizer, device)

    quarantine = Quarantine(run / "quarantine.jsonl", records)
    source = _source(model, manifest, records, config, quarantine, report, cache)
    validation = Validation(model, manifest, config, report, cache=isinstance(source, CachedFrames))
    _say_what(report, run, manifest, records, optimizer, plan, progress, device)

    def save() -> Path:
        tensors = {f"optimizer/{name}": tensor for name, tensor in optimizer_tensors(optimizer).items()}
        tensors |= {f"objective/{name}": tensor for name, tensor in objective.state_dict().items()}
        about = {"tvrkit": tvrkit.__version__, "dataset": manifest.name, "step": progress.step, "split": None}
        return save_checkpoint(run / "checkpoints", model, tensors | random_tensors(), progress, about)

    with (
        contextlib.closing(source),
        RunLog(run, progress.step, report) as log,
        report.progress("Training", plan.total) as bar,
        StopSignals(report) as signals,
    ):
        bar.advance(progress.step)
        clock = Clock(progress.seconds)
        for epoch, batches in plan.rest(progress.step, at_end=not progress.validated):
            progress.validated = False
            train_mode(model)
            for left, batch in zip(reversed(range(len(batches))), source.batches(batches, epoch), strict=True):
                rates = set_rates(optimizer, schedule(progress.step, plan.total, config.train.warmup))
                numbers: dict[str, float] = {}
                if batch is not None:  # else no video of it could be read
                    loss = forward(model, objective, source, batch, records, config, progress.step)
                    norm = update(loss, optimizer, config.train.clip_gradient, batch, records, progress.step)
                    clock.count(len(batch))
                    if (progress.step + 1) % config.train.log_every == 0:
                        numbers = loss.numbers() | {"gradient_norm": norm.item()} | rates
                progress.step += 1
                progress.seconds = clock.seconds()
                bar.advance()
                if numbers:
                    speed = clock.clips_per_second()
                    log.write(progress.step, {"epoch": epoch, **numbers, "clips_per_second": round(speed, 1)})
                    bar.note(loss.words() + f", {speed:.0f} clips/s")
                if not left:
                    continue  # the epoch's end is saved below
                if progress.step % config.train.save_every_steps == 0 or signals.received:
                    save()
                if signals.received:
                    raise _stopped(signals.received, run, progress, plan)

            checkpoint = save()
            finished = progress.step == plan.total
            if finished or (epoch + 1) % config.train.eval_every_epochs == 0:
                bar.note("validating")
                outcome = validation(model, progress.step)
                best = outcome.better_than(progress.best)
                if best:
                    progress.best, progress.best_step = outcome.score, progress.step
                progress.validated = True
                record_validation(checkpoint, progress, outcome.metrics, best=best)
                if outcome.score is not None:
                    log.write(progress.step, {"epoch": epoch, "validation": outcome.metrics})
                    report.say(f"Step {progress.step}: {outcome.words}{', the best so far' if best else ''}.")
            if signals.received and not finished:
                raise _stopped(signals.received, run, progress, plan)
    _say_end(report, run, config, quarantine, progress)
    return run


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


def _source(
    model: RetrievalModel,
    manifest: Manifest,
    records: Sequence[Record],
    config: Config,
    quarantine: Quarantine,
    report: Reporter,
    cache: bool,
) -> Source:
    """Where frame features come from: looked up when the vision tower stands still, else computed in each step."""
    if cache and config.train.freeze in ("vision", "backbone"):
        split, sampling = config.data.train_split, config.data.sampling
        encoded = encode_cached(model, manifest, records, config, report, split, sampling)
        return CachedFrames(encoded, quarantine, report)
    return DecodedFrames(model, manifest, records, config, quarantine, report)


def _say_what(
    report: Reporter,
    run: Path,
    manifest: Manifest,
    records: Sequence[Record],
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    progress: Progress,
    device: str,
) -> None:
    learning = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    begin = f"going on after step {progress.step}" if progress.step else "from the start"
    report.say(
        f"Training on {manifest.name}: {len(records)} videos, {sum(len(r.captions) for r in records)} captions,"
        f" {plan.total} steps on {device}, {learning / 1e6:.2f} M parameters learn, {begin}. Run: {run}"
    )


def _stopped(signal_number: int, run: Path, progress: Progress, plan: Plan) -> StoppedError:
    return StoppedError(
        f"stopped and saved after step {progress.step} of {plan.total}; `tvrkit train --resume {run}` goes on.",
        exit_code=128 + signal_number,
    )


def _say_end(report: Reporter, run: Path, config: Config, quarantine: Quarantine, progress: Progress) -> None:
    if quarantine:
        report.warn(f"{len(quarantine)} training videos could not be read: {run / 'quarantine.jsonl'}")
    kept = "the last checkpoint is kept"
    if progress.best is not None:
        kept = f"best {config.train.select_by} {progress.best:.1f} on {config.data.val_split}, at step {progress.best_step}"
    report.say(f"Trained {progress.step} steps in {progress.seconds:.0f} s; {kept}. Run: {run}")

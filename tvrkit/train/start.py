"""The beginning of a run: data, model, optimiser and where frames come from, anew or as a checkpoint has them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tvrkit.config import Config
from tvrkit.core import RetrievalModel, build_model, load_model
from tvrkit.data import Quarantine, with_key_words
from tvrkit.distributed import Team
from tvrkit.distributed.agree import agreed
from tvrkit.encode import keep_texts, text_cache
from tvrkit.errors import CheckpointError
from tvrkit.manifest import Manifest, Record, read_manifest
from tvrkit.reporting import Reporter, counted
from tvrkit.store import FeatureStore
from tvrkit.train.ema import Ema
from tvrkit.train.gradients import Gradients
from tvrkit.train.log import RunLog
from tvrkit.train.objective import Objective
from tvrkit.train.optim import (
    freeze,
    load_optimizer_tensors,
    make_optimizer,
    parameter_groups,
    trained_parameters,
)
from tvrkit.train.parallel import Parallel, parallel_of
from tvrkit.train.run import check_free, check_same_data, has_other_settings, start_run
from tvrkit.train.samplers import Plan
from tvrkit.train.saving import Checkpoints
from tvrkit.train.session import begin_session
from tvrkit.train.sources import CachedFrames, DecodedFrames, Source, encode_cached
from tvrkit.train.state import Progress, last_checkpoint, load_training_state, under
from tvrkit.train.times import StepTimes
from tvrkit.train.towers import prepare_towers
from tvrkit.train.training import Training
from tvrkit.train.validation import Validation
from tvrkit.train.warm import warm_start
from tvrkit.workspace import manifest_path


def start(
    config: Config,
    run: Path,
    *,
    resume: bool,
    device: str,
    report: Reporter,
    cache: bool,
    team: Team,
    stack: contextlib.ExitStack,
) -> Training:
    """Make everything that a run needs; arguments as for `train`.

    Raises:
        TvrkitError: see `train`; what is wrong here leaves no run behind.
    """
    data = agreed(team, lambda: _data(config, run, resume, team, report))
    torch.manual_seed(config.train.seed)
    # The leader's choice: on shared storage that lags behind, others might see an older one.
    checkpoint = team.from_leader(agreed(team, lambda: last_checkpoint(run, report))) if resume else None
    model = agreed(team, lambda: _model(config, checkpoint, device, report))
    objective = Objective(
        config.loss, dim=model.backbone.dim, num_frames=config.model.num_frames, max_words=model.backbone.max_words
    ).to(device)
    extra = {"objective": objective}
    scale, patterns = config.loss.logit_scale == "learned", config.train.freeze_parameters
    freeze(model, config.train.freeze, learn_scale=scale, patterns=patterns, extra=extra)

    # What stands still is computed by the model as it came, before it is sharded or compiled.
    quarantine = Quarantine(run / "quarantine.jsonl", data.records, fresh=not resume, team=team)
    still = cache and model.backbone.images_stand_still
    source = _source(model, data, config, quarantine, report, team, still)
    stack.callback(source.close)
    validation = Validation(model, data.manifest, config, report, cache=still, team=team)
    # A sharded projection cannot be called by itself.
    if model.backbone.text_stands_still and config.train.parallel == "ddp":
        splits = [config.data.train_split, *([config.data.val_split] if validation.split else [])]
        records = [record for split in splits for record in data.manifest.split(split)]
        kept = agreed(team, lambda: FeatureStore(text_cache(model))) if cache else None
        if kept is not None:
            stack.callback(kept.close)
        captions = [caption for record in records for caption in record.captions]
        with report.progress("Captions", len(set(captions))) as bar:
            model.backbone.kept_texts = keep_texts(model, captions, kept, on_progress=counted(bar), team=team)

    prepare_towers(model, config.train)
    parallel = parallel_of(config.train.parallel, model, objective, team, torch.device(device))
    optimizer = make_optimizer(parameter_groups(model, extra, config.train), config.train)
    learning = list(trained_parameters(model, extra))
    ema = Ema(trained_parameters(model, {}), config.train.ema) if config.train.ema else None
    progress = Progress()
    if checkpoint is not None:
        progress = _restore(checkpoint, objective, optimizer, ema, parallel)
    elif team.leads:
        start_run(run, config, data.manifest, data.file)
    times = StepTimes(device)
    training = Training(
        config=config,
        run=run,
        team=team,
        report=report,
        manifest=data.manifest,
        records=data.records,
        plan=data.plan,
        model=model,
        objective=objective,
        parallel=parallel,
        learning=learning,
        optimizer=optimizer,
        ema=ema,
        progress=progress,
        quarantine=quarantine,
        source=source,
        gradients=Gradients(model, objective, source, data.records, config, parallel, team, report, times),
        validation=validation,
        checkpoints=Checkpoints(run, config.train.keep_last, report, team, saved=progress.step if resume else None),
        log=stack.enter_context(RunLog(run, progress.step, report, config, team)),
        times=times,
        session=begin_session(progress, device, team),
    )
    training.say_begin(device)
    return training


@dataclass(frozen=True)
class _Data:
    """The data set, its training split, and the batches of all epochs."""

    file: Path
    manifest: Manifest
    records: Sequence[Record]
    plan: Plan


def _data(config: Config, run: Path, resume: bool, team: Team, report: Reporter) -> _Data:
    file = manifest_path(config.data.dataset)
    manifest = read_manifest(file)
    records: Sequence[Record] = manifest.split(config.data.train_split)
    if team.leads:
        if resume:
            check_same_data(run, records)
            if has_other_settings(run):
                report.warn(
                    f"{run / 'config.yaml'} has been changed since the run was started: it goes on with what is there"
                    " now, and its result is that of neither."
                )
        else:
            check_free(run)
    if config.model.key_words:
        records = with_key_words(manifest, records)
    return _Data(file, manifest, records, Plan(records, config))


def _model(config: Config, checkpoint: Path | None, device: str, report: Reporter) -> RetrievalModel:
    if checkpoint is not None:
        return load_model(checkpoint, device)
    model = build_model(config.model, device)
    if config.train.init_from is not None:
        started = warm_start(model, config.train.init_from)
        report.say(f"Warm start from {config.train.init_from}: {started.words()}")
        for remark in started.remarks:
            report.warn(remark)
    return model


def _source(
    model: RetrievalModel,
    data: _Data,
    config: Config,
    quarantine: Quarantine,
    report: Reporter,
    team: Team,
    still: bool,
) -> Source:
    # Frames drawn at random are others in each epoch.
    if not still or config.data.sampling == "random":
        return DecodedFrames(model, data.manifest, data.records, config, quarantine, report)
    split, sampling = config.data.train_split, config.data.sampling
    encoded = encode_cached(model, data.manifest, data.records, config, report, split, sampling, team)
    return CachedFrames(encoded, quarantine, report)


def _restore(
    checkpoint: Path, objective: Objective, optimizer: torch.optim.Optimizer, ema: Ema | None, parallel: Parallel
) -> Progress:
    """Put the training state of a checkpoint back; every process reads it and keeps its part."""
    tensors, progress = load_training_state(checkpoint, "cpu")
    try:
        objective.load_state_dict(under(tensors, "objective/"))
        load_optimizer_tensors(optimizer, under(tensors, "optimizer/"), parallel.like)
        if ema is not None:
            ema.load(under(tensors, "ema/"), parallel.like)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint} does not fit its own config ({' '.join(str(error).split())}): start a new run."
        ) from None
    return progress

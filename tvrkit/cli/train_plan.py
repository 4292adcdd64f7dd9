"""What `tvrkit train --dry-run` prints: the whole run in numbers, before anything is trained."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tvrkit.config import Config
    from tvrkit.train.estimate import Estimate, Part

WIDTH, LABEL = 80, 12
USUAL_TFLOPS = 100
SMALL = 2e9  # bytes that need no thought
TIED = "\u00a0"  # a space at which no line ends; plain in the end


def plan_command(
    preset: str | None,
    settings: tuple[str, ...],
    data: str | None,
    pretrained: Path | None,
    *,
    gpus: int | None = None,
    processes: int | None = None,
    resume: str | None = None,
) -> None:
    """`tvrkit train --dry-run` with the options of `tvrkit train`.

    Raises:
        ConfigError: a run to be resumed has no plan any more; and as `plan_config`.
    """
    if resume is not None:
        raise ConfigError("--dry-run plans a run that is to begin, so --resume has no part in it.")
    config, name = plan_config(preset, settings, data, pretrained)
    show_plan(config, name=name, gpus=gpus, processes=processes)


def show_plan(config: Config, *, name: str, gpus: int | None = None, processes: int | None = None) -> None:
    """Print the plan of a run on stdout; neither data, weights, a network nor the GPUs asked for need be here.

    Args:
        config: of the run.
        name: what it is called, for the heading.
        gpus: as `--gpus`; 0 is the CPU, None what is here.
        processes: as `--processes`; None is one a GPU.
    """
    import torch

    from tvrkit.train.estimate import device_memory, estimate

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = min(1, there) if gpus is None else gpus
    device = "cuda" if wanted and there else "cpu"
    elsewhere = wanted > 0 and not there
    output.say("Measuring the parts of a step, which takes less than a minute …")
    plan = estimate(
        config,
        processes=processes or max(1, wanted),
        device=device,
        keep_bf16=config.train.precision != "fp32" if elsewhere else None,
    )
    room = None if elsewhere else device_memory(device)
    for line in plan_lines(config, plan, name, gpus=wanted, room=room, elsewhere=elsewhere):
        click.echo(output.printable(line))


def plan_config(
    preset: str | None, settings: tuple[str, ...], data: str | None, pretrained: Path | None
) -> tuple[Config, str]:
    """The config of a run that is only planned, for which the data set need not be prepared; and its preset's name.

    Raises:
        ConfigError: no preset is named, and no data set is prepared that names one.
    """
    from dataclasses import replace

    from tvrkit.config import load_config
    from tvrkit.manifest import read_manifest
    from tvrkit.workspace import manifest_path

    named = data or load_config(preset, settings).data.dataset
    if preset is None:
        try:
            preset = read_manifest(manifest_path(named)).preset
        except DataError:
            preset = None
        if preset is None:
            raise ConfigError("--dry-run plans a preset: name one by --preset, as in --preset msrvtt-b32.")
    config = load_config(preset, settings)
    if named is not None:
        config = replace(config, data=replace(config.data, dataset=named))
    if pretrained is not None:
        config = replace(config, model=replace(config.model, pretrained=str(pretrained)))
    return config, Path(preset).stem


def plan_lines(
    config: Config, plan: Estimate, name: str, *, gpus: int, room: float | None, elsewhere: bool
) -> Iterator[str]:
    """The plan, line by line, at 80 columns.

    Args:
        config: of the run.
        plan: what was estimated of it.
        name: for the heading.
        gpus: on which it would run; 0 is the CPU.
        room: bytes of memory of one device; None where it is not here.
        elsewhere: whether the run is for GPUs that this machine has not.
    """
    yield f"Plan of {name}; nothing is trained."
    yield ""
    yield from _row("data", _data(config, plan))
    whole = f"{plan.epochs:g} epochs" if plan.epochs == round(plan.epochs) else f"{plan.epochs:.2f} epochs"
    yield from _row("steps", f"{plan.steps:,}: {whole} of {plan.batches:,} batches of up to {config.train.batch_size}")
    yield from _row("on", _processes(plan, gpus))
    yield ""
    yield f"{'model':<18} {'parameters':>10} {'trained':>10}   peak rate"
    for part in plan.parts:
        yield f"  {part.name:<16} {_millions(part.parameters):>10} {_millions(part.trained):>10}   {_rates(part)}"
    total, trained = sum(p.parameters for p in plan.parts), sum(p.trained for p in plan.parts)
    yield f"  {'together':<16} {_millions(total):>10} {_millions(trained):>10}"
    yield ""
    if plan.memory is not None:
        yield from _memory(plan, room)
        yield ""
    if plan.costs is not None:
        yield from _time(plan, elsewhere)
        yield ""
    places = [f"{what} {size(number)}" for what, number in plan.disk.items()]
    yield from _row("disk", "; ".join(places))


def _data(config: Config, plan: Estimate) -> str:
    counts = plan.counts
    words = f"{counts.videos:,} videos with {counts.captions:,} captions"
    if config.data.captions == "one" and counts.captions > counts.videos:
        words += ", one a video and epoch"
    val = f"{counts.val_videos:,} to choose the checkpoint" if counts.val_videos else "no validation split"
    if counts.protocol is None:
        return f"{counts.dataset}: {words}; {val}"
    return f"{words}; {val} (not prepared here: the counts are those of {counts.protocol})"


def _processes(plan: Estimate, gpus: int) -> str:
    device = "GPU" if gpus else "CPU"
    if plan.processes == 1:
        words = f"one process on the {device}, {plan.share} pairs a step"
    else:
        words = f"{plan.processes} processes on {device}s, {plan.share} pairs of each batch on one"
    at_a_time = "" if plan.micro_batch == plan.share else f", {plan.micro_batch} in the towers at a time"
    return words + at_a_time


def _memory(plan: Estimate, room: float | None) -> Iterator[str]:
    memory, costs = plan.memory, plan.costs
    assert memory is not None and costs is not None
    named = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "AdamW": memory.optimizer,
        "average": memory.average,
        "activations": memory.activations,
    }
    kind = "bf16" if costs.bf16 else "fp32"
    yield from _row("memory", f"about {size(memory.total)} each process ({kind}), beside what libraries take")
    yield from _row("", ", ".join(f"{what} {size(number)}" for what, number in named.items() if number))
    others = {micro: number for micro, number in plan.memory_of.items() if micro != plan.micro_batch}
    if others and memory.total > SMALL:
        choices = ", ".join(f"{micro}:{TIED}{size(number)}" for micro, number in others.items())
        yield from _row("", f"with train.micro_batch {choices}")
    if room is not None and memory.total > 0.9 * room:
        fits = next((micro for micro, number in plan.memory_of.items() if number <= 0.9 * room), None)
        way = f"--set{TIED}train.micro_batch={fits}" if fits else "try more processes, or a smaller train.batch_size"
        yield from _row("", f"The device has {size(room)}, so it will not fit: {way}.")


def _time(plan: Estimate, elsewhere: bool) -> Iterator[str]:
    costs = plan.costs
    assert costs is not None
    step = sum(plan.step_seconds.values())
    shares = ", ".join(f"{what} {100 * part / step:.0f} %" for what, part in plan.step_seconds.items())
    yield from _row("time", f"{span(plan.seconds)} on {costs.device}: {span(step)} a step ({shares})")
    if plan.once_seconds:
        yield from _row("", f"in it {span(plan.once_seconds)} for the frame features, once")
    if plan.validations:
        yield from _row("", f"in it {plan.validations} x {span(plan.validation_seconds)} for validation")
    yield from _row(
        "",
        f"Measured in {costs.seconds:.0f} s: each part at its real shapes with random weights, a few frames, texts and"
        " pairs, scaled to the batch. Reading videos, and talk between processes, come on top.",
    )
    if elsewhere:
        yield from _row("", "This machine has no GPU that torch can use, so that is its CPU's time.")
    flops = plan.steps * plan.step_flops
    tera = flops / 1e12
    hours = tera / (USUAL_TFLOPS * plan.processes)
    yield from _row(
        "work",
        f"{tera:,.0f} TFLOP, {plan.step_flops / 1e12:,.1f} a step: {span(hours)} where"
        f" {'each process' if plan.processes > 1 else 'the device'} really computes {USUAL_TFLOPS} TFLOP/s",
    )


def _rates(part: Part) -> str:
    if part.rates is None:
        return "frozen"
    low, high = part.rates
    return f"{high:g}" if low == high else f"{low:.2g} to {high:g}"


def _row(label: str, words: str) -> list[str]:
    first, rest = f"{label:<{LABEL}} ", " " * (LABEL + 1)
    lines = textwrap.wrap(words, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return [line.replace(TIED, " ") for line in lines]


def _millions(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number < 1e7 else f"{number / 1e6:.1f} M"


def size(number: float) -> str:
    """Bytes for people."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:.1f}{TIED}{unit}"
    return f"{number / 1e3:.0f}{TIED}KB"


def span(seconds: float) -> str:
    """A time for people: 3.2 h, 12 min, 4.1 s, 15 ms."""
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"

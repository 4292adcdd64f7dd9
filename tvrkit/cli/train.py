"""`tvrkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.cli.options import data_option
from tvrkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tvrkit.config import Config

NEWEST = "newest"


@click.command()
@click.option("--preset", metavar="NAME|FILE", help="A published setting, or a YAML file.  [default: the data set's]")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting, as train.lr=1e-4; repeatable."
)
@data_option
@click.option(
    "--gpus",
    type=click.IntRange(min=0),
    metavar="N",
    help="GPUs to train on; 0 is the CPU.  [default: 1 if there is one]",
)
@click.option(
    "--pretrained", type=click.Path(path_type=Path), help="A backbone's weights file (.safetensors or .pt) of your own."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the run.  [default: a new one in runs/]"
)
@click.option(
    "--resume",
    metavar="[RUN]",
    is_flag=False,
    flag_value=NEWEST,
    help="Go on with a run that was interrupted, the newest if none is named.",
)
@click.option("--dry-run", is_flag=True, help="Show steps, parameters, memory, time and disk; train nothing.")
def command(
    preset: str | None,
    settings: tuple[str, ...],
    data: str | None,
    gpus: int | None,
    pretrained: Path | None,
    out: Path | None,
    resume: str | None,
    dry_run: bool,
) -> None:
    """Train a model on a prepared data set.

    Without options it trains the preset that fits the one data set prepared here. Ctrl-C saves first; --resume then
    goes on as if nothing had happened. docs/training.md lists presets and settings.

    \b
    Example:
      tvrkit train --preset tiny --set train.max_steps=200
    """
    if dry_run:
        from tvrkit.cli.train_plan import plan_command

        plan_command(preset, settings, data, pretrained, gpus=gpus, resume=resume)
        return
    from tvrkit.train.run import new_run, read_run_config

    if resume is not None:
        given = {"--preset": preset, "--set": settings, "--data": data, "--pretrained": pretrained, "--out": out}
        for option, value in given.items():
            if value:
                raise ConfigError(
                    f"--resume goes on with the run's own settings, so {option} cannot be changed with it."
                )
        run = _run_to_resume(resume)
        config = read_run_config(run)
    else:
        config, name, dataset = _choose_config(preset, settings, data, pretrained)
        run = out or new_run(dataset, name)
    device = _device(gpus)

    from tvrkit.train.loop import train

    train(config, run, resume=resume is not None, device=device, report=output)
    click.echo(run)


def _choose_config(
    preset: str | None, settings: tuple[str, ...], data: str | None, pretrained: Path | None
) -> tuple[Config, str | None, str]:
    """The config, the name of its preset, and that of its data set.

    A data set that is named (by --data, by a setting or by the preset) is taken; else the only one prepared. Without
    --preset the data set's own is taken.
    """
    from dataclasses import replace

    from tvrkit.config import load_config
    from tvrkit.manifest import read_manifest
    from tvrkit.workspace import manifest_path

    named = data or load_config(preset, settings).data.dataset
    manifest = read_manifest(manifest_path(named))
    if preset is None:
        preset = manifest.preset
        if preset is None:
            raise DataError(
                f"the data set {manifest.name} does not say which preset fits it: choose one with --preset."
            )
        output.say(f"Preset {preset}, which fits the data set {manifest.name}.")
    config = load_config(preset, settings)
    if named is not None:
        config = replace(config, data=replace(config.data, dataset=named))
    if pretrained is not None:
        if not pretrained.is_file():
            raise ConfigError(f"--pretrained {pretrained}: there is no such file.")
        config = replace(config, model=replace(config.model, pretrained=str(pretrained.resolve())))
    return config, Path(preset).stem, manifest.name


def _run_to_resume(word: str) -> Path:
    from tvrkit.workspace import runs, runs_folder

    if word != NEWEST:
        for run in (Path(word), runs_folder() / word):
            if run.is_dir():
                return run
        raise ConfigError(f"--resume {word}: there is no such run, neither here nor in {runs_folder()}.")
    there = runs(unfinished=True)
    if not there:
        raise ConfigError(f"--resume: there is no run in {runs_folder()} to go on with.")
    return there[-1]


def _device(gpus: int | None) -> str:
    """The device that `--gpus` means.

    Raises:
        ConfigError: the machine has fewer, or more than one is asked for.
    """
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus is None:
        gpus = min(1, there)
    if gpus > there:
        have = f"{there} GPU{'s' if there != 1 else ''}" if there else "no GPU that torch can use"
        way_out = "`--gpus 1` trains on one" if there else "`--gpus 0` trains on the CPU"
        raise ConfigError(f"--gpus {gpus}: this machine has {have}; {way_out}.")
    if gpus > 1:
        raise ConfigError(f"--gpus {gpus}: training on several GPUs comes with the next version; `--gpus 1` takes one.")
    return "cuda" if gpus else "cpu"

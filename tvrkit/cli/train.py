"""`tvrkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.cli.options import data_option
from tvrkit.cli.processes import chosen, processes_options, start_team, team_of
from tvrkit.errors import ConfigError, DataError
from tvrkit.reporting import Reporter, Silent

if TYPE_CHECKING:
    from tvrkit.config import Config

NEWEST = "newest"


@click.command()
@click.option("--preset", metavar="NAME|FILE", help="A published setting, or a YAML file.  [default: the data set's]")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting, as train.lr=1e-4; repeatable."
)
@data_option
@processes_options
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
    processes: int | None,
    pretrained: Path | None,
    out: Path | None,
    resume: str | None,
    dry_run: bool,
) -> None:
    """Train a model on a prepared data set.

    Without options it trains the preset that fits the one data set prepared here. Ctrl-C saves first; --resume then
    goes on as if nothing had happened. docs/training.md lists presets and settings; docs/cluster.md tells of several
    machines.

    \b
    Examples:
      tvrkit train --preset tiny --set train.max_steps=200
      tvrkit train --preset msrvtt-b32 --gpus 4
    """
    if dry_run:
        from tvrkit.cli.train_plan import plan_command

        plan_command(preset, settings, data, pretrained, gpus=gpus, processes=processes, resume=resume)
        return
    if resume is not None:
        given = {"--preset": preset, "--set": settings, "--data": data, "--pretrained": pretrained, "--out": out}
        for option, value in given.items():
            if value:
                raise ConfigError(
                    f"--resume goes on with the run's own settings, so {option} cannot be changed with it."
                )
    kind, start = chosen(gpus, processes)
    if start > 1:
        _in_processes(start, kind, preset, settings, data, pretrained, out, resume)
        return
    with team_of(kind) as team:
        from tvrkit.distributed import own_device
        from tvrkit.train.loop import train

        report = output if team.leads else Silent()
        config, run, _ = _choose(preset, settings, data, pretrained, out, resume, report)
        run = team.from_leader(run)  # its name has the time in it
        device = own_device(kind) if team.size > 1 else kind
        train(config, run, resume=resume is not None, device=device, report=report, team=team)
    if team.leads:
        click.echo(run)


def _in_processes(
    number: int,
    kind: str,
    preset: str | None,
    settings: tuple[str, ...],
    data: str | None,
    pretrained: Path | None,
    out: Path | None,
    resume: str | None,
) -> None:
    """Do the same in several processes; what is wrong with the words of the command is found out before."""
    _, run, preset = _choose(preset, settings, data, pretrained, out, resume, output)
    arguments = ["train", "--gpus", str(number if kind == "cuda" else 0)]
    if resume is not None:
        arguments += ["--resume", str(run)]
    else:
        options = {"--preset": preset, "--data": data, "--pretrained": pretrained, "--out": run}
        arguments += [f"{option}={value}" for option, value in options.items() if value is not None]
        arguments += [f"--set={setting}" for setting in settings]
    start_team(arguments, number, f"`tvrkit train --resume {run}` goes on from its last checkpoint, if it has one")


def _choose(
    preset: str | None,
    settings: tuple[str, ...],
    data: str | None,
    pretrained: Path | None,
    out: Path | None,
    resume: str | None,
    report: Reporter,
) -> tuple[Config, Path, str | None]:
    """The config, the folder of the run and the preset."""
    from tvrkit.train.run import new_run, read_run_config

    if resume is not None:
        run = _run_to_resume(resume)
        return read_run_config(run), run, None
    config, preset, dataset = _choose_config(preset, settings, data, pretrained, report)
    return config, out or new_run(dataset, Path(preset).stem), preset


def _choose_config(
    preset: str | None, settings: tuple[str, ...], data: str | None, pretrained: Path | None, report: Reporter
) -> tuple[Config, str, str]:
    """The config, its preset, and the name of its data set.

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
        report.say(f"Preset {preset}, which fits the data set {manifest.name}.")
    config = load_config(preset, settings)
    if named is not None:
        config = replace(config, data=replace(config.data, dataset=named))
    if pretrained is not None:
        if not pretrained.is_file():
            raise ConfigError(f"--pretrained {pretrained}: there is no such file.")
        config = replace(config, model=replace(config.model, pretrained=str(pretrained.resolve())))
    return config, preset, manifest.name


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

"""`tvrkit eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tvrkit.cli import output
from tvrkit.cli.options import (
    choose_device,
    data_option,
    device_option,
    json_option,
    reader_option,
    timeout_option,
    workers_option,
)
from tvrkit.cli.processes import chosen, processes_options, start_team, team_of
from tvrkit.errors import ConfigError
from tvrkit.frames.reading import Reading
from tvrkit.reporting import Silent

if TYPE_CHECKING:
    from tvrkit.cli.evaluation import Measured
    from tvrkit.distributed import Team

SPLIT = "test"
TEMPERATURE = 100.0
KEPT = "frames encoded so far stay in the cache"


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="An exported folder, a run, an open_clip NAME/TAG (as ViT-B-32/openai), or NAME=FILE; repeatable.",
)
@data_option
@click.option("--split", metavar="NAME", help=f"Split to measure on.  [default: {SPLIT}]")
@click.option(
    "--zero-shot/--no-zero-shot",
    default=None,
    help="Measure the backbone as it was pretrained as well.  [default: for one model, if its weights are at hand]",
)
@click.option("--allow-missing", is_flag=True, help="Measure an incomplete test set, and say so, instead of stopping.")
@click.option("--dual-softmax", is_flag=True, help="Add rows with dual softmax, which looks at the whole test set.")
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    metavar="TAU",
    help=f"Of --dual-softmax.  [default: {TEMPERATURE:g}]",
)
@click.option(
    "--query-bank", type=click.IntRange(min=1), metavar="N", help="Add rows with QB-Norm over N training captions."
)
@click.option(
    "--similarity",
    "matrices",
    multiple=True,
    metavar="FILE",
    help="Measure scores (captions by videos) instead of a model: .npy, .npz or .safetensors; repeatable.",
)
@click.option("--groups", metavar="N|FILE", help="Captions a video, or a file with the video of each caption.")
@click.option("--transposed", is_flag=True, help="The scores stand videos by captions.")
@click.option("--protocol", metavar="NAME", help="Protocol that the scores belong to; its numbers are checked.")
@click.option(
    "--save-similarity",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.npy",
    help="Write the scores, captions by videos, and a FILE.json that names both.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Write a page with tables, curves and the worst queries.",
)
@json_option
@device_option
@processes_options
@reader_option
@workers_option
@timeout_option
def command(runs: tuple[str, ...], models: tuple[str, ...], matrices: tuple[str, ...], **options: Any) -> None:
    """Measure how well a model finds videos by captions, and back.

    Takes a RUN, or with --model anything else that holds a model; without either the newest run. Ranks the test split
    of the data set that it was trained on, and for `shapes` asks the hard gallery of one-word edits too. Several are
    measured alike and compared with the first. With --similarity, scores that any other program made are measured.

    \b
    Examples:
      tvrkit eval --model ViT-B-32/openai --data shapes --json
      tvrkit eval --gpus 4
      tvrkit eval --similarity scores.npy --groups 20 --protocol msrvtt-full
    """
    _check(runs, models, matrices, options)
    if matrices:
        _show(*_matrices(matrices, options), None, options)
        return
    device, start = _where(options)
    if start > 1:
        start_team(_given(click.get_current_context()), start, KEPT, lambda number: "Stopping.")
        return
    from tvrkit.cli.evaluation_models import Choices, measure_models

    with team_of("cuda" if device.startswith("cuda") else "cpu", f"stopped; {KEPT}.") as team:
        choices = Choices(
            data=options["data"],
            split=options["split"] or SPLIT,
            zero_shot=options["zero_shot"],
            device=_own(device, team),
            reading=Reading(options["workers"], options["reader"], options["timeout"]),
            allow_missing=options["allow_missing"],
            team=team,
            report=output if team.leads else Silent(),
            temperature=_temperature(options),
            query_bank=options["query_bank"],
        )
        measured, comparisons, manifest = measure_models(runs, models, choices)
        if team.leads:
            _show(measured, comparisons, manifest, options)


def _where(options: dict[str, Any]) -> tuple[str, int]:
    """The device, and how many processes are still to be started for it.

    Raises:
        ConfigError: they are not to be had, or the options contradict each other.
    """
    device, gpus, processes = options["device"], options["gpus"], options["processes"]
    if gpus is None and processes is None:
        return choose_device(device), 1
    if device not in ("auto", "cpu") or (device == "cpu" and gpus):
        raise ConfigError(
            f"--device {device} says where one process computes: leave it out with --gpus or --processes."
        )
    return chosen(0 if device == "cpu" else gpus, processes)


def _own(device: str, team: Team) -> str:
    """The device of this process."""
    from tvrkit.distributed import own_device

    if team.size == 1:
        return device
    return own_device("cuda" if device.startswith("cuda") else "cpu")


def _given(context: click.Context) -> list[str]:
    """The command with all that its user gave, for the processes that do the work."""
    options, words = [], []
    for parameter in context.command.params:
        name = str(parameter.name)
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        if isinstance(parameter, click.Option) and parameter.is_flag:
            options.append((parameter.opts if value else parameter.secondary_opts)[0])
        elif isinstance(parameter, click.Option):
            options += [f"{parameter.opts[0]}={one}" for one in (value if parameter.multiple else [value])]
        else:
            words += value
    return ["eval", *options, "--", *words]


def _check(runs: tuple[str, ...], models: tuple[str, ...], matrices: tuple[str, ...], options: dict[str, Any]) -> None:
    """Refuse options that contradict each other, before anything costs time."""
    if runs and models:
        raise ConfigError("give a RUN or --model, not both (--model takes runs too, and may be repeated).")
    if options["temperature"] is not None and not options["dual_softmax"]:
        raise ConfigError("--temperature belongs to --dual-softmax, which is not given.")
    if not matrices:
        for key in ("groups", "transposed", "protocol"):
            if options[key]:
                reason = " (a data set's protocol stands in its manifest)" if key == "protocol" else ""
                raise ConfigError(f"--{key} says how to read the scores of --similarity, which is not given{reason}.")
        if options["save_similarity"] is not None and len(runs) + len(models) > 1:
            raise ConfigError("--save-similarity writes the scores of one model: give one RUN or --model.")
        return
    given = {"a RUN": runs, "--model": models, "--data": options["data"], "--zero-shot": options["zero_shot"]}
    for name, value in given.items():
        if value:
            raise ConfigError(f"--similarity measures scores that are there already: {name} has no part in it.")
    if options["query_bank"] is not None:
        raise ConfigError("--query-bank needs a model that scores training captions, which --similarity has not.")
    if options["save_similarity"] is not None:
        raise ConfigError(
            "--save-similarity writes the scores of a model, and --similarity has them in a file already."
        )


def _temperature(options: dict[str, Any]) -> float | None:
    """Of dual softmax; None without it."""
    if not options["dual_softmax"]:
        return None
    return TEMPERATURE if options["temperature"] is None else float(options["temperature"])


def _matrices(matrices: tuple[str, ...], options: dict[str, Any]) -> tuple[list[Measured], list[Any]]:
    from tvrkit.cli.evaluation_scores import measure_matrices

    return measure_matrices(
        matrices,
        groups=options["groups"],
        transposed=options["transposed"],
        protocol=options["protocol"],
        split=options["split"],
        allow_missing=options["allow_missing"],
        temperature=_temperature(options),
    )


def _show(measured: list[Measured], comparisons: list[Any], manifest: Any, options: dict[str, Any]) -> None:
    from tvrkit.cli import evaluation
    from tvrkit.cli.evaluation_tables import print_comparisons, print_tables, warn_of

    if options["save_similarity"] is not None:
        evaluation.write_scores(options["save_similarity"], measured[0].rows[0].evaluation)
    for one in measured:
        evaluation.keep(one)
    if options["as_json"]:
        output.print_json(evaluation.result_of(measured, comparisons))
    else:
        print_tables(measured)
        print_comparisons(comparisons)
    warn_of(measured)
    if options["report"] is not None:
        evaluation.write_page(options["report"], measured, comparisons, manifest, options)

"""`tvrkit ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.cli.options import choose_device, data_option, device_option
from tvrkit.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from tvrkit.train.cases import Sweep
    from tvrkit.train.ladder import Rung


@click.command()
@click.argument("ladder", metavar="LADDER")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting of all rungs; repeatable."
)
@data_option
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the runs.  [default: runs/<name>]"
)
@click.option("--plot", is_flag=True, help="Draw ladder-<split>.svg too (extra `plot`).")
@click.option(
    "--test",
    is_flag=True,
    help="When all is trained, measure every run on the test split, and on the hard gallery where there is one, once.",
)
@device_option
def command(
    ladder: str, settings: tuple[str, ...], data: str | None, out: Path | None, plot: bool, test: bool, device: str
) -> None:
    """Measure what each part of the method brings.

    LADDER is `shapes`, `shapes-partial`, `msrvtt-mini`, or a YAML file as `tvrkit sweep` takes it with names under
    `ladder`. Every rung changes one part of the one before, or of the one that it names under `over`, and is trained
    with every seed; the table has the gain, seed by seed, with its interval, and what a step costs. Run it again after
    an interruption: it goes on.

    \b
    Example:
      tvrkit ablate shapes --plot
    """
    from tvrkit.train.cases import load_sweep
    from tvrkit.workspace import runs_folder

    sweep = load_sweep(ladder if ladder.endswith((".yaml", ".yml")) else f"ladder-{ladder}", settings, data)
    if not sweep.titles:
        raise ConfigError(f"{ladder} names no rungs under `ladder`: `tvrkit sweep` compares its cases.")
    from tvrkit.train.comparison import write_comparison
    from tvrkit.train.ladder import ladder as rungs_of
    from tvrkit.train.ladder_plot import require_matplotlib
    from tvrkit.train.sweep import run_sweep

    if plot:
        require_matplotlib()
    out = out or runs_folder() / sweep.name
    results = run_sweep(
        sweep,
        out,
        device=choose_device(device),
        report=output,
        on_result=lambda results: write_comparison(sweep, results, out),
    )
    _show(sweep, rungs_of(sweep, results), out, sweep.cases[0].config.data.val_split, plot)
    if test:
        from tvrkit.cli.ablate_test import on_test

        split, value = on_test(results, device)
        _show(sweep, rungs_of(sweep, results, value), out, split, plot)
    if failed := sum(result.failure is not None for result in results):
        raise TrainingError(
            f"{failed} of {len(results)} runs failed, each for the reason above; when that is mended, the same command"
            " trains only those."
        )


def _show(sweep: Sweep, rungs: list[Rung], out: Path, split: str, plot: bool) -> None:
    from tvrkit.train.ladder import columns_of, write_ladder
    from tvrkit.train.ladder_plot import plot_ladder

    columns = columns_of(rungs)
    rows = [[rung.title, *rung.cells(columns)] for rung in rungs]
    output.print_table(["rung", *columns], rows, title=f"{sweep.name}, {split}, {len(sweep.seeds)} seeds", tight=True)
    paths = [write_ladder(sweep, rungs, out, split)]
    if plot:
        paths.append(out / f"ladder-{split}.svg")
        plot_ladder(rungs, paths[-1], f"{sweep.name}, {split}, {len(sweep.seeds)} seeds, 95 % intervals")
    output.say(f"Written: {', '.join(map(str, paths))}")

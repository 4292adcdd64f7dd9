"""`tvrkit sweep`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.cli.options import choose_device, data_option, device_option
from tvrkit.errors import TrainingError

if TYPE_CHECKING:
    from tvrkit.train.cases import Case, Sweep
    from tvrkit.train.comparison import Line


@click.command()
@click.argument("file", metavar="FILE|NAME")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting of all cases; repeatable."
)
@data_option
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the runs.  [default: runs/<name>]"
)
@device_option
@click.option("--dry-run", is_flag=True, help="List the cases, what of them is done, and the time left.")
def command(
    file: str, settings: tuple[str, ...], data: str | None, out: Path | None, device: str, dry_run: bool
) -> None:
    """Train several settings with several seeds and compare them.

    FILE is a YAML file with a base preset, settings and seeds, or the NAME of one that tvrkit brings. Cases are
    compared on the validation split. Run it again after an interruption: finished runs are kept, a half-done one goes
    on. docs/recipes.md tells how to write one.

    \b
    Example:
      tvrkit sweep partial-margins --dry-run
    """
    from tvrkit.train.cases import load_sweep
    from tvrkit.workspace import runs_folder

    sweep = load_sweep(file, settings, data)
    out = out or runs_folder() / sweep.name
    if dry_run:
        _show_cases(sweep, out, choose_device(device))
        return
    from tvrkit.train.comparison import TABLE, compare, write_comparison
    from tvrkit.train.sweep import run_sweep

    results = run_sweep(
        sweep,
        out,
        device=choose_device(device),
        report=output,
        on_result=lambda results: write_comparison(sweep, results, out),
    )
    _print_table(sweep, compare(sweep, results))
    output.say(f"Also in {out}: {', '.join(TABLE)}.")
    failed = sum(result.failure is not None for result in results)
    if failed:
        raise TrainingError(
            f"{failed} of {len(results)} runs failed, each for the reason above; when that is mended, the same command"
            " trains only those."
        )


def _print_table(sweep: Sweep, lines: list[Line]) -> None:
    from tvrkit.train.comparison import cells, how, metric_of

    data, metric = sweep.cases[0].config.data, metric_of(sweep)
    _line(f"{sweep.name}: {metric} on {data.val_split}; {how(sweep)}")
    if sweep.keys:
        _line(f"case: {', '.join(sweep.keys)}")
    columns = ["case", "seeds", metric, "95 %", "- base", "95 %"]
    output.print_table(columns, [[_label(sweep, line.case), *cells(line)] for line in lines], tight=True)
    output.say("The best of several cases looks better than it is: measure it on the test split once, as any model.")


def _label(sweep: Sweep, case: Case) -> str:
    from tvrkit.train.comparison import values_of

    values = ", ".join(map(str, values_of(sweep, case)))
    return values if case.settings else f"{values} (base)" if values else "base"


def _line(words: str) -> None:
    click.echo("\n".join(textwrap.wrap(output.printable(words), 80, break_on_hyphens=False)))


def _show_cases(sweep: Sweep, out: Path, device: str) -> None:
    """The cases, what is done of each, and how long the rest would take at the base case's measured speed."""
    from tvrkit.cli.train_plan import span
    from tvrkit.train.estimate import estimate
    from tvrkit.train.sweep import progress_of

    done = {state: 0 for state in ("done", "begun", "to do")}
    rows = []
    for case in sweep.cases:
        states = [progress_of(out, case, seed) for seed in sweep.seeds]
        for state in states:
            done[state] += 1
        rows.append([_label(sweep, case), *(str(states.count(state)) for state in done)])
    _line(f"{sweep.name}: {len(sweep.cases)} cases with {len(sweep.seeds)} seeds in {out}")
    if sweep.keys:
        _line(f"case: {', '.join(sweep.keys)}")
    output.print_table(["case", *done], rows, tight=True)
    plan = estimate(sweep.cases[0].config, device=device)
    left = done["begun"] + done["to do"]
    once = f", and {span(plan.once_seconds)} once for the frames" if plan.once_seconds else ""
    each = plan.seconds - plan.once_seconds
    _line(
        f"{left} runs are left, about {span(left * each)}: {span(each)} a run of {plan.steps:,} steps, as measured for"
        f" the base case on {plan.costs.device if plan.costs else device}{once}. Reading videos comes on top."
    )

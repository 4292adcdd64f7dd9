"""`tvrkit prepare`: one command for each origin of a data set."""

from __future__ import annotations

import difflib

import click

from tvrkit.cli.prepare_check import prepared_command
from tvrkit.cli.prepare_own import folder, shapes
from tvrkit.workspace import data_folder

OWN = {"folder": folder, "shapes": shapes}


class Origins(click.Group):
    """Benchmarks, then what comes from no server; a prepared data set's own name can be checked."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they are written down."""
        from tvrkit.prepare.benchmarks import BENCHMARKS

        return [*BENCHMARKS, *OWN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; for a data set that is prepared here under a name of its own, one that verifies it."""
        if cmd_name in OWN:
            return OWN[cmd_name]
        from tvrkit.prepare.benchmarks import BENCHMARKS

        if cmd_name in BENCHMARKS:
            from tvrkit.cli.prepare_benchmark import benchmark_command

            return benchmark_command(BENCHMARKS[cmd_name])
        plain = (
            cmd_name == click.format_filename(cmd_name, shorten=True)
            and cmd_name.strip(".")
            and cmd_name != "downloads"
        )
        return prepared_command(cmd_name) if plain and (data_folder() / cmd_name).is_dir() else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; for a name that is none, the nearest one is named."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            known = self.list_commands(ctx)
            near = difflib.get_close_matches(args[0].lower(), known, n=1)
            hint = (
                f"did you mean {near[0]}?"
                if near
                else f"there are {', '.join(known)}, and what is prepared in {data_folder()}."
            )
            ctx.fail(f"No such command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=Origins)
def command() -> None:
    """Turn videos and captions into a data set.

    Each command writes data/NAME/manifest.jsonl, which train and eval read; report.json, which names what was left
    out and why; and videos.csv, with what became of each video. Running it again goes on where it stopped; --check
    verifies a data set, whatever its name: tvrkit prepare NAME --check.

    \b
    Example:
      tvrkit prepare shapes
    """

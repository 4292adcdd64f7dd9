"""`tvrkit doctor`: is everything there, and what to do where it is not."""

from __future__ import annotations

import sys

import click

from tvrkit.cli.options import json_option
from tvrkit.cli.output import print_json, print_table, say


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Check this installation and say what to do about each fault.

    Looks at Python, torch and its devices, torchvision, open_clip, both video readers (on a clip made here), the
    tagger, the disk, the caches and the way to the model hub. Exits with 1 when something needed does not work.

    \b
    Example:
      tvrkit doctor
    """
    from tvrkit.cli.checks import run_checks

    say("Checking the installation; loading torch takes a few seconds.")
    checks = run_checks()
    failed = any(check.state == "failed" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": [check.to_dict() for check in checks]})
    else:
        print_table(("check", "state", "found"), [(c.name, c.state, c.found) for c in checks])
        for check in checks:
            if check.advice:
                say(f"{check.name}: {check.advice}")
        say("Something needed does not work." if failed else "tvrkit is ready.")
    sys.exit(1 if failed else 0)

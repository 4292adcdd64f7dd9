"""The command line: one short module a command, imported only when that command is asked for.

A command module imports click, the options and light modules at its top; its callback imports the workflow, so that
no help page waits for torch.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import click

from tvrkit import __version__
from tvrkit.errors import TeamError

# In the order of work, which is the order of the help page. The summaries stand here so that the page imports no
# command; a test holds them to the first line of each command's own help.
COMMANDS = {
    "doctor": "Check this installation and say what to do about each fault.",
    "datasets": "List the benchmarks, and what of them is prepared here.",
    "prepare": "Turn videos and captions into a data set.",
    "models": "List the backbones that --model takes.",
    "train": "Train a model on a prepared data set.",
    "sweep": "Train several settings with several seeds and compare them.",
    "ablate": "Measure what each part of the method brings.",
    "eval": "Measure how well a model finds videos by captions, and back.",
    "export": "Write a trained model as one folder that loads anywhere.",
    "convert": "Turn other code's weights into a model that tvrkit can use.",
    "calibrate": "Learn from captioned videos how sure an answer is.",
    "index": "Keep an index of folders of videos, moment by moment.",
    "query": "Find videos by words.",
    "shell": "Ask one question after another.",
    "similar": "Find videos like one, and near-duplicates.",
    "filter": "Sort a folder of videos by words.",
    "serve": "Answer questions over HTTP, with a page.",
    "demo": "Show the whole way, from nothing to an answered question.",
}


class OrderOfWork(click.Group):
    """A group that knows its commands' names and summaries, and imports a command only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"tvrkit.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands, in the order of work"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=OrderOfWork, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="tvrkit %(version)s")
def cli() -> None:
    """Find videos by words: prepare, train, evaluate, export and search.

    \b
    Example:
      tvrkit query "a dog surfing" --videos ./clips
    """
    from tvrkit.cli.output import forward_log

    forward_log()


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 used wrongly, 130 interrupted.

    Every failure is a sentence on stderr; `TVRKIT_TRACEBACK=1` shows the traceback as well.
    """
    # torch's threads wait for each other by spinning. Beside the processes that decode, the one waited for often has no
    # core to run on: on two busy cores a small vision tower read 1.5 clips a second spinning, 25 sleeping.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # When a process of several is gone, torch's C++ tells each of the others in thirty lines of its own stack.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        # Not standalone: click would print its own words for some failures and tracebacks for others.
        code = cli.main(args=arguments, prog_name="tvrkit", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: B036 - the exit code of everything is decided in one place
        code = _fail(error)
        if isinstance(error, TeamError):
            # What NCCL still has to say to processes that are gone would never end.
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(error: BaseException) -> int:
    from tvrkit.cli.failures import report

    if isinstance(error, SystemExit):
        raise error
    _empty_stdout()
    # A pipe whose reader left (`tvrkit query … | head`) is nobody's mistake: no words.
    return 1 if isinstance(error, BrokenPipeError) else report(error)


def _empty_stdout() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # Nobody reads it, or its disk is full. Python would flush it once more on its way out and complain in its own
        # words, so what is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
